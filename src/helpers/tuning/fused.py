"""A LoRA layer as one step of automatic differentiation: the same sums as peft's, without the tensors in
between.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear


class LoraProduct(torch.autograd.Function):
    """Compute x W' + scale (x A') B' for a frozen W, and the gradients of x, A and B (Hu et al., 2022,
    equation 3).

    The scaled product is added in place, forward and backward, so that no tensor of the layer's size is
    written twice and none but x and x A' is kept. Products are taken in the format of W: A and B, which
    peft keeps in float32, are rounded to a bfloat16 W's, where peft turns each layer's input and output to
    float32.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Return the layer's output; x (..., in), weight (out, in), a (rank, in), b (out, rank)."""
        flat = x.reshape(-1, x.shape[-1])
        ctx.scale, ctx.shape, ctx.learnt = scale, x.shape, a.dtype
        a, b = a.to(weight.dtype), b.to(weight.dtype)
        low = flat @ a.T
        ctx.save_for_backward(flat, weight, a, b, low)
        return (flat @ weight.T).addmm_(low, b.T, alpha=scale).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, torch.Tensor, torch.Tensor, None]:
        """Return the gradients of x (none where nothing below it is learnt), A and B."""
        flat, weight, a, b, low = ctx.saved_tensors
        gradient = gradient.reshape(-1, gradient.shape[-1])
        back = gradient @ b
        of_x = (
            (gradient @ weight).addmm_(back, a, alpha=ctx.scale).view(ctx.shape)
            if ctx.needs_input_grad[0]
            else None
        )
        of_a, of_b = ((left.T @ right).to(ctx.learnt) for left, right in ((back, flat), (gradient, low)))
        return of_x, None, of_a.mul_(ctx.scale), of_b.mul_(ctx.scale), None


def fuse_layers(model: torch.nn.Module) -> int:
    """Let every plain LoRA layer compute through `LoraProduct`; return how many do.

    Layers in four bits, that have a bias, or that drop inputs keep peft's own code.
    """
    layers = [layer for layer in model.modules() if _can_fuse(layer)]
    for layer in layers:
        layer.forward = _forward(layer)
    return len(layers)


def _can_fuse(layer: torch.nn.Module) -> bool:
    if type(layer) is not Linear or not isinstance(layer.lora_dropout["default"], torch.nn.Identity):
        return False
    base = layer.get_base_layer()
    plain = type(base) is torch.nn.Linear and base.bias is None
    return plain and base.weight.dtype in (torch.float32, torch.bfloat16)


def _forward(layer: Linear) -> Any:
    base, a, b, scale = (
        layer.get_base_layer(),
        layer.lora_A["default"],
        layer.lora_B["default"],
        layer.scaling["default"],
    )
    return lambda x: LoraProduct.apply(x, base.weight, a.weight, b.weight, scale)
