"""How much memory a tuning run needs, from the model's configuration alone, so that a run that cannot fit
never starts to load.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.machine import GIB

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from helpers.tuning.settings import TuningSettings

PARTS = ("weights", "adapter", "activations", "logits", "working")
# NF4 with one byte a block of 64, and four bytes for 256 of these (Dettmers et al., 2023)
FOUR_BIT_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
OPTIMIZER_BYTES = 16  # float32 gradient and AdamW's two moments, and what its step holds in passing
# of activations and logits: tensors in passing, and what the allocator cannot give back; measured on a CPU,
# between 0.3 and 0.8
WORKING_SHARE = 0.5
# logits, log-probabilities and their gradient in float32; and the logits in bfloat16
LOGIT_BYTES = {4: 12, 2: 16}


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a tuning run needs at its peak, by part, and how many are free; `recompute` says that
    activations are made again in the backward pass.
    """

    weights: int
    adapter: int
    activations: int
    logits: int
    free: int
    recompute: bool

    @property
    def working(self) -> int:
        """Working space: what is needed beside the tensors that are kept."""
        return round(WORKING_SHARE * (self.activations + self.logits))

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(getattr(self, name) for name in PARTS)

    def describe(self) -> dict[str, float]:
        """Return the parts in GiB, for a manifest."""
        parts = {name: round(getattr(self, name) / GIB, 3) for name in (*PARTS, "total", "free")}
        return parts | {"recompute": self.recompute}


@dataclasses.dataclass(frozen=True)
class ModelSize:
    """What the estimate reads off a model without loading it: numbers of weights, the widths of its layers,
    and whether they compute through `LoraProduct` (`fused`).
    """

    n_layer_weights: int
    n_other_weights: int
    n_adapter_weights: int
    n_layers: int
    hidden: int
    query: int
    key: int
    inner: int
    vocabulary: int
    rank: int
    fused: bool


def read_widths(config: PretrainedConfig) -> tuple[int, int]:
    """Return the width of a model's layers, and that inside their feed-forward blocks."""
    text = config.get_text_config()
    return text.hidden_size, getattr(text, "intermediate_size", None) or 4 * text.hidden_size


def measure_model(config: PretrainedConfig, settings: TuningSettings) -> ModelSize:
    """Build a model with its adapter on the meta device, where weights have a shape and no content, and
    count.

    Args:
        config: of any LLaMA-like causal language model.
        settings: the run's TuningSettings.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from helpers.tuning.fused import fuse_layers
    from helpers.tuning.lora import attach_adapter

    text, (hidden, inner) = config.get_text_config(), read_widths(config)
    with torch.device("meta"):
        model = attach_adapter(AutoModelForCausalLM.from_config(config), settings)
    n_heads = getattr(text, "num_attention_heads", None) or 1  # none where a state takes attention's place
    head = getattr(text, "head_dim", None) or hidden // n_heads
    sizes = {name: weight.numel() for name, weight in model.named_parameters() if not weight.requires_grad}
    in_layers = sum(n for name, n in sizes.items() if ".layers." in name)
    return ModelSize(
        n_layer_weights=in_layers,
        n_other_weights=sum(sizes.values()) - in_layers,
        n_adapter_weights=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        n_layers=text.num_hidden_layers,
        hidden=hidden,
        query=n_heads * head,
        key=(getattr(text, "num_key_value_heads", None) or n_heads) * head,
        inner=inner,
        vocabulary=text.vocab_size,
        rank=settings.lora_rank,
        fused=fuse_layers(model) > 0 and not settings.quantize_base,
    )


def estimate_memory(
    size: ModelSize,
    n_tokens: int,
    n_response: int,
    bytes_each: int,
    free: int,
    *,
    four_bit: bool = False,
    n_shards: int = 1,
) -> MemoryPlan:
    """Estimate the peak of a tuning run; activations are recomputed only where the run would not fit
    otherwise.

    The peak is at the end of the forward pass of the largest micro-batch. What a layer keeps for the backward
    pass was counted from its saved tensors (a LLaMA layer with LoRA on all seven linear layers); for a model
    of another build the figure is a guess.

    Args:
        size: of the model and its adapter.
        n_tokens: of the largest micro-batch, padding included.
        n_response: most response tokens of a micro-batch.
        bytes_each: of a weight and an activation: 4 in float32, 2 in bfloat16.
        free: bytes that are free.
        four_bit: whether the layers' weights are held in four bits.
        n_shards: among how many processes the layers' weights are split.
    """
    kept = n_tokens * count_kept_bytes(size, bytes_each)
    full = kept * size.n_layers + n_tokens * size.hidden * bytes_each
    plan = MemoryPlan(
        weights=round(
            size.n_layer_weights * (FOUR_BIT_BYTES if four_bit else bytes_each) / n_shards
            + size.n_other_weights * bytes_each
        ),
        adapter=size.n_adapter_weights * (4 + OPTIMIZER_BYTES),
        activations=full,
        logits=n_response * size.vocabulary * LOGIT_BYTES[bytes_each],
        free=free,
        recompute=False,
    )
    if plan.total <= free:
        return plan
    return dataclasses.replace(
        plan, activations=n_tokens * size.hidden * bytes_each * (size.n_layers + 1) + kept, recompute=True
    )


def count_kept_bytes(size: ModelSize, bytes_each: int) -> int:
    """Return how many bytes per token one layer keeps for the backward pass.

    In bfloat16 the norms turn their input to float32. Where layers are not fused, peft does so with the input
    of every adapter too, which costs half of what the narrower numbers save.
    """
    h, q, k, m, r = size.hidden, size.query, size.key, size.inner, 7 * size.rank
    if bytes_each == 4:
        return 4 * (4 * h + 2 * q + 2 * k + 4 * m + r)
    if size.fused:
        return 2 * (6 * h + 2 * q + 2 * k + 4 * m + r)
    return 4 * (7 * h + q + m + r) + 2 * (2 * q + 2 * k + 3 * m)


def check_memory(plan: MemoryPlan, model: str) -> None:
    """Raise StudyError, with the numbers and what to do, where a run needs more memory than is free."""
    if plan.total <= plan.free:
        return
    parts = plan.describe()
    listed = ", ".join(f"{name} {parts[name]:.1f}" for name in PARTS)
    raise StudyError(
        f"Tuning {model!r} needs about {parts['total']:.1f} GiB ({listed}), but {parts['free']:.1f} GiB are "
        "free. Free some, lower `max_tokens` or "
        "`lora_rank`, or take a smaller model; on a GPU set `quantize_base`, or split the weights over "
        "several with `accelerate launch --use_fsdp`."
    )
