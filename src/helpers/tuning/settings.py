"""The parameters of a tuning run."""

from __future__ import annotations

import dataclasses

from helpers.prompts import ALPACA, FORMAT_HELP, SYSTEM_HELP
from helpers.settings import parameter


@dataclasses.dataclass(frozen=True)
class TuningSettings:
    """Parameters of one tuning run. The paper states none of the values; these are ours, for a
    small machine.
    """

    model: str = parameter("smollm2-135m", "smollm2-135m, gemma-3-270m, a hub id or a folder")
    categories: str = parameter(
        "all",
        "'all' (rows of every category in its natural share, other too), 'shuffled' (these with responses "
        "exchanged), some of qa, ie, gen, other joined by '+' (equal parts), a mixture (qa:32+gen:16) or a "
        "control (qa~lengths)",
    )
    n_rows: int = parameter(
        48,
        "training rows of every run, whatever its categories; per category with budget 'additive'",
        minimum=1,
    )
    training_seed: int = parameter(
        1, "seed of rows drawn, adapter's start, order of batches", minimum=0, maximum=2**32 - 1
    )
    epochs: int = parameter(1, "passes over the rows", minimum=1, maximum=10_000)
    learning_rate: float = parameter(1e-3, "peak learning rate, after a tenth of the steps", minimum=0)
    batch_size: int = parameter(8, "rows of one optimizer step", minimum=1)
    max_tokens: int = parameter(512, "longest row (tokens); longer ones are left out", minimum=8)
    dtype: str = parameter(
        "auto", "number format of the weights: float32, bfloat16, or auto (bfloat16 on a GPU)"
    )
    quantize_base: bool = parameter(False, "hold the frozen weights in 4 bits; needs bitsandbytes")
    lora_rank: int = parameter(16, "rank of the adapter's matrices", minimum=1)
    lora_alpha: int = parameter(32, "numerator of the adapter's scale, alpha / rank", minimum=1)
    lora_dropout: float = parameter(
        0.0, "share of adapter inputs dropped in training", minimum=0, maximum=0.9
    )
    target_modules: str = parameter("all-linear", "'all-linear', or layer names joined by '+'")
    prompt_format: str = parameter(ALPACA, FORMAT_HELP)
    system_prompt: str = parameter("", SYSTEM_HELP)
