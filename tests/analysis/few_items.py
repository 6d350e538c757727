"""Scores of two models on a few items, small enough to compute by hand."""

import pandas as pd


def make_items(task, scores_by_cell, **columns):
    return pd.concat(
        pd.DataFrame(
            {"cell": cell, "task": task, "item": range(len(scores)), "score": scores, "parsed": True}
            | columns
        )
        for cell, scores in scores_by_cell.items()
    )


RIGHT_OR_WRONG = make_items(
    "exam_choice", {"base": [0, 0, 0, 0, 0, 0, 1, 1.0], "tuned": [1, 1, 1, 1, 1, 1, 1, 0.0]}
)
GRADED = make_items("medquad", {"base": [0.1, 0.2, 0.3, 0.4], "tuned": [0.2, 0.3, 0.4, 0.5]})
