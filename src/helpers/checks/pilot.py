"""The pilot: what the benchmark measures in models that were not tuned, on every item it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.analysis.contrasts import average_scores
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import evaluate, read_items
from helpers.evaluation.tasks import TASKS, load_items
from helpers.models.wheels import WHEEL_MODELS
from helpers.records import BASE

if TYPE_CHECKING:
    import pandas as pd

EVERY_ITEM = 10_000


def run_pilot() -> pd.DataFrame:
    """Score the untuned default models: model, task, category, metric, difficulty ('all' or one level),
    estimate, low, high, n, unparsed, chance.
    """
    import pandas as pd

    tables = []
    for model in WHEEL_MODELS:
        items = read_items({BASE: evaluate(EvaluationSettings(model=model, n_items=EVERY_ITEM))})
        parts = {"all": items} | dict(iter(items.groupby("difficulty")))
        tables += [
            average_scores(part).drop(columns="cell").assign(model=model, difficulty=name)
            for name, part in parts.items()
        ]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(chance=table["task"].map(chance_score))


def chance_score(task: str) -> float:
    """Return the score of a guess: one over the number of options; nothing is gained by guessing where an
    answer is written.
    """
    items, _ = load_items(TASKS[task])
    return sum(1 / len(item.options) for item in items) / len(items) if TASKS[task].is_choice else 0.0
