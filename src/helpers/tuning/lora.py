"""LoRA tuning: the loss counts on responses only, and a run killed and resumed ends as one never killed."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.models import identify_model, load_model, load_tokenizer, project_logits, quiet_peft
from helpers.progress import track
from helpers.records import Instruction, read_rows
from helpers.settings import parameter
from helpers.store import Run, run_stage, sha256_file, write_text
from helpers.tuning.rows import IGNORED, EncodedRow, collate, deal_responses, encode_rows, iterate_steps, select_rows

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

ADAPTER = "adapter"
LOG = "log.csv"
ROWS = "rows.csv"
MICRO_BATCH_TOKENS = {"cpu": 1024, "cuda": 8192}  # at a time through the model, padding included; a batch's gradients are summed
CHECKPOINT_SECONDS = 20
MAX_GRADIENT_NORM = 1.0
WARMUP_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class TuningSettings:
    """Parameters of one tuning run. The paper states none of the values; these are ours, for a small machine."""

    model: str = parameter("smollm2-135m", "smollm2-135m, gemma-3-270m, a hub id or a folder")
    categories: str = parameter("all", "'all', 'shuffled', or some of qa, ie, gen, other joined by '+'")
    n_rows: int = parameter(48, "training rows of every run, whatever its categories", minimum=1)
    training_seed: int = parameter(1, "seed of rows drawn, adapter's start, order of batches", minimum=0)
    epochs: int = parameter(1, "passes over the rows", minimum=1)
    learning_rate: float = parameter(3e-3, "peak learning rate, after a tenth of the steps", minimum=0)
    batch_size: int = parameter(8, "rows of one optimizer step", minimum=1)
    max_tokens: int = parameter(512, "longest row (tokens); longer ones are left out", minimum=8)
    lora_rank: int = parameter(16, "rank of the adapter's matrices", minimum=1)
    lora_alpha: int = parameter(32, "scale of the adapter: alpha / rank", minimum=1)
    lora_dropout: float = parameter(0.0, "share of adapter inputs dropped in training", minimum=0, maximum=0.9)
    target_modules: str = parameter("all-linear", "'all-linear', or layer names joined by '+'")


def tune(settings: TuningSettings, instructions: Path) -> Run:
    """Tune a model with LoRA on rows of an instruction file.

    Returns:
        A run with `adapter/` (safetensors, for `PeftModel.from_pretrained`), `log.csv` (step, epoch, learning rate, loss, tokens) and `rows.csv` (id,
        category and instruction of the rows it was tuned on).

    Raises:
        StudyError: a category has too few rows that fit into `max_tokens`.
    """
    inputs = {"instructions": sha256_file(instructions), "model": identify_model(settings.model)}
    code = ("tuning", "prompts.py", "models.py")
    return run_stage("tuning", settings, inputs, code, lambda folder: _train(settings, read_rows(instructions, Instruction), folder))


def _train(settings: TuningSettings, rows: Sequence[Instruction], folder: Path) -> dict[str, Any]:
    import torch

    encoded_by_id = encode_rows(load_tokenizer(settings.model), rows, settings.max_tokens)
    fitting = [row for row in rows if row.id in encoded_by_id]
    chosen = select_rows(fitting, settings.categories, settings.n_rows, settings.training_seed)
    encoded = deal_responses([encoded_by_id[row.id] for row in chosen], settings.categories)
    steps = list(iterate_steps([len(row.input_ids) for row in encoded], settings.batch_size, settings.epochs, settings.training_seed))
    model = attach_adapter(load_model(settings.model), settings)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], weight_decay=0.0)
    checkpoint = folder / ".checkpoint.safetensors"
    log, seconds = load_checkpoint(checkpoint, model, optimizer)
    saved = started = time.monotonic()
    with track(f"tune on {settings.categories}", len(steps), "steps") as advance:
        advance(len(log))
        for step, (epoch, batch) in enumerate(steps[len(log) :], len(log)):
            rate = learning_rate_at(step, len(steps), settings.learning_rate)
            torch.manual_seed(settings.training_seed * 1_000_003 + step)  # dropout depends on the step alone, so that a resumed run repeats it
            loss, n_tokens = take_step(model, optimizer, [encoded[index] for index in batch], rate)
            log.append({"step": step, "epoch": epoch, "learning_rate": rate, "loss": loss, "tokens": n_tokens})
            advance(note=f"loss {loss:.2f}")
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, model, optimizer, log, seconds + time.monotonic() - started)
                saved = time.monotonic()
    seconds += time.monotonic() - started
    save_adapter(model, settings.model, folder / ADAPTER)
    write_text(folder / LOG, _to_csv(log))
    write_text(folder / ROWS, _to_csv([{"id": row.id, "category": row.category, "instruction": row.instruction} for row in chosen]))
    checkpoint.unlink(missing_ok=True)
    n_tokens = sum(entry["tokens"] for entry in log)
    return {"n_rows": len(encoded), "n_too_long": len(rows) - len(fitting), "n_steps": len(steps), "n_tokens": n_tokens, "train_seconds": round(seconds, 2)}


def attach_adapter(model: torch.nn.Module, settings: TuningSettings) -> PeftModel:
    """Return the model with a fresh LoRA adapter, whose start depends on the training seed alone (Hu et al., 2022)."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    targets = settings.target_modules if settings.target_modules == "all-linear" else settings.target_modules.split("+")
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
        task_type=TaskType.CAUSAL_LM,
    )
    torch.manual_seed(settings.training_seed)
    with quiet_peft():
        return get_peft_model(model, config).train()


