"""The tuning stage: the loss counts on responses only, and a run killed and resumed ends as one never killed.

The same code runs on a CPU (float32), on a GPU (bfloat16, four bits on request) and in several processes that
`accelerate launch` starts, which share each batch. A process of its own per GPU holds the whole model, or
with `--use_fsdp` a share of its frozen weights.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.files import sha256_file, write_text
from helpers.jsonl import read_rows
from helpers.machine import measure_free_memory
from helpers.models.adapters import WEIGHTS, identify_adapter, load_adapter
from helpers.models.fast_matmul import tell_slow_products
from helpers.models.forward import check_lengths
from helpers.models.load import (
    choose_device,
    describe_format,
    identify_model,
    load_config,
    load_model,
    load_tokenizer,
)
from helpers.models.weights import read_shapes
from helpers.prompts import PromptFormat
from helpers.records import SHUFFLED, Instruction
from helpers.store import Run, run_stage
from helpers.tuning.card import CARD, describe_adapter
from helpers.tuning.controls import draw_cell_rows, split_control
from helpers.tuning.lengths import RowLength, keep_within_limit, load_lengths
from helpers.tuning.loop import Steps, take_steps
from helpers.tuning.lora import adopt_parent, attach_adapter, measure_b_norm, save_adapter
from helpers.tuning.memory import (
    MemoryPlan,
    ModelSize,
    check_memory,
    estimate_memory,
    measure_model,
)
from helpers.tuning.processes import join_processes, shard_layers, shards_weights
from helpers.tuning.rows import (
    EncodedRow,
    encode_row,
    iterate_steps,
    rotate_responses,
)
from helpers.tuning.settings import TuningSettings
from helpers.tuning.step import MICRO_BATCH_TOKENS, list_micro_batches

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER = "adapter"
LOG = "log.csv"
ROWS_FILE = "rows.csv"
LEFT_OUT = "left_out.csv"
CHECKPOINT = ".checkpoint.safetensors"
PROMPT_FIELDS = ("prompt_format", "system_prompt")
VERSION = {"float32": 3, "bfloat16": 4}


def tune(
    settings: TuningSettings,
    instructions: Path,
    parent: Path | None = None,
    make_room: Callable[[], None] | None = None,
) -> Run:
    """Tune a model with LoRA on rows of an instruction file.

    Args:
        settings: of the run.
        instructions: the file (JSONL).
        parent: folder of an adapter to go on from, whose rank, scale, dropout and layers stay; None for a
            fresh one.
        make_room: frees memory, called before a model is loaded; None where nothing can be freed.

    Returns:
        A run with `adapter/` (safetensors, for `PeftModel.from_pretrained`, and its card), `log.csv` (step,
        epoch, learning rate, loss, tokens of the batch), `rows.csv` (id, category and instruction of the rows
        it was tuned on) and `left_out.csv` (id, category and tokens of the file's rows that were too long).

    Raises:
        StudyError: a category has too few rows that fit into `max_tokens`, the run does not fit into
            memory, or the loss is not finite.
    """
    inputs = {"instructions": sha256_file(instructions), "model": identify_model(settings.model)}
    if parent:
        settings = adopt_parent(settings, parent)
        inputs["parent"] = identify_adapter(parent)
    prompt_format = PromptFormat.from_settings(settings)
    computed = describe_format(settings.dtype)
    settings = dataclasses.replace(settings, dtype=computed["dtype"])

    def compute(folder: Path) -> dict[str, Any] | None:
        if make_room:
            make_room()
        return _train(settings, read_rows(instructions, Instruction), inputs, folder, parent)

    run = run_stage(
        "tuning",
        {name: value for name, value in dataclasses.asdict(settings).items() if name not in PROMPT_FIELDS}
        | prompt_format.describe(),
        inputs | computed,
        VERSION[settings.dtype],
        compute,
    )
    has_card = (run.path / ADAPTER / CARD).exists()  # a process may have died before it wrote one
    if run.is_stored and not (run.reused and has_card) and join_processes().is_main_process:
        write_card(run, settings, run.file(ADAPTER))
        if not run.reused:
            join_processes().wait_for_everyone()  # the others wait in `_train` until the manifest is there
    return run


def write_card(
    run: Run, settings: TuningSettings, folder: Path, scores: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write the card of a run's adapter into a folder: it describes the result and is not part of it, so
    other words in it make no tuning run again. It names the number format that the run computed in, whatever
    the settings leave to the machine.
    """
    import pandas as pd

    settings = dataclasses.replace(settings, dtype=run.manifest["inputs"]["dtype"])
    log = pd.read_csv(run.file(LOG)).to_dict("records")
    facts, inputs = run.manifest["facts"], run.manifest["inputs"]
    write_text(folder / CARD, describe_adapter(settings, inputs, facts, log, scores))


def _train(
    settings: TuningSettings,
    rows: Sequence[Instruction],
    inputs: Mapping[str, str],
    folder: Path,
    parent: Path | None,
) -> dict[str, Any] | None:
    import torch

    processes = join_processes()
    named = {name: inputs[name] for name in ("instructions", "model")}
    with processes.main_process_first():
        lengths = load_lengths(settings.model, rows, PromptFormat.from_settings(settings), named)
    chosen, encoded, left_out = draw_rows(settings, rows, lengths)
    batches = iterate_steps(len(encoded), settings.batch_size, settings.epochs, settings.training_seed)
    steps = [(epoch, [encoded[index] for index in batch]) for epoch, batch in batches]
    size = measure_model(load_config(settings.model), settings)
    if parent:  # it may be in some of the layers alone
        n_learnt = sum(map(math.prod, read_shapes([parent / WEIGHTS]).values()))
        size = dataclasses.replace(size, n_adapter_weights=n_learnt)
    plan = plan_memory(settings, size, steps, processes.num_processes)
    model = prepare_model(settings, plan.recompute, parent)
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], weight_decay=0.0
    )
    log, seconds = take_steps(settings, model, optimizer, steps, folder / CHECKPOINT, processes)
    if not processes.is_main_process:
        processes.wait_for_everyone()
        return None
    facts = {
        "n_rows": len(chosen),
        "n_too_long": len(left_out),
        "n_steps": len(steps),
        "n_tokens": sum(entry["tokens"] for entry in log),
        "n_response_tokens": settings.epochs * sum(row.n_response for row in encoded),
        "n_weights": size.n_layer_weights + size.n_other_weights,
        "n_trainable": size.n_adapter_weights,
        "largest_b_norm": measure_b_norm(model),
        "train_seconds": round(seconds, 2),
        "memory_gib": plan.describe(),
        "hardware": f"{processes.num_processes} x "
        f"{' '.join(choose_device(settings.dtype))}{', weights split' if shards_weights() else ''}",
    }
    save_adapter(model, settings.model, folder / ADAPTER)
    write_text(folder / LOG, _to_csv(log, list(log[0])))
    write_text(folder / ROWS_FILE, rows_to_csv(chosen))
    write_text(folder / LEFT_OUT, _to_csv(left_out, ["id", "category", "tokens"]))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return facts


