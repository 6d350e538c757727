"""Evaluation: nine tasks in three categories, the same prompt and decoding for every model, every answer
kept.
"""
