"""Benchmarks: each step against its plain way, side by side in one run; and a run through
faults and kills.
"""
