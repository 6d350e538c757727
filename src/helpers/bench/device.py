"""A random model of LLaMA 2's shape, made on a device: tuning, generation and choice, each beside its plain
way in one run, with the most that the device can do. Each measure is written as soon as it is there, so that
a run that is cut off keeps what it has.

    .venv/bin/study bench --gpu                                               # 7 billion weights on a GPU
    .venv/bin/python -m helpers.bench.device --device cpu --shape 7b          # on a CPU, in 20 GB
    .venv/bin/python -m helpers.bench.device --device cpu --shape 20m         # to see that it works
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.bench.device_measures import (
    DTYPE,
    Load,
    compare_choice,
    compare_four_bits,
    compare_generation,
    compare_tuning,
)
from helpers.bench.large import describe_shape
from helpers.bench.result import describe_origin, save, show_row
from helpers.bench.tuning import measure_matmul, measure_reading
from helpers.errors import StudyError
from helpers.machine import GIB, measure_free_memory, measure_main_memory
from helpers.models.fast_matmul import enable_fast_matmul
from helpers.models.load import has_gpu
from helpers.progress import tell
from helpers.threads import share_cores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOADS = {
    "cuda": Load((8, 1, 4, 16), 512, 32, 256, 64, 3, 8192),
    "cpu": Load((1,), 256, 2, 128, 8, 2, 2048),
}


def measure_device(device: str, shape: str) -> Iterator[dict[str, Any]]:
    """Measure a model of a shape on a device; yields one row per measure and writes all that there are to
    `results/bench/device_DEVICE_SHAPE.json`.

    What does not fit into memory, or needs a library that is not there, is left out; the file says so.

    Raises:
        StudyError: there is no such device or shape, or the weights do not fit into its memory.
    """
    import torch

    check_device(device)
    load = LOADS[device]
    report = {"name": f"device_{device}_{shape}", "dtype": DTYPE, "threads": torch.get_num_threads()}
    report |= describe_origin()
    if device == "cuda":
        report["machine"]["gpu"] = torch.cuda.get_device_name()
    else:
        enable_fast_matmul()  # for what plain peft multiplies in float32, too
    report["matmul_gflops"] = round(measure_matmul(device, DTYPE, load.matmul_size), 3)
    report["read_gb_per_second"] = round(measure_reading(device), 3)
    report |= {"measures": [], "left_out": []}
    model = make_model(shape, device)
    for measure in (
        *(partial(compare_tuning, n_rows=n_rows) for n_rows in load.steps),
        compare_generation,
        compare_choice,
        compare_four_bits,
    ):
        try:
            row = measure(model, load, report)
        except (StudyError, torch.OutOfMemoryError) as error:
            report["left_out"].append(str(error))
            tell(f"A measure is left out: {error}")
            save(report)
        else:
            report["measures"].append(row)
            save(report)
            yield row


def check_device(device: str) -> None:
    """Raise StudyError where a device is unknown or not there."""
    if device not in LOADS:
        raise StudyError(f"`device` must be one of {', '.join(LOADS)}, but {device!r} was found.")
    if device == "cuda" and not has_gpu():
        raise StudyError(
            "To measure a GPU, PyTorch must be able to use one, but none was found. Run this where there is "
            "one, with PyTorch's build for it; without `--gpu`, `study bench` measures a CPU."
        )


def make_model(shape: str, device: str) -> PreTrainedModel:
    """Return a model of a shape with random weights, made on the device: nothing is read or carried there.
    Weights of one shape are the same numbers, since a CPU takes minutes to draw all.

    Raises:
        StudyError: the weights need more memory than is free.
    """
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(describe_shape(shape), dtype=getattr(torch, DTYPE))
    needed = sum(weight.nbytes for weight in model.parameters())
    free = measure_free_memory() if device == "cuda" else measure_main_memory()
    if needed > free:
        raise StudyError(
            f"The weights of shape {shape!r} need {needed / GIB:.1f} GiB in {DTYPE}, but {free / GIB:.1f} "
            "GiB are free. Free some, or take a smaller shape."
        )
    torch.manual_seed(0)
    drawn: dict[torch.Size, torch.Tensor] = {}
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.shape not in drawn:
                made = torch.empty_like(weight, device=device)
                drawn[weight.shape] = made.fill_(1) if weight.dim() == 1 else made.normal_(std=0.02)
            setattr(module, name, torch.nn.Parameter(drawn[weight.shape].clone(), requires_grad=False))
    return model.to(device).eval()


def main(
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    shape: Annotated[str, typer.Option(help="7b or 20m.")] = "7b",
) -> None:
    """Measure a random model on a device; print each measure and write it to
    `results/bench/device_DEVICE_SHAPE.json`.
    """
    share_cores()
    try:
        for row in measure_device(device, shape):
            typer.echo(show_row(row))
    except StudyError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    typer.run(main)
