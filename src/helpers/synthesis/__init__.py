"""Synthesis: seeds, draws, the teacher's replies, their parsing and filtering."""
