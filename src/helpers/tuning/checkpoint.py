"""Checkpoints of a tuning run: one safetensors file, from which a killed run goes on as if it
never had been.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from peft import PeftModel


def save_checkpoint(
    path: Path, model: PeftModel, optimizer: torch.optim.Optimizer, log: list[dict[str, Any]], seconds: float
) -> None:
    """Write adapter, optimiser state, log and seconds so far as one safetensors file, whole or not at all."""
    import torch
    from safetensors.torch import save_file

    tensors = {
        f"weight/{key}": weight.detach() for key, weight in model.named_parameters() if weight.requires_grad
    }
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"state/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
    neighbour = path.with_suffix(".writing")
    save_file(
        {key: tensor.contiguous() for key, tensor in tensors.items()},
        neighbour,
        metadata={"log": json.dumps(log), "seconds": str(seconds)},
    )
    neighbour.replace(path)


def load_checkpoint(
    path: Path, model: PeftModel, optimizer: torch.optim.Optimizer
) -> tuple[list[dict[str, Any]], float]:
    """Restore adapter and optimiser from a checkpoint; return its log, one entry a finished step, and its
    seconds; nothing without a checkpoint.
    """
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
