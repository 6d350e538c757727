"""Base models: from the hub, a folder or a package; device, number format, tokenizer and weights."""
