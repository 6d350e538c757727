"""A model of LLaMA 2's shape with random weights, all the way: written shard by shard, tuned, killed and
resumed, scored, merged and saved, each step in a process of its own whose peak of memory is measured.

    .venv/bin/python -m helpers.bench.large FOLDER --shape 7b    # 30 GB of disk, 24 GB of memory
    .venv/bin/python -m helpers.bench.large FOLDER --shape 20m   # to see that it works
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.bench.peak_memory import MAXRSS_BYTES
from helpers.bench.result import describe_origin, save
from helpers.errors import StudyError
from helpers.files import write_text
from helpers.jsonl import dump_rows
from helpers.machine import GIB

if TYPE_CHECKING:
    from transformers import LlamaConfig

SHAPES = {  # hidden, inner, layers, heads, vocabulary (Touvron et al., 2023)
    "7b": (4096, 11008, 32, 32, 32000),
    "20m": (384, 1024, 8, 6, 8000),
}
MAX_GIB = 24e9 / GIB
MAX_MISS = 0.1  # of the estimated peak
STUDY = """
import peft, torch, transformers
from helpers.tuning import loop
loop.CHECKPOINT_SECONDS = 0
from helpers.cli import main
main()
"""
TUNED = (
    "--n-rows=4",
    "--batch-size=2",
    "--epochs=1",
    "--categories=all",
    "--dtype=bfloat16",
    "--learning-rate=1e-3",
)


def describe_shape(shape: str) -> LlamaConfig:
    """Return the configuration of a model of a shape.

    Raises:
        StudyError: there is no shape of this name.
    """
    from transformers import LlamaConfig

    if shape not in SHAPES:
        raise StudyError(f"`shape` must be one of {', '.join(SHAPES)}, but {shape!r} was found.")
    hidden, inner, layers, heads, vocabulary = SHAPES[shape]
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )


def write_model(folder: Path, shape: str, seed: int = 0) -> None:
    """Write config, tokenizer and random bfloat16 weights, one file per layer, so that no more than a layer
    is in memory.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaForCausalLM

    config = describe_shape(shape)
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    with torch.device("meta"):
        weights = {name: weight.shape for name, weight in LlamaForCausalLM(config).named_parameters()}
    shards: dict[str, list[str]] = {}
    for name in weights:
        shards.setdefault(name.split(".")[2] if ".layers." in name else name, []).append(name)
    torch.manual_seed(seed)
    weight_map = {}
    for number, names in enumerate(shards.values(), 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {name: (torch.randn(weights[name]) * 0.02).to(torch.bfloat16) for name in names}
        tensors |= {name: torch.ones_like(tensor) for name, tensor in tensors.items() if "norm" in name}
        save_file(tensors, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    n_bytes = 2 * sum(shape.numel() for shape in weights.values())
    index = {"metadata": {"total_size": n_bytes}, "weight_map": weight_map}
    write_text(folder / "model.safetensors.index.json", json.dumps(index))
    config.save_pretrained(folder)


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of single bytes with LLaMA's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>"))  # noqa: S106 (no password)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
    ).save_pretrained(folder)


def write_instructions(path: Path) -> None:
    """Write four short rows to tune on."""
    rows = [
        {"id": str(n), "category": "qa", "instruction": f"Say {n}.", "input": "", "output": f"It is {n}."}
        for n in range(4)
    ]
    write_text(path, dump_rows(rows))


def measure(name: str, arguments: Sequence[str], kill_at: str = "") -> dict[str, Any]:
    """Run one command of `study` and return its name, seconds and peak of memory in GiB.

    Args:
        name: of the step.
        arguments: of the command.
        kill_at: pattern of a file in the store at whose appearance the process is killed.

    Raises:
        StudyError: it failed.
    """
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", STUDY, *map(str, arguments)], stdout=subprocess.DEVNULL)
    while kill_at and not any(Path(os.environ["STUDY_RUNS"]).glob(kill_at)) and process.poll() is None:
        time.sleep(0.02)
    if kill_at:
        process.kill()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not kill_at:
        raise StudyError(
            f"The step {name!r} ended with exit code {process.returncode}; its message stands above."
        )
    seconds = round(time.monotonic() - started, 1)
    return {"step": name, "seconds": seconds, "peak_gib": round(used.ru_maxrss * MAXRSS_BYTES / GIB, 2)}


def go_through(folder: Path, shape: str) -> list[dict[str, Any]]:
    """Take a random model through all steps; return one row per step, each printed as soon as it has ended.

    Raises:
        StudyError: a step failed or took more than 24 GB, or the estimate of tuning missed its peak by more
            than a tenth.
    """
    model, rows, adapter = folder / "model", folder / "rows.jsonl", folder / "adapter"
    if not (model / "config.json").exists():
        write_model(model, shape)
    write_instructions(rows)
    tune = ["tune", "--model", model, "--instructions", rows, *TUNED]
    tasks = ["--tasks", "evidence_yesno", "--n-items", "2", "--dtype", "bfloat16"]
    steps = []
    for step in (
        ("libraries alone", ["--help"]),
        ("killed", tune, "tuning/*/.checkpoint.safetensors"),
        ("resumed", [*tune, "--output", adapter]),
        ("scored", ["evaluate", "--model", model, "--adapter", adapter, *tasks]),
        ("merged", ["merge", adapter, "--output", folder / "merged", "--dtype", "bfloat16"]),
        ("merged scored", ["evaluate", "--model", folder / "merged", *tasks]),
    ):
        steps.append(measure(*step))
        typer.echo("{step}: {seconds} s, {peak_gib} GiB".format(**steps[-1]))
    [manifest] = Path(os.environ["STUDY_RUNS"]).glob("tuning/*/manifest.json")
    check_peaks(steps, json.loads(manifest.read_text())["facts"]["memory_gib"]["total"])
    return steps


def check_peaks(steps: Sequence[dict[str, Any]], estimate: float) -> None:
    """Compare the peaks of the steps with the machine and with the estimate of tuning (GiB, without the
    libraries).

    Raises:
        StudyError: a step took more than 24 GB; or tuning took more or less than estimated, by over a tenth
            of the estimate and over a quarter of a GiB, by which the libraries vary.
    """
    peaks = {step["step"]: step["peak_gib"] for step in steps}
    if max(peaks.values()) > MAX_GIB:
        raise StudyError(f"No step may take more than {MAX_GIB:.1f} GiB, but {peaks} was found.")
    measured = peaks["resumed"] - peaks["libraries alone"]
    if abs(measured - estimate) > max(MAX_MISS * estimate, 0.25):
        raise StudyError(
            f"Tuning was estimated to take {estimate:.2f} GiB, but {measured:.2f} GiB was measured."
        )


def main(
    folder: Annotated[Path, typer.Argument(help="New folder for the model and all that is made of it.")],
    shape: Annotated[str, typer.Option(help="7b or 20m.")] = "7b",
) -> None:
    """Take a random model through all steps; print seconds and memory of each and write them to
    `results/bench/large_SHAPE.json`.
    """
    os.environ["STUDY_RUNS"] = str(folder.resolve() / "runs")
    try:
        steps = go_through(folder.resolve(), shape)
        save({"name": f"large_{shape}", "steps": steps} | describe_origin())
    except StudyError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    typer.run(main)
