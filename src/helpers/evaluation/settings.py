"""Parameters of an evaluation, and of the losses that every model is measured by."""

from __future__ import annotations

import dataclasses

from helpers.errors import StudyError
from helpers.prompts import ALPACA, FORMAT_HELP, SYSTEM_HELP
from helpers.settings import parameter

LOSS, SCORE = "loss", "score"
ENDPOINTS = (LOSS, "words", "stop", "choice", "calibrated", SCORE)


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Parameters of an evaluation; decoding is greedy for every model."""

    model: str = parameter("smollm2-135m", "smollm2-135m, gemma-3-270m, a hub id or a folder")
    tasks: str = parameter("all", "'all', or task names joined by commas")
    dtype: str = parameter(
        "auto", "number format of the weights: float32, bfloat16, or auto (bfloat16 on a GPU)"
    )
    n_items: int = parameter(12, "test items per task, at most; the same for every model", minimum=2)
    choice_scoring: str = parameter(
        "text", "'text': score each option's text, options not listed; 'letter': list options, score letters"
    )
    permute_options: bool = parameter(
        False, "show listed options in every cyclic order; needs choice_scoring 'letter'"
    )
    prompt_format: str = parameter(ALPACA, FORMAT_HELP)
    system_prompt: str = parameter("", SYSTEM_HELP)


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """Parameters of the losses, which every cell of the grid is measured by."""

    endpoint: str = parameter(
        LOSS, "what cells are compared by: loss, words, stop, choice, calibrated, score"
    )
    held_out_share: float = parameter(
        0.15, "share of the requests (of the rows, in a file of one's own) kept out of training", 0, 0.5
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
