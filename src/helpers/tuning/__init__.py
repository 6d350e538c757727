"""Tuning: rows with masks, and LoRA on any causal language model."""
