"""A provider: asking models behind OpenAI-compatible servers, many requests at a time, within a cap, every
answer kept.
"""
