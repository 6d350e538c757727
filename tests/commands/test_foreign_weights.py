"""`study evaluate` on models and adapters as other people save them: right, or refused by name."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from architectures import make_model
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from helpers.cli import app
from helpers.commands.evaluation import name_models
from helpers.commands.merge import merge_adapter
from helpers.errors import StudyError
from helpers.evaluation.merging import SharedBase
from helpers.models.load import identify_model, load_model, quiet_peft
from helpers.tuning.lora import adopt_parent
from helpers.tuning.settings import TuningSettings

IDS = torch.tensor([[0, 9, 8, 7, 399]])


def refuse(*arguments, tasks="evidence_yesno"):
    """Return the one message with which the command ends."""
    options = ["evaluate", "--tasks", tasks, "--n-items", "2", *map(str, arguments)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


@pytest.fixture
def folder(toy_model, tmp_path):
    """Copy the toy model, to be damaged."""
    return shutil.copytree(toy_model, tmp_path / "model")


def rewrite(path, change):
    """Change the tensors of a safetensors file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit(path, **changes):
    """Change the settings of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_encoder_is_refused_by_the_names_of_the_weights_it_lacks(toy_model, tmp_path):
    model = make_model("bert")
    model.bert.save_pretrained(tmp_path / "bert")
    for file in Path(toy_model).glob("tokenizer*"):
        shutil.copy(file, tmp_path / "bert")
    message = refuse("--model", tmp_path / "bert")
    assert "lacks" in message
    assert "cls.predictions" in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "lacks 1 (model.norm.weight)"),
        (
            lambda tensors: tensors.update(more=torch.ones(2)),
            "has, beside what the architecture knows, 1 (more)",
        ),
        (
            lambda tensors: tensors["model.norm.weight"].fill_(float("nan")),
            "not finite, in 1 (model.norm.weight)",
        ),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(9)}), "model.norm.weight"),
    ],
)
def test_weights_that_lack_something_or_have_more_are_refused(folder, change, told):
    rewrite(folder / "model.safetensors", change)
    assert told in refuse("--model", folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_hidden_layers": 10**6}, "asks for 1000000 layers"),
        ({"vocab_size": 10**10}, "vocabulary of 10000000000"),
        ({"model_type": "unheard-of"}, "unheard-of"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "code.Own", "AutoModelForCausalLM": "code.Own"}},
            "asks to run code from its repository",
        ),
    ],
)
def test_a_configuration_that_is_not_the_weights_is_refused_before_memory_is_taken(folder, changes, told):
    edit(folder / "config.json", **changes)
    assert told in refuse("--model", folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_file_is_one_message(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:50])
    assert str(folder) in refuse("--model", folder)


def test_a_tokenizer_without_end_of_text_is_refused(folder):
    edit(folder / "tokenizer_config.json", eos_token=None)
    assert "end-of-text token" in refuse("--model", folder, tasks="pronoun_resolution")


def test_a_prompt_longer_than_the_models_positions_is_refused_and_counted(folder):
    edit(folder / "config.json", max_position_embeddings=100)
    assert "2 of 2 prompts of 'dialogue_to_note'" in refuse("--model", folder, tasks="dialogue_to_note")
    assert "are longer than the model's 100 positions" in refuse("--model", folder, tasks="exam_choice")


def test_a_chat_template_is_part_of_what_a_model_is_known_by(folder):
    before = identify_model(str(folder))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert identify_model(str(folder)) != before


def make_adapter(toy_model, folder, spread=0.3, **options):
    """Save an adapter with random weights; return what the model with it gives."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "init_lora_weights": False}
    with quiet_peft():
        tuned = get_peft_model(load_model(toy_model), LoraConfig(**settings | options))
    for weight in tuned.parameters():
        if weight.requires_grad:
            weight.data += spread * torch.randn_like(weight)
    tuned.eval().save_pretrained(folder)
    return tuned(IDS).logits


@pytest.fixture
def adapter(toy_model, tmp_path):
    make_adapter(toy_model, tmp_path / "adapter")
    return tmp_path / "adapter"


