"""What `study bench` measures: each step against its plain way, side by side in one run; simulated studies of
the intervals and tests; and a synthesis through faults and kills. The nine tasks that models are scored on
are not here: they are in `evaluation/tasks.py`.
"""
