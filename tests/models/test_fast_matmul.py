"""Fast products are switched on only where the processor has them, and stay close to the plain ones."""

import subprocess
import sys

import pytest
import torch

from helpers.models import fast_matmul
from helpers.models.fast_matmul import (
    _finding_file,
    _read_finding,
    enable_fast_matmul,
    find_matmul_dtype,
    transpose_weight_layout,
)
from helpers.models.load import choose_device, load_model
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import prepare_model


@pytest.fixture(autouse=True)
def precision(tmp_path, monkeypatch):
    """Ask anew, and leave the setting as it was."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    enable_fast_matmul.cache_clear()
    yield backend
    backend.fp32_precision = before
    enable_fast_matmul.cache_clear()


def test_they_stay_off_where_the_processor_lacks_the_instruction(monkeypatch, precision):
    precision.fp32_precision = "ieee"
    monkeypatch.setattr(fast_matmul, "has_bfloat16_products", lambda: False)
    assert enable_fast_matmul() == "float32"
    assert precision.fp32_precision == "ieee"


def test_they_go_off_again_where_a_trial_finds_a_missing_kernel(monkeypatch, precision):
    monkeypatch.setattr(fast_matmul, "has_bfloat16_products", lambda: True)
    seconds = iter((1.0, 50.0))
    monkeypatch.setattr("helpers.models.fast_matmul._time_product", lambda x, weight: (next(seconds), x))
    assert enable_fast_matmul() == "float32"
    assert precision.fp32_precision == "ieee"


def test_what_was_found_is_known_without_pytorch(tmp_path, precision):
    found = enable_fast_matmul()
    ask = (
        "import sys; from helpers.models.load import describe_format;"
        "print(describe_format(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert f"'products': '{found}'" in done.stdout
    assert torch.cuda.is_available() or done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    "damaged", ['[true, "fl', '"ab"', '[true, "int8"]', '["yes", "float32"]', "[[]]", "4"]
)
def test_a_damaged_finding_is_found_anew(damaged, precision):
    found = enable_fast_matmul()
    _finding_file().write_text(damaged)
    enable_fast_matmul.cache_clear()
    assert find_matmul_dtype() == found
    assert _read_finding()[1] == found


def test_a_finding_is_kept_for_its_processor_alone(monkeypatch, precision):
    enable_fast_matmul()
    assert _read_finding()
    with monkeypatch.context() as patch:
        patch.setattr("helpers.models.fast_matmul.name_processor", lambda: "another")
        assert not _read_finding()
    assert _read_finding()
    monkeypatch.setattr("helpers.models.fast_matmul.list_instructions", lambda: ["amx_bf16"])  # same name
    assert not _read_finding()


@pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="the processor has no bfloat16 products"
)
def test_they_are_on_where_the_processor_has_them_and_differ_by_rounding_alone(monkeypatch):
    """In a process of its own, where nothing keeps oneDNN off the processor's instructions."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    ask = (
        "import torch; from helpers.models.fast_matmul import enable_fast_matmul as enable; found = enable();"
        "x, weight = torch.randn(64, 256), torch.randn(128, 256); exact = x.double() @ weight.double().T;"
        "error = ((x @ weight.T) - exact).abs().max() / exact.abs().max();"
        "print(found, torch.backends.mkldnn.matmul.fp32_precision, error.item())"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    found, precision, error = done.stdout.split()
    assert precision == "bf16"
    assert float(error) < (1e-5 if found == "float32" else 2e-2)


def test_turned_weights_give_the_same_logits_and_save_as_they_were(toy_model, tmp_path, precision):
    model, ids = load_model(toy_model), torch.arange(12)[None]
    before, weights = model(ids).logits, {name: w.clone() for name, w in model.named_parameters()}
    precision.fp32_precision = "bf16" if torch.cpu._is_avx512_bf16_supported() else "ieee"
    transpose_weight_layout(model)
    assert torch.allclose(model(ids).logits, before, atol=1e-5)
    model.save_pretrained(tmp_path / "saved")
    saved = dict(load_model(str(tmp_path / "saved")).named_parameters())
    assert all(torch.equal(saved[name], weight) for name, weight in weights.items())


def test_weights_are_turned_where_onednn_multiplies_and_nowhere_else(toy_model, monkeypatch, precision):
    model = load_model(toy_model)
    layers = [layer for layer in model.base_model.modules() if type(layer) is torch.nn.Linear]
    for setting, turned in (("ieee", False), ("bf16", True)):
        precision.fp32_precision = setting
        transpose_weight_layout(model)
        assert all(layer.weight.T.is_contiguous() is turned for layer in layers)
    assert model.get_output_embeddings().weight.is_contiguous()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU multiplies in place of the processor")
@pytest.mark.parametrize(("dtype", "has", "warns"), [("bfloat16", 0, 1), ("bfloat16", 1, 0), ("auto", 0, 0)])
def test_a_tuning_says_before_it_starts_that_the_processor_lacks_products(
    toy_model, monkeypatch, caplog, dtype, has, warns
):
    monkeypatch.setattr(fast_matmul, "has_bfloat16_products", lambda: bool(has))
    monkeypatch.setattr(fast_matmul, "_try_products", lambda: (False, "float32"))
    monkeypatch.setattr(fast_matmul.platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("STUDY_PROGRESS")
    prepare_model(TuningSettings(model=toy_model, dtype=dtype), recompute=False)
    assert ("cannot multiply bfloat16 numbers" in caplog.text) is bool(warns)
    assert ("set dtype=float32" in caplog.text) is bool(warns)
    assert choose_device("auto") == ("cpu", "float32")
