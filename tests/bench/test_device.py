"""Measures of a model on a device: the same code on a CPU, with a tiny model, and nothing lost on the way."""

import json

import pytest
import torch
from typer.testing import CliRunner

from helpers.bench import device, device_measures, large, result, tuning
from helpers.bench.device import make_model, measure_device
from helpers.bench.device_measures import Load, compare_tuning
from helpers.cli import app
from helpers.errors import StudyError

LOAD = Load((2,), 32, 3, 16, 4, 1, 64)


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """Make a tiny shape and short trials; return what reads the file."""
    monkeypatch.setitem(large.SHAPES, "tiny", (64, 128, 2, 4, 400))
    monkeypatch.setitem(device.LOADS, "cpu", LOAD)
    monkeypatch.setattr(result, "RESULTS", tmp_path)
    monkeypatch.setattr(tuning, "TRIAL_SECONDS", 0.1)
    monkeypatch.setattr(tuning, "READ_BYTES", 2**20)
    return lambda: json.loads((tmp_path / "bench" / "device_cpu_tiny.json").read_text())


def name_measures(report):
    return [row["name"] for row in report["measures"]]


@pytest.mark.parametrize("installed", [False, True])
def test_every_measure_is_measured_beside_its_plain_way(stored, monkeypatch, installed):
    if installed:
        pytest.importorskip("bitsandbytes", reason="needs the extra `gpu`: pip install --editable '.[gpu]'")
    else:
        monkeypatch.setattr("helpers.models.load.find_spec", lambda _: None)
    rows = list(measure_device("cpu", "tiny"))
    assert rows == stored()["measures"]
    measures = {row["name"]: row for row in rows}
    four_bits = {"tuning_four_bits"} if installed else set()
    assert set(measures) == {"tuning", "generation", "choice"} | four_bits
    assert all(row["ratio"] > 0 and min(row["peak_gib"]) > 0.01 for row in rows)
    assert [measures[name]["n"] for name in ("tuning", "generation", "choice")] == [64, 3, 3]
    assert measures["tuning"]["share_of_peak"] > 0
    assert installed or "needs bitsandbytes" in stored()["left_out"][0]
    assert stored()["matmul_gflops"] > 0
    assert stored()["read_gb_per_second"] > 0


def test_a_run_that_is_cut_off_keeps_what_it_has(stored):
    measures = measure_device("cpu", "tiny")
    next(measures)
    assert name_measures(stored()) == ["tuning"]
    next(measures)
    measures.close()
    assert name_measures(stored()) == ["tuning", "generation"]


def test_what_does_not_fit_is_left_out_with_its_numbers_and_the_rest_goes_on(stored, monkeypatch):
    monkeypatch.setattr(device_measures, "measure_free_memory", lambda: 0)
    list(measure_device("cpu", "tiny"))
    assert name_measures(stored()) == ["generation", "choice"]
    tuning, four_bits = stored()["left_out"]
    assert "64 tokens at a time' needs about" in tuning
    assert "GiB in four bits, beside those of the model, but 0.0 GiB are free" in four_bits


def test_weights_that_do_not_fit_are_never_made(stored, monkeypatch):
    monkeypatch.setattr(device, "measure_main_memory", lambda: 1000)
    with pytest.raises(StudyError, match=r"The weights of shape 'tiny' need 0\.0 GiB in bfloat16"):
        make_model("tiny", "cpu")


def test_without_a_gpu_it_is_refused_with_one_message(monkeypatch):
    monkeypatch.setattr(device, "has_gpu", lambda: False)
    refused = CliRunner().invoke(app, ["bench", "--gpu"])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: To measure a GPU, PyTorch must be able to use one")
    assert "Traceback" not in refused.output


@pytest.mark.parametrize(("where", "shape"), [("tpu", "20m"), ("cpu", "8b")])
def test_an_unknown_device_or_shape_is_refused(stored, where, shape):
    with pytest.raises(StudyError, match=f"must be one of .* but '{where if where == 'tpu' else shape}'"):
        list(measure_device(where, shape))


def test_a_model_made_on_a_device_computes_what_one_with_its_weights_does(stored):
    from transformers import AutoModelForCausalLM

    made, ids = make_model("tiny", "cpu"), torch.tensor([[5, 6, 7, 8]])
    plain = AutoModelForCausalLM.from_config(large.describe_shape("tiny"), dtype=torch.bfloat16)
    plain.load_state_dict(made.state_dict())
    assert made(ids).logits.std() > 0
    assert torch.equal(made(ids).logits, plain(ids).logits)


def test_both_ways_of_tuning_take_the_same_step_each_with_its_own_layers(stored, monkeypatch):
    from helpers.tuning.fused import LoraProduct

    fused = []
    apply = LoraProduct.apply
    monkeypatch.setattr(LoraProduct, "apply", lambda *args: fused.append(1) or apply(*args))
    calls = []
    monkeypatch.setattr(
        device_measures,
        "time_turns",
        lambda *args: calls.extend([args[3](), len(fused), args[4](), len(fused)]) or {"seconds": [1]},
    )
    compare_tuning(make_model("tiny", "cpu"), LOAD, {"matmul_gflops": 1, "read_gb_per_second": 1}, 2)
    ours, n_ours, plain, n_both = calls
    assert n_ours == n_both >= 14  # of the step, and of how the model was asked before
    assert ours == pytest.approx(plain, abs=0.02)  # the first step moves the adapter by a ten-thousandth


def test_in_the_stored_run_the_processor_sets_the_limit_as_the_book_says():
    from helpers.book.notebook import describe_large_model

    found = describe_large_model()
    assert found["products"] > 50 > 2 * found["reading"]
    assert found["speed"] > 0.9 * found["plain_speed"]
