"""The measures of a model on a device: tuning, generation and choice, each beside its plain way in turns."""

from __future__ import annotations

import dataclasses
import gc
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from helpers.bench.peak_memory import measure_peak
from helpers.bench.result import compare
from helpers.bench.tuning import count_flops
from helpers.errors import StudyError
from helpers.machine import GIB, measure_free_memory
from helpers.models.load import four_bits, keep_unpacked
from helpers.tuning.settings import TuningSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from helpers.tuning.memory import ModelSize

DTYPE = "bfloat16"
N_OPTIONS, OPTION_TOKENS = 4, 8
RATE = 1e-4
Report = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Load:
    """What a device has to do.

    Attributes:
        steps: rows of each tuning step; the first is measured in four bits too.
        length: tokens of a row, the last quarter of them the response.
        n_prompts: prompts that are continued together, and items that are scored together.
        prompt_tokens: of each, the first half the same in all.
        new_tokens: by which a prompt is continued.
        rounds: that count, after one that does not.
        matmul_size: rows and columns of the matrices whose product is the device's peak.
    """

    steps: tuple[int, ...]
    length: int
    n_prompts: int
    prompt_tokens: int
    new_tokens: int
    rounds: int
    matmul_size: int


def compare_tuning(model: PreTrainedModel, load: Load, report: Report, n_rows: int) -> dict[str, Any]:
    """Compare a LoRA step of ours with one of plain peft, with its own layers and all logits, on the same
    rows; n is the number of tokens.

    Raises:
        StudyError: a step would need more memory than is free.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    from helpers.tuning.fused import fuse_layers
    from helpers.tuning.lora import attach_adapter
    from helpers.tuning.memory import measure_model
    from helpers.tuning.rows import EncodedRow, collate
    from helpers.tuning.step import take_step

    settings = TuningSettings(dtype=DTYPE, quantize_base=getattr(model, "is_loaded_in_4bit", False))
    size = measure_model(model.config, settings)
    n_prompt = load.length - load.length // 4
    rows = [EncodedRow(draw_tokens(model, load.length, seed), n_prompt) for seed in range(n_rows)]
    n_tokens, n_response = n_rows * load.length, sum(row.n_response for row in rows)
    facts = plan_step(model, size, settings, n_tokens, n_response)
    tuned = attach_adapter(model, settings)
    optimizer = torch.optim.AdamW([weight for weight in tuned.parameters() if weight.requires_grad], lr=RATE)
    batch = {name: tensor.to(model.device) for name, tensor in collate(rows).items()}

    def ours() -> float:
        fuse_layers(tuned)
        return take_step(tuned, optimizer, rows, RATE)[0]

    def plainly() -> float:
        for layer in tuned.modules():
            if isinstance(layer, BaseTunerLayer):
                vars(layer).pop("forward", None)  # what `fuse_layers` has put before peft's own
        loss = tuned(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    try:
        row = time_turns("tuning", "tokens", n_tokens, ours, plainly, "plain peft", load.rounds, model)
    finally:
        tuned.unload().eval()
    n_flops = count_flops(size, n_tokens, n_response)
    facts["products_seconds"] = n_flops / report["matmul_gflops"] / 1e9
    facts["reading_seconds"] = 2 * count_bytes(model) / report["read_gb_per_second"] / 1e9
    facts["share_of_peak"] = facts["products_seconds"] / row["seconds"][0]
    return row | {name: round(value, 3) for name, value in facts.items()}


def plan_step(
    model: PreTrainedModel, size: ModelSize, settings: TuningSettings, n_tokens: int, n_response: int
) -> dict[str, float]:
    """Return the estimate of a step's memory in GiB.

    Raises:
        StudyError: plain peft's step, which needs more, does not fit.
    """
    from helpers.tuning.memory import check_memory, estimate_memory

    ours, plain = (
        estimate_memory(one, n_tokens, n_response, 2, sys.maxsize, four_bit=settings.quantize_base)
        for one in (size, dataclasses.replace(size, fused=False))
    )
    free = release_memory() + count_bytes(model)
    check_memory(dataclasses.replace(plain, free=free), f"a random model with {n_tokens} tokens at a time")
    return {"estimate_gib": ours.total / GIB}


def compare_four_bits(model: PreTrainedModel, load: Load, report: Report) -> dict[str, Any]:
    """Compare the first of the tuning steps with the weights in four bits; those of the model are given up
    for them.

    Raises:
        StudyError: bitsandbytes is not installed, or weights or step would need more memory than is free.
    """
    from helpers.tuning.memory import FOUR_BIT_BYTES

    needed, free = count_bytes(model) * FOUR_BIT_BYTES / 2, release_memory()
    if needed > free:
        raise StudyError(
            f"The weights need {needed / GIB:.1f} GiB in four bits, beside those of the model, but "
            f"{free / GIB:.1f} GiB are free. Free some, or take a smaller shape."
        )
    narrow = type(model).from_pretrained(
        None,
        config=model.config,
        state_dict=model.state_dict(),
        quantization_config=four_bits(DTYPE),
        device_map={"": model.device},
        dtype=DTYPE,
    )
    model.to("meta")
    keep_unpacked(narrow)
    return compare_tuning(narrow, load, report, load.steps[0]) | {"name": "tuning_four_bits"}


def compare_generation(model: PreTrainedModel, load: Load, report: Report) -> dict[str, Any]:
    """Compare greedy generation with `transformers.generate` on the same batch of prompts."""
    import torch

    from helpers.evaluation.generation import generate_greedily

    prompts, end_id = draw_prompts(model, load), model.config.vocab_size - 1
    ids = torch.tensor(prompts, device=model.device)

    def plainly() -> list[list[int]]:
        return model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=load.new_tokens,
            do_sample=False,
            eos_token_id=end_id,
            pad_token_id=end_id,
        ).tolist()

    row = time_turns(
        "generation",
        "prompts",
        len(prompts),
        lambda: generate_greedily(model, prompts, load.new_tokens, [end_id], len(prompts)),
        plainly,
        "transformers generate",
        load.rounds,
        model,
    )
    reading = load.new_tokens * count_bytes(model) / report["read_gb_per_second"] / 1e9
    return row | {"reading_seconds": round(reading, 3)}


def compare_choice(model: PreTrainedModel, load: Load, _: Report) -> dict[str, Any]:
    """Compare the scoring of options beside each other with one reading of prompt and option each."""
    import torch

    from helpers.evaluation.choice import score_options

    items = [
        (prompt, [draw_tokens(model, OPTION_TOKENS, 1000 + number) for number in range(N_OPTIONS)])
        for prompt in draw_prompts(model, load)
    ]

    def plainly() -> list[float]:
        scores = []
        with torch.inference_mode():
            for prompt, options in items:
                for option in options:
                    logits = model(torch.tensor([prompt + option], device=model.device)).logits
                    own = torch.log_softmax(logits[0, len(prompt) - 1 : -1].float(), dim=-1)
                    scores.append(own[range(len(option)), option].mean())
            return torch.stack(scores).tolist()

    return time_turns(
        "choice",
        "items",
        len(items),
        lambda: score_options(model, items, len(items)),
        plainly,
        "one forward pass an option",
        load.rounds,
        model,
    )


def release_memory() -> int:
    """Give back what earlier measures held, and return the free bytes."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    return measure_free_memory()