def take_step(model: PeftModel, optimizer: torch.optim.Optimizer, rows: Sequence[EncodedRow], rate: float) -> tuple[float, int]:
    """Take one optimiser step on a batch.

    The loss is the mean over all response tokens of the batch, so that it does not depend on how the batch is cut into micro-batches.

    Returns:
        The loss and the number of tokens that went through the model, padding aside.
    """
    import torch

    n_response = sum(len(row.input_ids) - row.n_prompt for row in rows)
    total = 0.0
    for part in split_batch(rows, MICRO_BATCH_TOKENS[model.device.type]):
        loss = response_loss(model, collate(part)) / n_response
        loss.backward()
        total += loss.item()
    for group in optimizer.param_groups:
        group["lr"] = rate
    torch.nn.utils.clip_grad_norm_([weight for group in optimizer.param_groups for weight in group["params"]], MAX_GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return total, sum(len(row.input_ids) for row in rows)


def split_batch(rows: Sequence[EncodedRow], n_tokens: int) -> list[list[EncodedRow]]:
    """Cut a batch into micro-batches of at most `n_tokens`, padding included; a row that is longer goes alone."""
    parts: list[list[EncodedRow]] = []
    for row in sorted(rows, key=lambda row: len(row.input_ids)):
        if not parts or len(row.input_ids) * (len(parts[-1]) + 1) > n_tokens:
            parts.append([])
        parts[-1].append(row)
    return parts


def response_loss(model: PeftModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the summed cross-entropy of the response tokens; vocabulary logits are computed for these alone."""
    import torch

    causal = model.get_base_model()
    batch = {name: tensor.to(causal.device) for name, tensor in batch.items()}
    hidden = causal.base_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).last_hidden_state
    targets = batch["labels"][:, 1:]
    counted = targets != IGNORED
    return torch.nn.functional.cross_entropy(project_logits(causal, hidden[:, :-1][counted]), targets[counted], reduction="sum")


def learning_rate_at(step: int, n_steps: int, peak: float) -> float:
    """Return the learning rate of a step: linear warm-up over a tenth of the steps, then linear decay towards zero."""
    warmup = max(1, round(WARMUP_SHARE * n_steps))
    return peak * min((step + 1) / warmup, (n_steps - step) / max(1, n_steps - warmup + 1))


def save_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Save the adapter as safetensors; its configuration names the model as the study does, not where it lay.

    Raises:
        StudyError: the adapter has learnt nothing (every B matrix is zero).
    """
    if not any(weight.any() for key, weight in model.named_parameters() if "lora_B" in key):
        raise StudyError("The adapter is empty after tuning: every B matrix is zero. Raise `learning_rate` or `epochs`.")
    model.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = name
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    write_text(folder / "adapter_config.json", json.dumps(config, indent=1, sort_keys=True) + "\n")
    (folder / "README.md").unlink(missing_ok=True)


def save_checkpoint(path: Path, model: PeftModel, optimizer: torch.optim.Optimizer, log: list[dict[str, Any]], seconds: float) -> None:
    """Write adapter, optimiser state, log and seconds so far as one safetensors file, whole or not at all."""
    import torch
    from safetensors.torch import save_file

    tensors = {f"weight/{key}": weight.detach() for key, weight in model.named_parameters() if weight.requires_grad}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"state/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
    neighbour = path.with_suffix(".writing")
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, neighbour, metadata={"log": json.dumps(log), "seconds": str(seconds)})
    neighbour.replace(path)


def load_checkpoint(path: Path, model: PeftModel, optimizer: torch.optim.Optimizer) -> tuple[list[dict[str, Any]], float]:
    """Restore adapter and optimiser from a checkpoint; return its log, one entry a finished step, and its seconds; nothing without a checkpoint."""
    if not path.is_file():
        return [], 0.0
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        log, seconds = json.loads(file.metadata()["log"]), float(file.metadata()["seconds"])
    weights = dict(model.named_parameters())
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "weight":
            weights[rest].data.copy_(tensor)
        else:
            index, _, name = rest.partition("/")
            states.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return log, seconds


def _to_csv(log: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(log[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    return text.getvalue()
