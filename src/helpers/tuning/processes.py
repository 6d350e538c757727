"""Several processes that share a tuning run, as `accelerate launch` starts them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState
    from peft import PeftModel


def join_processes() -> PartialState:
    """Return what `accelerate launch` says of this process and the others; without it, a single process."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def shards_weights() -> bool:
    """Say whether `accelerate launch --use_fsdp` started this process."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def shard_layers(model: PeftModel) -> None:
    """Split the frozen weights of the model's layers over all processes; each layer is put together for as
    long as it computes (FSDP).

    The adapter stays whole in every process, so gradients, checkpoints and the saved adapter are as
    without sharding.
    """
    import torch
    from torch.distributed.fsdp import fully_shard

    learnt = {weight for weight in model.parameters() if weight.requires_grad}
    text = model.get_base_model().get_decoder()
    layers = next(module for module in text.modules() if isinstance(module, torch.nn.ModuleList))
    for layer in layers:
        fully_shard(layer, ignored_params=learnt)
