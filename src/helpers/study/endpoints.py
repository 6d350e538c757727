"""Endpoints: what the cells of the grid are compared by.

Losses are in nats a token. One unit for all of them: a difference of 0.1 nats a token means that each token
of the right answer became exp(0.1) = 1.1 times as likely, on whatever task, so that tasks can be averaged.
All tables hold the log-likelihood, which is minus the loss, so that more is better as it is with scores: a
gain of 0.1 is a loss that fell by 0.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.evaluation.settings import ENDPOINTS, LOSS, SCORE

if TYPE_CHECKING:
    import pandas as pd

ROWS, TOKENS = "rows", "tokens"
UNITS = dict.fromkeys(ENDPOINTS, "nats per token") | {
    "stop": "nats",
    "choice": "nats",
    "calibrated": "nats",
    SCORE: "score, 0 to 1",
}
HELD_OUT = "held_out_"
OF_TASKS = ("choice", "calibrated")  # endpoints that held-out rows do not have


def take_endpoint(losses: pd.DataFrame, endpoint: str = LOSS, weighting: str = ROWS) -> pd.DataFrame:
    """Return losses with minus the endpoint's value of each item in the column `score`, as all statistics
    take it: the log-likelihood, of which more is better.

    Args:
        losses: one row an item and model with words, stop (nats), tokens (of the words), choice, calibrated.
        endpoint: `loss`: words and stop over all tokens, the end of text included; `words`: over their
            tokens; `stop`; `choice`: among the options; `calibrated`: the same, the options' prior taken off.
        weighting: 'rows': the mean over items, each counting the same; 'tokens': each token counting the
            same, so that an item counts by its length.

    Raises:
        StudyError: the endpoint is no loss, or no item has it.
    """
    if endpoint not in UNITS or endpoint == SCORE:
        raise StudyError(f"`endpoint` must be a loss, one of {ENDPOINTS[:-1]}, but {endpoint!r} was found.")
    tokens = {LOSS: losses["tokens"] + 1, "words": losses["tokens"]}.get(endpoint)
    nats = losses["words"] + losses["stop"] if endpoint == LOSS else losses[endpoint]
    values = nats if tokens is None else nats / tokens
    if weighting == TOKENS and tokens is not None:
        keys = [losses[name] for name in ("task", "cell", "seed") if name in losses]
        values = values * tokens / tokens.groupby(keys).transform("mean")
    table = losses.assign(score=-values, parsed=True).dropna(subset="score")
    if table.empty:
        raise StudyError(f"No item has the endpoint {endpoint!r}: only tasks with options have a choice.")
    return table


def keep_held_out(losses: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of held-out instructions."""
    return losses[losses["task"].str.startswith(HELD_OUT)]


def keep_tasks(losses: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the tasks' right answers."""
    return losses[~losses["task"].str.startswith(HELD_OUT)]


def choose_items(losses: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """Return the items that a loss is compared on: held-out instructions, or for the choice among options the
    tasks that have some.
    """
    own = keep_tasks(losses) if endpoint in OF_TASKS else keep_held_out(losses)
    return take_endpoint(own, endpoint)