def draw_prompts(model: PreTrainedModel, load: Load) -> list[list[int]]:
    """Return prompts of random tokens, the first half the same in all."""
    shared = draw_tokens(model, load.prompt_tokens // 2, 0)
    n_own = load.prompt_tokens - len(shared)
    return [shared + draw_tokens(model, n_own, seed) for seed in range(1, load.n_prompts + 1)]


def draw_tokens(model: PreTrainedModel, n_tokens: int, seed: int) -> list[int]:
    """Return random token ids."""
    return random.Random(seed).choices(range(model.config.vocab_size), k=n_tokens)  # noqa: S311 (no secret)


def count_bytes(model: PreTrainedModel) -> int:
    """Return the bytes of a model's weights."""
    return sum(weight.nbytes for weight in model.parameters())


def time_turns(
    name: str,
    what: str,
    n: int,
    ours: Callable[[], Any],
    plainly: Callable[[], Any],
    against: str,
    n_rounds: int,
    model: PreTrainedModel,
) -> dict[str, Any]:
    """Return the row of two ways that take turns, each of which returns what it has computed: median seconds
    of the rounds after a first one, and the peaks of memory of all.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    peaks: tuple[list[int], list[int]] = ([], [])
    for _ in range(n_rounds + 1):
        for times, held, call in zip(seconds, peaks, (ours, plainly), strict=True):
            started = time.perf_counter()
            held.append(measure_peak(call, model.device.type))
            times.append(time.perf_counter() - started)
    medians = [statistics.median(times[1:]) for times in seconds]
    return compare(name, f"{what}/s", *(n / median for median in medians), against, n) | {
        "seconds": [round(median, 3) for median in medians],
        "peak_gib": [round(max(held) / GIB, 2) for held in peaks],
    }
