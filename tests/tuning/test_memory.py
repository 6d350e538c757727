"""The estimate of memory: counted against real tensors, sensible for the paper's models, and a run that
cannot fit never loads.
"""

import dataclasses

import pytest
import torch
from transformers import Gemma3Config, GPT2Config, LlamaConfig, LlamaForCausalLM

from helpers.errors import StudyError
from helpers.models.load import load_config, load_model
from helpers.tuning import stage
from helpers.tuning.fused import fuse_layers
from helpers.tuning.lora import attach_adapter
from helpers.tuning.memory import (
    GIB,
    MemoryPlan,
    check_memory,
    count_kept_bytes,
    estimate_memory,
    measure_model,
    read_widths,
)
from helpers.tuning.rows import EncodedRow
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import prepare_model, tune

PAPER = TuningSettings(
    model="meta-llama/Llama-2-7b-hf", lora_dropout=0.05, target_modules="q_proj+k_proj+v_proj+o_proj"
)
LLAMA_2 = {
    "7b": LlamaConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
    ),
    "13b": LlamaConfig(
        vocab_size=32000,
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=40,
        num_attention_heads=40,
    ),
}


def plan(name, free_gib, **options):
    return estimate_memory(
        measure_model(LLAMA_2[name], PAPER),
        n_tokens=8192,
        n_response=3000,
        bytes_each=2,
        free=round(free_gib * GIB),
        **options,
    )


def count_saved_bytes(n_layers, dtype, fused):
    """Count the bytes that a model's forward pass really keeps for the backward pass, each storage once,
    weights aside.
    """
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=48,
        intermediate_size=128,
        num_hidden_layers=n_layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
    )
    torch.manual_seed(0)
    model = attach_adapter(LlamaForCausalLM(config).to(dtype), TuningSettings(lora_rank=4)).get_base_model()
    if fused:
        fuse_layers(model)
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def remember(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        model.model(input_ids=torch.ones(8, 64, dtype=torch.long), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("dtype", "bytes_each"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_the_bytes_that_a_layer_keeps_are_those_of_its_saved_tensors(dtype, bytes_each, fused):
    counted = (count_saved_bytes(3, dtype, fused) - count_saved_bytes(2, dtype, fused)) / 512
    config = LlamaConfig(
        hidden_size=48,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=50,
    )
    size = measure_model(config, TuningSettings(lora_rank=4))
    assert size.fused
    size = dataclasses.replace(size, fused=fused)
    assert count_kept_bytes(size, bytes_each) == pytest.approx(counted, rel=0.03)


@pytest.mark.parametrize("own", [{"lora_dropout": 0.1}, {"quantize_base": True}])
def test_layers_with_dropout_or_in_four_bits_are_not_counted_as_fused(own):
    assert not measure_model(LLAMA_2["7b"], TuningSettings(**own)).fused


def test_numbers_of_weights_are_those_of_the_loaded_model(toy_model):
    settings = TuningSettings(model=toy_model, lora_rank=2)
    size = measure_model(load_config(toy_model), settings)
    model = attach_adapter(load_model(toy_model), settings)
    assert size.n_adapter_weights == sum(
        weight.numel() for weight in model.parameters() if weight.requires_grad
    )
    assert size.n_layer_weights + size.n_other_weights == sum(
        weight.numel() for weight in model.parameters() if not weight.requires_grad
    )


def test_widths_are_found_under_the_names_of_each_architecture():
    assert read_widths(LLAMA_2["7b"]) == (4096, 11008)
    assert read_widths(GPT2Config()) == (768, 3072)
    text = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    assert read_widths(Gemma3Config(text_config=text)) == (64, 96)


@pytest.mark.parametrize(("name", "weights", "four_bit"), [("7b", 12.55, 3.6), ("13b", 24.24, 6.7)])
def test_the_papers_models_have_their_known_size(name, weights, four_bit):
    assert plan(name, 1000).weights / GIB == pytest.approx(weights, abs=0.01)
    assert plan(name, 1000, four_bit=True).weights / GIB == pytest.approx(four_bit, abs=0.1)
    assert plan(name, 1000, n_shards=2).weights / GIB == pytest.approx(weights / 2, rel=0.05)


@pytest.mark.parametrize(("name", "free_gib"), [("7b", 24), ("13b", 39)])
def test_the_papers_models_fit_its_cards_with_activations_recomputed(name, free_gib):
    found = plan(name, free_gib)
    assert found.recompute
    assert found.total <= found.free
    assert not plan(name, 1000).recompute


def test_what_does_not_fit_is_refused_with_the_numbers_and_what_to_do():
    with pytest.raises(
        StudyError,
        match=r"needs about \d+\.\d GiB \(weights 24\.2, .*but 24\.0 GiB are free"
        r".*`quantize_base`.*--use_fsdp",
    ):
        check_memory(plan("13b", 24), "meta-llama/Llama-2-13b-hf")


def test_a_run_that_cannot_fit_never_loads_the_model(toy_model, instruction_file, monkeypatch):
    loaded = []
    monkeypatch.setattr(stage, "measure_free_memory", lambda: 1000)
    monkeypatch.setattr(stage, "prepare_model", lambda *args: loaded.append(args))
    with pytest.raises(StudyError, match=r"but 0\.0 GiB are free"):
        tune(TuningSettings(model=toy_model, n_rows=8, lora_rank=2), instruction_file)
    assert not loaded


def test_the_plan_of_several_processes_is_that_of_the_one_with_the_longest_rows(toy_model, monkeypatch):
    monkeypatch.setattr(stage, "estimate_memory", lambda size, **needs: needs)
    monkeypatch.setattr(stage, "check_memory", lambda *args: None)
    settings = TuningSettings(model=toy_model, dtype="float32")
    steps = [(0, [EncodedRow([1] * n_tokens, 1) for n_tokens in (20, 900)])]
    assert stage.plan_memory(settings, None, steps, 2)["n_tokens"] == 900


def test_recomputed_activations_change_no_loss(toy_model, instruction_file, monkeypatch, tmp_path):
    settings = TuningSettings(model=toy_model, n_rows=8, lora_rank=2, learning_rate=1e-2)
    kept = tune(settings, instruction_file)
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "recomputed"))
    asked = []
    monkeypatch.setattr(stage, "plan_memory", lambda *args: MemoryPlan(0, 0, 0, 0, free=1, recompute=True))
    monkeypatch.setattr(
        stage,
        "prepare_model",
        lambda settings, recompute, parent: asked.append(recompute) or prepare_model(settings, recompute),
    )
    recomputed = tune(settings, instruction_file)
    assert asked == [True]
    assert recomputed.file("log.csv").read_text() == kept.file("log.csv").read_text()


def test_the_parts_of_a_plan_add_up():
    found = plan("7b", 1000)
    assert found.total == found.weights + found.adapter + found.activations + found.logits + found.working
    assert dataclasses.replace(found, logits=0).total < found.total
    assert found.describe()["total"] == pytest.approx(found.total / GIB, abs=1e-3)
