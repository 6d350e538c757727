"""Several adapters on one loaded base give what each gives alone; base models of every kind get one
begin-of-text token.
"""

import shutil

import pytest
import torch

from helpers.errors import StudyError
from helpers.evaluation import merging
from helpers.evaluation.merging import SharedBase, find_adapter
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import ITEMS, evaluate, evaluate_adapters
from helpers.models.adapters import identify_adapter
from helpers.models.load import load_model, load_tokenizer, quiet_peft
from helpers.prompts import encode_prompt
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import ADAPTER, tune


@pytest.fixture
def adapters(toy_model, instruction_file):
    """Tune two adapters on the toy model; return their folders."""
    settings = TuningSettings(model=toy_model, n_rows=4, batch_size=2, learning_rate=3e-2)
    return [
        tune(TuningSettings(**{**vars(settings), "categories": name}), instruction_file).file(ADAPTER)
        for name in ("qa", "gen")
    ]


@pytest.fixture
def settings(toy_model):
    return EvaluationSettings(
        model=toy_model, n_items=4, tasks="exam_choice,pronoun_resolution,dialogue_to_note"
    )


def weights(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def test_without_room_for_a_copy_the_base_is_loaded_again(toy_model, adapters, monkeypatch):
    base, ids = SharedBase(toy_model), torch.tensor([[0, 9, 8, 7]])
    untouched, model = base.merge(None)(ids).logits, base.merge(None)
    monkeypatch.setattr(merging, "measure_main_memory", lambda: 1)
    assert not torch.equal(base.merge(adapters[0])(ids).logits, untouched)
    assert not base._kept
    assert torch.equal(base.merge(None)(ids).logits, untouched)
    assert base.merge(None) is not model


@pytest.mark.parametrize(("room", "kept"), [(1.5, False), (2.5, True)])
def test_a_copy_needs_room_for_itself_and_for_the_weights_that_merging_writes(
    toy_model, adapters, monkeypatch, room, kept
):
    # weights that are mapped from their file count as free memory until they are written
    first, second = SharedBase(toy_model), SharedBase(toy_model)
    first.merge(adapters[0])
    n_bytes = sum(copy.nbytes for copy in first._kept.values())
    monkeypatch.setattr(merging, "measure_main_memory", lambda: room * n_bytes)
    second.merge(adapters[0])
    assert bool(second._kept) is kept


def test_a_base_that_left_its_gpu_is_loaded_again_when_it_is_needed(toy_model, adapters, monkeypatch):
    base, ids = SharedBase(toy_model), torch.tensor([[0, 9, 8, 7]])
    tuned, model = base.merge(adapters[0])(ids).logits, base.merge(adapters[0])
    base.leave_gpu()
    assert base.merge(adapters[0]) is model  # on a CPU it stays
    monkeypatch.setattr(merging, "has_gpu", lambda: True)
    base.leave_gpu()
    assert (base._kept, "_model" in vars(base)) == ({}, False)
    assert base.merge(adapters[0]) is not model
    assert torch.equal(base.merge(adapters[0])(ids).logits, tuned)


@pytest.mark.parametrize("next_one", [None, 0])
def test_a_base_that_was_interrupted_while_it_was_put_back_is_put_right(
    toy_model, adapters, monkeypatch, next_one
):
    base, ids = SharedBase(toy_model), torch.tensor([[0, 9, 8, 7]])
    wanted = None if next_one is None else adapters[next_one]
    expected = base.merge(wanted)(ids).logits
    base.merge(adapters[0])
    *_, last = base._kept
    with monkeypatch.context() as patch:
        own = torch.Tensor.copy_

        def interrupt(weight, kept):
            if weight.data_ptr() == last.data_ptr():
                raise KeyboardInterrupt
            return own(weight, kept)

        patch.setattr(torch.Tensor, "copy_", interrupt)
        with pytest.raises(KeyboardInterrupt):
            base.merge(adapters[1])
    assert torch.equal(base.merge(wanted)(ids).logits, expected)


def test_a_model_that_is_saved_anew_is_loaded_anew(toy_model, tmp_path):
    folder = shutil.copytree(toy_model, tmp_path / "model")
    base, ids = SharedBase(str(folder)), torch.tensor([[0, 9, 8, 7]])
    before = base.merge(None)(ids).logits
    other = load_model(str(folder))
    with torch.no_grad():
        other.model.norm.weight.mul_(2)
    other.save_pretrained(folder)
    assert not torch.equal(base.merge(None)(ids).logits, before)


def test_an_adapter_that_is_saved_anew_is_merged_anew(toy_model, adapters, tmp_path):
    base, ids = SharedBase(toy_model), torch.tensor([[0, 9, 8, 7]])
    folder = shutil.copytree(adapters[0], tmp_path / "adapter")
    first = base.merge(folder)(ids).logits
    assert torch.equal(base.merge(adapters[0])(ids).logits, first)
    shutil.copytree(adapters[1], folder, dirs_exist_ok=True)
    second = base.merge(folder)(ids).logits
    assert not torch.equal(second, first)
    assert torch.equal(SharedBase(toy_model).merge(adapters[1])(ids).logits, second)


def test_weights_are_kept_once_for_all_adapters(toy_model, adapters, monkeypatch):
    base = SharedBase(toy_model)
    base.merge(adapters[0])
    model, kept = base.merge(None), dict(base._kept)
    monkeypatch.setattr(merging, "measure_main_memory", lambda: 1)  # no room for another copy
    base.merge(adapters[1])
    assert base.merge(None) is model
    assert all(base._kept[weight] is copy for weight, copy in kept.items())
    assert len(base._kept) == len(kept) == 14


@pytest.mark.parametrize("keeps_weights", [True, False])
def test_an_adapter_is_merged_as_peft_merges_it_and_leaves_no_trace(toy_model, adapters, keeps_weights):
    from peft import PeftModel

    base = SharedBase(toy_model, keeps_weights=keeps_weights)
    before, ids = weights(base.merge(None)), torch.tensor([[0, 9, 8, 7]])
    for adapter in adapters:
        with quiet_peft():
            merged = PeftModel.from_pretrained(load_model(toy_model), adapter).merge_and_unload()
        assert torch.equal(base.merge(adapter)(ids).logits, merged(ids).logits)
    after = weights(base.merge(None))
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_an_adapter_that_replaces_whole_layers_is_merged_and_undone_too(toy_model, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    config = LoraConfig(
        r=2,
        target_modules=["q_proj"],
        modules_to_save=["lm_head"],
        bias="lora_only",
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    with torch.no_grad(), quiet_peft():
        tuned = get_peft_model(load_model(toy_model), config)
        tuned.base_model.model.lm_head.modules_to_save.default.weight.mul_(2)
    tuned.save_pretrained(tmp_path)
    base, ids = SharedBase(toy_model), torch.tensor([[0, 9, 8, 7]])
    before = weights(base.merge(None))
    with quiet_peft():
        plain = PeftModel.from_pretrained(load_model(toy_model), tmp_path)(ids).logits
    assert torch.allclose(base.merge(tmp_path)(ids).logits, plain, atol=1e-5)
    assert not torch.allclose(base.merge(None)(ids).logits, plain, atol=1e-1)
    after = weights(base.merge(None))
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_adapters_on_one_base_score_as_each_alone_and_the_base_is_loaded_once(
    settings, adapters, monkeypatch, tmp_path
):
    alone = [evaluate(settings, adapter).file(ITEMS).read_bytes() for adapter in (None, *adapters)]
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "together"))
    loaded = []
    monkeypatch.setattr(
        merging, "load_model", lambda name, **options: loaded.append(name) or load_model(name, **options)
    )
    runs = evaluate_adapters(settings, {"base": None, "qa": adapters[0], "gen": adapters[1]})
    assert [run.file(ITEMS).read_bytes() for run in runs.values()] == alone
    assert loaded == [settings.model]
    assert len(set(alone)) > 1


def test_stored_answers_need_no_model(settings, adapters, monkeypatch):
    first = evaluate_adapters(settings, {"base": None, "qa": adapters[0]})
    monkeypatch.setattr(merging, "load_model", lambda name, **options: pytest.fail("the model was loaded"))
    assert all(run.reused for run in evaluate_adapters(settings, {"base": None, "qa": adapters[0]}).values())
    assert not any(run.reused for run in first.values())


def test_an_adapter_is_known_by_its_content_wherever_it_lies(adapters, tmp_path):
    copy = shutil.copytree(adapters[0], tmp_path / "copy")
    assert identify_adapter(copy) == identify_adapter(adapters[0]) != identify_adapter(adapters[1])


def test_a_folder_without_an_adapter_and_one_for_another_model_are_refused(toy_model, adapters, tmp_path):
    with pytest.raises(StudyError, match=r"lacks adapter_config.json. Save it with `save_pretrained`"):
        find_adapter(tmp_path)
    from transformers import LlamaConfig, LlamaForCausalLM

    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=400, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
        )
    ).save_pretrained(tmp_path)
    shutil.copytree(
        toy_model, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "config.json")
    )
    with pytest.raises(StudyError, match=r"does not fit .* Name the model it was tuned on"):
        SharedBase(str(tmp_path)).merge(adapters[0])


@pytest.mark.parametrize("template", ["<s> $A", "<s> $A </s>", "$A"])
def test_prompts_begin_with_one_begin_of_text_where_the_tokenizer_adds_one(toy_model, template):
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(toy_model)
    tokens = [(token, index) for token, index in (("<s>", 0), ("</s>", 1)) if token in template]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=tokens)
    ids = encode_prompt(tokenizer, "### Response:\n")
    assert ids.count(0) == template.count("<s>")
    assert ids[0] == 0 or "<s>" not in template
    assert 1 not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "### Response:\n"
