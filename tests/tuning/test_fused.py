"""The fused LoRA layer computes what peft's layer computes."""

import dataclasses

import pytest
import torch

from helpers.models.load import load_model
from helpers.tuning.fused import LoraProduct, fuse_layers
from helpers.tuning.lora import attach_adapter
from helpers.tuning.settings import TuningSettings


@pytest.fixture
def settings(toy_model):
    return TuningSettings(model=toy_model, lora_rank=2)


def attach(settings, fuse, dtype="float32"):
    """Return the toy model with an adapter whose B matrices are not zero, so that every gradient is felt."""
    model = attach_adapter(load_model(settings.model, dtype=dtype), settings)
    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    if fuse:
        assert fuse_layers(model) == 14
    return model


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    shapes = ((2, 3, 5), (4, 5), (2, 5), (4, 2))
    x, weight, a, b = (
        torch.randn(shape, dtype=torch.float64, requires_grad=shape != (4, 5)) for shape in shapes
    )
    assert torch.autograd.gradcheck(LoraProduct.apply, (x, weight, a, b, 1.7))


def test_a_model_gives_the_outputs_and_gradients_that_it_gives_with_pefts_own_layers(settings):
    ids, found = torch.tensor([[0, 5, 6, 7, 8], [0, 9, 3, 2, 1]]), []
    for fuse in (False, True):
        model = attach(settings, fuse)
        logits = model(ids).logits
        logits.square().mean().backward()
        found.append(
            [logits.detach(), *(weight.grad for weight in model.parameters() if weight.requires_grad)]
        )
    assert len(found[0]) == 1 + 28
    assert all(torch.allclose(left, right, rtol=1e-4, atol=1e-6) for left, right in zip(*found, strict=True))


def test_in_bfloat16_outputs_and_gradients_are_no_further_from_float32s_than_pefts_own(settings):
    ids, found = torch.tensor([[0, 5, 6, 7, 8], [0, 9, 3, 2, 1]]), []
    for fuse, dtype in ((False, "float32"), (False, "bfloat16"), (True, "bfloat16")):
        model = attach(settings, fuse, dtype)
        logits = model(ids).logits.float()
        logits.square().mean().backward()
        learnt = [weight for weight in model.parameters() if weight.requires_grad]
        assert {weight.grad.dtype for weight in learnt} == {torch.float32}
        found.append(torch.cat([logits.detach().flatten(), *(weight.grad.flatten() for weight in learnt)]))
    exact, plain, fused = found
    assert (fused - exact).norm() < 1.5 * (plain - exact).norm() < 0.1 * exact.norm()


def test_nothing_below_the_first_adapter_and_no_frozen_weight_gets_a_gradient(settings):
    model = attach(settings, fuse=True)
    embedded = []
    model.get_base_model().model.layers[0].register_forward_pre_hook(
        lambda layer, args: embedded.append(args[0])
    )
    model(torch.tensor([[0, 5, 6]])).logits.sum().backward()
    assert not embedded[0].requires_grad
    assert all((weight.grad is not None) == ("lora_" in name) for name, weight in model.named_parameters())


def test_layers_with_dropout_keep_pefts_code(settings):
    dropping = dataclasses.replace(settings, lora_dropout=0.1)
    assert fuse_layers(attach_adapter(load_model(settings.model), dropping)) == 0
