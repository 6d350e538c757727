"""Checkpoints of a tuning run: one safetensors file, from which a killed run goes on as if it
never had been.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.files import replace_whole
from helpers.paths import shown
from helpers.progress import tell

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
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    facts = {"log": json.dumps(log), "seconds": str(seconds)}
    save_file(tensors, neighbour, metadata=facts | {"sha256": _checksum(tensors, facts["log"])})
    replace_whole(neighbour, path)


def load_checkpoint(
    path: Path, model: PeftModel, optimizer: torch.optim.Optimizer
) -> tuple[list[dict[str, Any]], float]:
    """Restore adapter and optimiser from a checkpoint; return its log, one entry a finished step, and its
    seconds; nothing without a checkpoint, or where it is damaged, which is reported.
    """
    if not path.is_file():
        return [], 0.0
    try:
        tensors, log, seconds = _read_checkpoint(path)
    except DamagedCheckpointError as error:
        tell(f"The checkpoint {shown(path)} is damaged ({error}): the tuning begins anew.")
        return [], 0.0
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


class DamagedCheckpointError(Exception):
    """A checkpoint that cannot be read, or not as it was written."""


def _read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]], float]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            # copied, since a file that is still mapped cannot be replaced on Windows
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = file.metadata()
        if metadata["sha256"] != _checksum(tensors, metadata["log"]):
            raise DamagedCheckpointError("its bytes are not those that were written")
        return tensors, json.loads(metadata["log"]), float(metadata["seconds"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedCheckpointError(f"{type(error).__name__}: {error}") from None


def _checksum(tensors: Mapping[str, torch.Tensor], log: str) -> str:
    """Return the sha256 of a checkpoint's tensors and log."""
    import torch

    total = hashlib.sha256(log.encode())
    for key in sorted(tensors):
        total.update(key.encode() + tensors[key].cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
