"""Endpoints: what the cells of the grid are compared by.

Losses are in nats per token. One unit for all of them: a difference of 0.1 nats per token means that the
tokens of right answers became exp(0.1) = 1.1 times as likely in the geometric mean, on whatever task, so
tasks can be averaged. Tables of losses hold losses. The tables of items that are compared hold the
log-likelihood in their column `score`, which is minus the loss, so more is better as it is with scores: a
gain of 0.1 is a loss that fell by 0.1.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.records import HELD_OUT_PREFIX
from helpers.settings import parameter

if TYPE_CHECKING:
    import pandas as pd

    from helpers.evaluation.task_prompts import Task

BY_ROWS, BY_TOKENS = "rows", "tokens"  # what counts the same in a mean: each row, or each token
LOSS, SCORE = "loss", "score"
MIN_ITEMS = 2  # items of a task: one says nothing of how far others differ
MIN_IN_HALVES = 2 * MIN_ITEMS  # held-out rows of a category whose halves are compared as well
ON_TASKS, ON_HELD_OUT_ROWS = "tasks", "rows, held out"  # for titles: what an endpoint is measured on


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A loss that cells can be compared by, or the score of their answers.

    Attributes:
        label: its name in a figure.
        unit: of its axis.
        columns: of a table of losses (nats) that are summed; none for the score.
        per_token: whether the sum is divided by the tokens that the columns cover.
        tasks_only: whether only the tasks have it, and held-out rows do not.
    """

    label: str
    unit: str
    columns: tuple[str, ...] = ()
    per_token: bool = False
    tasks_only: bool = False

    @property
    def measured_on(self) -> str:
        """What it is measured on, for a title after the name of a category."""
        return ON_TASKS if self.tasks_only else ON_HELD_OUT_ROWS


ENDPOINTS = {
    LOSS: Endpoint("Loss", "nats per token", ("text", "end"), per_token=True),
    "end": Endpoint("End of text", "nats", ("end",)),
    "text": Endpoint("Text", "nats per token", ("text",), per_token=True),
    "choice": Endpoint("Choice", "nats", ("choice",), tasks_only=True),
    "calibrated": Endpoint("Choice, calibrated", "nats", ("calibrated",), tasks_only=True),
    SCORE: Endpoint("Score", "score, 0 to 1", tasks_only=True),
}
LOSSES = tuple(name for name, endpoint in ENDPOINTS.items() if endpoint.columns)
LOSS_COLUMNS = tuple(name for name in LOSSES if ENDPOINTS[name].columns == (name,))  # as measured


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """Parameters of the losses, which every cell of the grid is measured by."""

    endpoint: str = parameter(
        LOSS,
        f"what cells are compared by: {', '.join(ENDPOINTS)} (text and end make up the loss; choice is among "
        "the options, calibrated the same without their prior)",
    )
    held_out_share: float = parameter(
        0.15, "share of the requests (of the rows, in your own file) kept out of training", 0, 0.5
    )
    n_held_out: int = parameter(40, "held-out rows per category, at most, whose loss is measured", minimum=2)
    n_loss_items: int = parameter(
        12, "test items per task, at most, whose right answer's loss is measured", minimum=2
    )

    def check_names(self) -> None:
        """Raise StudyError where the endpoint is unknown."""
        if self.endpoint not in ENDPOINTS:
            raise StudyError(
                f"`endpoint` must be one of {', '.join(ENDPOINTS)}, but {self.endpoint!r} was found."
            )


def check_item_count(task: str, n: int, units: str = "items") -> None:
    """Raise StudyError where a task has too few items, or clusters of them, for an interval."""
    if n < MIN_ITEMS:
        raise StudyError(
            f"An interval needs {MIN_ITEMS} or more {units} a task, but {task!r} has {n}. Add some (for "
            "held-out rows, raise `held_out_share` or `max_tokens`), or leave the task or category out."
        )


