"""The adapter: attached from a seed, split over processes, saved so that plain peft loads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.models.load import quiet_peft
from helpers.store import write_text

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from helpers.tuning.settings import TuningSettings


def attach_adapter(model: torch.nn.Module, settings: TuningSettings) -> PeftModel:
    """Return the model with a fresh LoRA adapter, whose start depends on the training seed alone (Hu et al.,
    2022).

    Raises:
        StudyError: the model has no layer of a name in `target_modules`.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    targets = (
        settings.target_modules
        if settings.target_modules == "all-linear"
        else settings.target_modules.split("+")
    )
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
        task_type=TaskType.CAUSAL_LM,
    )
    torch.manual_seed(settings.training_seed)
    try:
        with quiet_peft():
            return get_peft_model(model, config).train()
    except ValueError as error:
        raise StudyError(
            "`target_modules` must be 'all-linear' or names of linear layers joined by '+', but "
            f"{settings.target_modules!r} was found: {error}"
        ) from None


def measure_adapter(model: PeftModel) -> float:
    """Return the largest norm of the adapter's B matrices; they start at zero, so that zero means that
    nothing was learnt.
    """
    return max(
        weight.detach().float().norm().item() for name, weight in model.named_parameters() if "lora_B" in name
    )


def save_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Save the adapter as safetensors; its configuration names the model as the study does, not where it lay.

    Raises:
        StudyError: the adapter has learnt nothing (every B matrix is zero).
    """
    if not measure_adapter(model):
        raise StudyError(
            "The adapter is empty after tuning: every B matrix is zero. Raise `learning_rate` or `epochs`."
        )
    model.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = name
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    write_text(folder / "adapter_config.json", json.dumps(config, indent=1, sort_keys=True) + "\n")
    (folder / "README.md").unlink(missing_ok=True)


def shard_layers(model: PeftModel) -> None:
    """Split the frozen weights of the model's layers over all processes; each layer is put together for as
    long as it computes (FSDP).

    The adapter stays whole in every process, so that gradients, checkpoints and the saved adapter are as
    without sharding.
    """
    from torch.distributed.fsdp import fully_shard

    learnt = {weight for weight in model.parameters() if weight.requires_grad}
    for layer in model.get_base_model().base_model.layers:
        fully_shard(layer, ignored_params=learnt)
