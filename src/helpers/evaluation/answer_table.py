"""What several models answered, item by item, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from helpers.evaluation.prepared_tasks import prepare_tasks
from helpers.evaluation.settings import EvaluationSettings

if TYPE_CHECKING:
    import pandas as pd


def tabulate_answers(
    settings: EvaluationSettings, items: pd.DataFrame, data: Path | None = None
) -> pd.DataFrame:
    """Return one row per item: task, item, asked, reference, and for each model its response and its score
    (0..1).

    Args:
        settings: the evaluation whose items these are.
        items: one row per item and model, as `read_items` returns them.
        data: folder of the user's files, as for `evaluate`.
    """
    import pandas as pd

    prepared_tasks = prepare_tasks(settings, data)
    asked = [
        {
            "task": prepared.task.name,
            "item": item.id,
            "asked": prepared.task.show(item),
            "reference": prepared.task.write_reference(item),
        }
        for prepared in prepared_tasks
        for item in prepared.items
    ]
    table = pd.DataFrame(asked)
    for cell, answers in items.groupby("cell", sort=False):
        named = answers[["task", "item", "response", "score"]].rename(
            columns={"response": str(cell), "score": f"{cell} score"}
        )
        table = table.merge(named, on=["task", "item"], how="left", validate="one_to_one")
    return table
