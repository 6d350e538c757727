"""Checks of what the study is made of: the written texts, and whether the benchmark can tell models apart."""
