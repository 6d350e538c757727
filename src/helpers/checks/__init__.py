"""Checks of what the study is made of: the written texts, and whether the benchmark shows differences of
models.
"""
