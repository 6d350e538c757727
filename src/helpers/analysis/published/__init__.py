"""The paper's published numbers (Tran et al., 2024), from `results/published`, and what follows from them."""
