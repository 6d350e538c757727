"""Parameters of what is measured of every model."""

from __future__ import annotations

import dataclasses

from helpers.errors import StudyError
from helpers.settings import parameter

LOSS, SCORE = "loss", "score"
ENDPOINTS = (LOSS, "words", "stop", "choice", "calibrated", SCORE)


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """Parameters of the losses, which every cell of the grid is measured by."""

    endpoint: str = parameter(
        LOSS, "what cells are compared by: loss, words, stop, choice, calibrated, score"
    )
    held_out_share: float = parameter(
        0.15, "share of the requests (of the rows, in a file of one's own) kept out of training", 0, 0.5
    )
    n_held_out: int = parameter(40, "held-out rows a category, at most, whose loss is measured", minimum=2)
    n_loss_items: int = parameter(
        12, "test items a task, at most, whose right answer's loss is measured", minimum=2
    )

    def check_names(self) -> None:
        """Raise StudyError where the endpoint is unknown."""
        if self.endpoint not in ENDPOINTS:
            raise StudyError(
                f"`endpoint` must be one of {', '.join(ENDPOINTS)}, but {self.endpoint!r} was found."
            )
