"""Parameters of an evaluation."""

from __future__ import annotations

import dataclasses

from helpers.prompts import ALPACA, FORMAT_HELP, SYSTEM_HELP
from helpers.settings import parameter


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Parameters of an evaluation; decoding is greedy for every model."""

    model: str = parameter("smollm2-135m", "smollm2-135m, gemma-3-270m, a hub id or a folder")
    tasks: str = parameter(
        "all", "'all' (the nine of the embedded benchmark), or task names joined by commas"
    )
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
