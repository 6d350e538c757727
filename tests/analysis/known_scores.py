"""Item tables of cells whose mean scores are known."""

import numpy as np
import pandas as pd

TASK_OF = {"qa": ("exam_choice", "evidence_yesno"), "ie": ("medication_status",), "gen": ("patient_answer",)}


def make_items(means, n=40, noise=0.0, seed=0):
    """Return items whose scores are a cell's mean, plus noise that all cells share."""
    random = np.random.default_rng(seed)
    rows = []
    for category, tasks in TASK_OF.items():
        for task in (*tasks, "sentence_inference") if category == "qa" else tasks:
            shared = random.normal(0, noise, n) if noise else np.zeros(n)
            for cell, mean in means.items():
                value = mean[category] if isinstance(mean, dict) else mean
                rows += [
                    {
                        "cell": cell,
                        "task": task,
                        "category": category,
                        "item": f"{task}-{i}",
                        "score": value + shared[i],
                        "parsed": True,
                    }
                    for i in range(n)
                ]
    return pd.DataFrame(rows)


MEANS = {
    "base": {"qa": 0.1, "ie": 0.1, "gen": 0.1},
    "qa": {"qa": 0.5, "ie": 0.2, "gen": 0.1},
    "ie": {"qa": 0.3, "ie": 0.6, "gen": 0.1},
    "gen": {"qa": 0.1, "ie": 0.2, "gen": 0.4},
    "qa+ie": {"qa": 0.6, "ie": 0.5, "gen": 0.1},
    "qa+gen": {"qa": 0.4, "ie": 0.2, "gen": 0.3},
    "ie+gen": {"qa": 0.2, "ie": 0.4, "gen": 0.5},
    "qa+ie+gen": {"qa": 0.5, "ie": 0.5, "gen": 0.4},
}


def make_seeds(n_seeds=4, n=30, seed=0, cells=("base", "qa")):
    """Return items of two tasks under several training seeds, with spread between seeds, between items and in
    the remainder.
    """
    random = np.random.default_rng(seed)
    rows = []
    for task in ("exam_choice", "evidence_yesno"):
        of_item, of_seed = random.normal(0, 0.2, n), random.normal(0, 0.1, n_seeds)
        for cell in cells:
            scores = 0.5 + of_item + of_seed[:, None] * (cell != "base") + random.normal(0, 0.1, (n_seeds, n))
            rows += [
                {
                    "cell": cell,
                    "seed": s,
                    "task": task,
                    "category": "qa",
                    "item": f"{task}-{i}",
                    "score": scores[s, i],
                    "parsed": True,
                }
                for s in range(n_seeds)
                for i in range(n)
            ]
    return pd.DataFrame(rows)
