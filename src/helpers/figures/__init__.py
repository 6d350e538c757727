"""Figures: each takes a tidy table and an Axes and returns the Axes; none computes a result."""