ADAPTERS = {
    "plain": {},
    "of another rank in one layer": {"rank_pattern": {"layers.0": 4}},
    "stabilised": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "with biases": {"bias": "all"},
    "with an own head": {"modules_to_save": ["lm_head"]},
    "with own embeddings": {"modules_to_save": ["embed_tokens"]},
    "on the head": {"target_modules": ["q_proj", "lm_head"]},
    "on the embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "with trained tokens": {"trainable_token_indices": [7, 399]},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", ADAPTERS.values(), ids=ADAPTERS)
@pytest.mark.parametrize("kind", ["toy_model", "tied_model"])
def test_an_adapter_of_any_build_gives_what_it_gives_beside_the_weights(kind, options, tmp_path, request):
    name = request.getfixturevalue(kind)
    beside = make_adapter(name, tmp_path / "adapter", **options)
    base = SharedBase(name)
    before = base.merge(None)(IDS).logits
    assert torch.allclose(base.merge(tmp_path / "adapter")(IDS).logits, beside, atol=1e-4)
    assert not torch.allclose(before, beside, atol=1e-1)
    assert torch.equal(base.merge(None)(IDS).logits, before)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda tensors: tensors.pop(min(tensors)),
            "lacks 1 (base_model.model.model.layers.0.self_attn.q_proj",
        ),
        (lambda tensors: tensors.update(other=torch.ones(2)), "beside what it should, 1 (other)"),
        (lambda tensors: tensors[min(tensors)].fill_(float("inf")), "not finite, in 1 ("),
        (lambda tensors: tensors.update({min(tensors): torch.ones(3, 3)}), "does not fit"),
        (
            lambda tensors: tensors.update({"base_model.model.lm_head.weight": torch.ones(410, 32)}),
            "embeddings of 410 tokens, but the model has 400",
        ),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused(toy_model, adapter, change, told):
    rewrite(adapter / "adapter_model.safetensors", change)
    assert told in refuse("--model", toy_model, "--adapter", adapter)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "must hold a JSON object, but a list"),
        ("[" * 100_000, "is not JSON"),
        ("{", "is not JSON"),
        ('{"peft_type": "MAGIC"}', "but 'MAGIC' was found"),
        ('{"peft_type": ["LORA"]}', "but ['LORA'] was found"),
        ('{"peft_type": "PROMPT_TUNING"}', "adapter"),
    ],
)
def test_a_configuration_of_an_adapter_that_is_none_is_refused(toy_model, adapter, text, told):
    (adapter / "adapter_config.json").write_text(text)
    assert told in refuse("--model", toy_model, "--adapter", adapter)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"r": 10**9}, "names the rank 1000000000"),
        ({"rank_pattern": {"q_proj": 10**9}}, "names the rank 1000000000"),
        ({"a_setting_to_come": True}, "does not know: 1 (a_setting_to_come)"),
        ({"target_modules": ["nowhere"]}, "does not fit"),
        ({"modules_to_save": ["layers"]}, "adapter"),
        ({"modules_to_save": ["mlp"]}, "lacks"),
    ],
)
def test_settings_of_an_adapter_that_do_not_go_with_its_weights_are_refused(
    toy_model, adapter, changes, told
):
    edit(adapter / "adapter_config.json", **changes)
    assert told in refuse("--model", toy_model, "--adapter", adapter)


def test_a_refused_adapter_leaves_the_base_clean(toy_model, adapter):
    base = SharedBase(toy_model)
    before = base.merge(None)(IDS).logits
    rewrite(adapter / "adapter_model.safetensors", lambda tensors: tensors.pop(min(tensors)))
    for _ in range(2):
        with pytest.raises(StudyError, match="lacks"):
            base.merge(adapter)
    assert torch.equal(base.merge(None)(IDS).logits, before)


def test_an_adapter_beside_a_models_weights_is_not_read_with_them(folder, adapter):
    for file in adapter.glob("adapter_*"):
        shutil.copy(file, folder)
    assert "has an adapter beside its weights" in refuse("--model", folder)