def check_held_out(categories: Iterable[str], compared: Iterable[str], in_halves: bool = False) -> None:
    """Raise StudyError where a category has too few held-out rows for an interval.

    Args:
        categories: that of each held-out row.
        compared: the categories that are compared.
        in_halves: whether the rows of short and of long responses are compared too, as in lesson 4.
    """
    numbers = Counter(categories)
    for name in compared:
        check_item_count(f"{HELD_OUT_PREFIX}{name}", numbers[name])
        if in_halves and numbers[name] < MIN_IN_HALVES:
            raise StudyError(
                f"Lesson 4 needs {MIN_IN_HALVES} or more held-out rows a category, since it compares those "
                f"of short and of long responses, but {name!r} has {numbers[name]}. Add rows, raise "
                "`held_out_share`, or leave the category out of `lattice`."
            )


def check_any_task_counts(tasks: Sequence[Task]) -> None:
    """Raise StudyError where none of the tasks counts when models are compared."""
    if not any(task.in_ablation for task in tasks):
        raise StudyError(
            "`tasks` must name a task that counts when models are compared, but it names "
            f"{', '.join(task.name for task in tasks)} alone, left out there as in the paper. Name another "
            "too."
        )


def check_endpoint_tasks(tasks: Sequence[Task], endpoint: str, categories: Sequence[str]) -> None:
    """Raise StudyError where cells cannot be compared by an endpoint of the tasks: none of them is of a
    category of the lattice and has the endpoint.

    Args:
        tasks: those of the study.
        endpoint: one that only tasks have.
        categories: of the lattice.
    """
    needs_options = endpoint in LOSSES  # choice, calibrated
    own = [task for task in tasks if task.in_ablation and task.category in categories]
    if not any(task.is_choice or not needs_options for task in own):
        raise StudyError(
            f"By the endpoint {endpoint!r} cells are compared on tasks of the lattice's categories "
            f"({', '.join(categories)}){' that have options' * needs_options}, but `tasks` names none. Name "
            f"one, or take an endpoint of held-out rows, such as {LOSS}."
        )


def loss_to_log_likelihood(
    losses: pd.DataFrame, endpoint: str = LOSS, weighting: str = BY_ROWS
) -> pd.DataFrame:
    """Return losses with a further column `score`: minus the endpoint's value of each item. All statistics
    take this column: it is the log-likelihood, of which more is better.

    Args:
        losses: one row per item and model with text, end (nats), n_text_tokens, choice, calibrated (nats).
        endpoint: `loss`: text and end over all tokens, the end of text included; `text`: over its own tokens;
            `end`; `choice`: nats of the right option among all; `calibrated`: the same, the options' prior
            taken off.
        weighting: 'rows': the mean over items, each counting the same; 'tokens': each token counting the
            same, so an item counts by its length.

    Raises:
        StudyError: the endpoint is not a loss, or no item has it.
    """
    if endpoint not in LOSSES:
        raise StudyError(f"`endpoint` must be a loss, one of {LOSSES}, but {endpoint!r} was found.")
    columns = list(ENDPOINTS[endpoint].columns)
    values = losses[columns].sum(axis=1, skipna=False)
    if ENDPOINTS[endpoint].per_token:
        tokens = losses["n_text_tokens"] * ("text" in columns) + ("end" in columns)
        values = values / tokens
        if weighting == BY_TOKENS:
            keys = [losses[name] for name in ("task", "cell", "seed") if name in losses]
            values = values * tokens / tokens.groupby(keys).transform("mean")
    table = losses.assign(score=-values, parsed=True).dropna(subset="score")
    if table.empty:
        raise StudyError(f"No item has the endpoint {endpoint!r}: only tasks with options have a choice.")
    return table


def keep_held_out(losses: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of held-out instructions."""
    return losses[losses["task"].str.startswith(HELD_OUT_PREFIX)]


def keep_tasks(losses: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the tasks' right answers."""
    return losses[~losses["task"].str.startswith(HELD_OUT_PREFIX)]


def select_endpoint_items(losses: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """Return the items that cells are compared on by a loss, in the form of `loss_to_log_likelihood`:
    held-out instructions, or for the choice among options the tasks that have some.
    """
    own = keep_tasks(losses) if ENDPOINTS[endpoint].tasks_only else keep_held_out(losses)
    return loss_to_log_likelihood(own, endpoint)