def draw_rows(
    settings: TuningSettings, rows: Sequence[Instruction], lengths: Mapping[str, RowLength]
) -> tuple[list[Instruction], list[EncodedRow], list[dict[str, Any]]]:
    """Return the rows to tune on, their token ids, and id, category and tokens of the rows that are too long
    for any run.

    Args:
        settings: of the run.
        rows: to draw from.
        lengths: tokens of each row by id.
    """
    tokenizer, prompt_format = load_tokenizer(settings.model), PromptFormat.from_settings(settings)
    fitting = keep_within_limit(settings, lengths)
    chosen = draw_cell_rows(
        [row for row in rows if row.id in fitting],
        fitting,
        settings.categories,
        settings.n_rows,
        settings.training_seed,
    )
    encoded = [encode_row(tokenizer, row, prompt_format) for row in chosen]
    if split_control(settings.categories)[1] == SHUFFLED:
        encoded = rotate_responses(encoded)
    left_out = [dict(row) | {"tokens": sum(lengths[row.id])} for row in rows if row.id not in fitting]
    check_lengths(load_config(settings.model), [len(row.input_ids) for row in encoded], "shuffled rows")
    return chosen, encoded, left_out


def plan_memory(settings: TuningSettings, size: ModelSize, steps: Steps, n_processes: int) -> MemoryPlan:
    """Estimate the memory of a run's largest process before anything is loaded.

    Raises:
        StudyError: it needs more than is free; the message has the numbers.
    """
    device, dtype = choose_device(settings.dtype)
    parts = [
        part
        for _, rows in steps
        for process in range(n_processes)
        for part, _ in list_micro_batches(rows, MICRO_BATCH_TOKENS[device], process, n_processes)
    ]
    plan = estimate_memory(
        size,
        n_tokens=max(len(part) * max(len(row.input_ids) for row in part) for part in parts),
        n_response=max(sum(row.n_response for row in part) for part in parts),
        bytes_each={"float32": 4, "bfloat16": 2}[dtype],
        free=measure_free_memory(),
        four_bit=settings.quantize_base,
        n_shards=n_processes if shards_weights() else 1,
    )
    check_memory(plan, settings.model)
    return plan


def prepare_model(settings: TuningSettings, recompute: bool, parent: Path | None = None) -> PeftModel:
    """Load the model, attach a fresh adapter or the one to go on from, let its layers compute fast, and split
    the weights where `accelerate launch` says so.

    Raises:
        StudyError: weights in four bits are to be split, which is not supported.
    """
    from helpers.tuning.fused import fuse_layers

    tell_slow_products(*choose_device(settings.dtype))
    sharded = shards_weights()
    if sharded and settings.quantize_base:
        raise StudyError(
            "Weights in four bits cannot be split over processes. Leave out `--use_fsdp` or `quantize_base`."
        )
    device = "cpu" if sharded else None  # whole only in the machine's memory
    base = load_model(settings.model, settings.quantize_base, device, settings.dtype)
    model = (
        load_adapter(base, parent, settings.model, trainable=True).train()
        if parent
        else attach_adapter(base, settings)
    )
    fuse_layers(model)
    if recompute:
        model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    if sharded:
        shard_layers(model)
        model.to(choose_device()[0])
    return model


def rows_to_csv(rows: Sequence[Instruction]) -> str:
    """Return id, category and instruction of rows as CSV, each a row of the table whatever ends its lines."""
    lines = [
        dict(row) | {"instruction": row.instruction.replace("\r\n", "\n").replace("\r", "\n")} for row in rows
    ]
    return _to_csv(lines, ["id", "category", "instruction"])


def _to_csv(rows: Sequence[dict[str, Any]], columns: list[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