@pytest.mark.parametrize("change", [{"lora_alpha": 0}, {}])
def test_an_adapter_that_changes_nothing_is_scored_and_named(toy_model, adapter, caplog, monkeypatch, change):
    monkeypatch.delenv("STUDY_PROGRESS")
    edit(adapter / "adapter_config.json", **change)
    if not change:
        rewrite(
            adapter / "adapter_model.safetensors", lambda tensors: [each.zero_() for each in tensors.values()]
        )
    base = SharedBase(toy_model)
    assert torch.equal(base.merge(adapter)(IDS).logits, load_model(toy_model)(IDS).logits)
    assert f"{adapter} changes nothing" in caplog.text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"r": "2"}, "`lora_rank` must be int"),
        ({"r": None}, "`lora_rank` must be int"),
        ({"r": 2.0}, "`lora_rank` must be int"),
        ({"lora_alpha": "32"}, "`lora_alpha` must be int"),
        ({"lora_alpha": None}, "`lora_alpha` must be int"),
        ({"lora_alpha": 0.4}, "`lora_alpha` must be int"),
        ({"lora_alpha": math.nan}, "`lora_alpha` must be int"),
        ({"lora_dropout": "x"}, "`lora_dropout` must be float"),
        ({"lora_dropout": 2}, "`lora_dropout` must be at most 0.9"),
    ],
)
def test_tuning_does_not_go_on_from_settings_that_a_run_cannot_have(adapter, changes, told):
    edit(adapter / "adapter_config.json", **changes)
    with pytest.raises(StudyError, match=f"cannot go on from the adapter in .*{told}"):
        adopt_parent(TuningSettings(), adapter)


def test_tuning_goes_on_from_a_scale_that_is_written_as_a_fraction(adapter):
    edit(adapter / "adapter_config.json", lora_alpha=8.0)
    assert adopt_parent(TuningSettings(), adapter).lora_alpha == 8


def test_embeddings_that_an_adapter_brings_do_not_stay_for_what_is_scored_next(toy_model, adapter):
    name = "base_model.model.model.embed_tokens.weight"
    rewrite(
        adapter / "adapter_model.safetensors", lambda tensors: tensors.update({name: torch.ones(400, 32)})
    )
    base = SharedBase(toy_model)
    before = base.merge(None)(IDS).logits
    assert not torch.allclose(base.merge(adapter)(IDS).logits, before)
    assert torch.equal(base.merge(None)(IDS).logits, before)
    with pytest.raises(StudyError, match="it must be plain LoRA, without DoRA"):
        adopt_parent(TuningSettings(), adapter)


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_that_repeats_layers_is_merged_as_it_is_beside_the_weights_or_refused(toy_model, tmp_path):
    adapter = tmp_path / "adapter"
    beside = make_adapter(toy_model, adapter, layer_replication=[(0, 1), (0, 2)])
    base = SharedBase(toy_model)
    before = base.merge(None)(IDS).logits
    merged = base.merge(adapter)
    assert merged.config.num_hidden_layers == load_model(toy_model).config.num_hidden_layers + 1
    assert torch.allclose(merged(IDS).logits, beside, atol=1e-4)
    assert not torch.allclose(before, beside, atol=1e-1)
    assert torch.equal(base.merge(None)(IDS).logits, before)
    with pytest.raises(StudyError, match="cannot be saved as safetensors"):
        merge_adapter(adapter, tmp_path / "whole", toy_model)


def test_an_adapter_that_names_another_base_is_told(toy_model, adapter, caplog, monkeypatch):
    monkeypatch.delenv("STUDY_PROGRESS")
    SharedBase(toy_model).merge(adapter)
    assert "as its base" not in caplog.text
    edit(adapter / "adapter_config.json", base_model_name_or_path="someone/another-model")
    SharedBase(toy_model).merge(adapter)
    assert "names 'someone/another-model' as its base" in caplog.text
    edit(adapter / "adapter_config.json", base_model_name_or_path="toy\0model")
    SharedBase(toy_model).merge(adapter)
    assert "names 'toy\\x00model' as its base" in caplog.text


def test_a_model_that_is_named_twice_counts_once(toy_model):
    """And not each of its items twice."""
    arguments = ["evaluate", "--tasks", "evidence_yesno", "--n-items", "3", "--no-answers"]
    once, twice = (CliRunner().invoke(app, [*arguments, *["--model", toy_model] * n]).stdout for n in (1, 2))
    assert once == twice


def test_an_adapter_whose_folder_is_called_like_the_model_does_not_take_its_place():
    adapters = [Path("toy"), Path("runs/toy")]
    assert name_models("toy", adapters) == {
        "toy": None,
        "toy (adapter)": adapters[0],
        "runs/toy": adapters[1],
    }
