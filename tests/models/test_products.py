"""Fast products are switched on only where the processor has them, and stay close to the plain ones."""

import pytest
import torch

from helpers.models.products import use_fast_products


@pytest.fixture(autouse=True)
def precision():
    """Ask anew, and leave the setting as it was."""
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    use_fast_products.cache_clear()
    yield backend
    backend.fp32_precision = before
    use_fast_products.cache_clear()


def test_they_stay_off_where_the_processor_lacks_the_instruction(monkeypatch, precision):
    precision.fp32_precision = "ieee"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert use_fast_products() == "float32"
    assert precision.fp32_precision == "ieee"


def test_they_go_off_again_where_a_trial_finds_a_missing_kernel(monkeypatch, precision):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    seconds = iter((1.0, 50.0))
    monkeypatch.setattr("helpers.models.products._time_product", lambda x, weight: (next(seconds), x))
    assert use_fast_products() == "float32"
    assert precision.fp32_precision == "ieee"


@pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="the processor has no bfloat16 products"
)
def test_they_are_on_where_the_processor_has_them_and_differ_by_rounding_alone(precision):
    factors = use_fast_products()
    assert precision.fp32_precision == "bf16"
    x, weight = torch.randn(64, 256), torch.randn(128, 256)
    exact = x.double() @ weight.double().T
    error = ((x @ weight.T) - exact).abs().max() / exact.abs().max()
    assert error < (1e-5 if factors == "float32" else 2e-2)
