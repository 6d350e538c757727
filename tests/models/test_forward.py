"""Choices, texts and losses are those of each model's own `forward`, or the model is refused by name."""

import csv
import warnings

import pytest
import torch
from architectures import make_model
from transformers import LlamaConfig, Phi3Config

from helpers.errors import StudyError
from helpers.evaluation.choice import score_options
from helpers.evaluation.generation import generate_greedily
from helpers.jsonl import read_rows
from helpers.models import forward
from helpers.models.forward import check_lengths, count_positions, list_windows
from helpers.models.load import load_tokenizer
from helpers.records import Instruction
from helpers.tuning.rows import EncodedRow, collate, encode_row
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import tune
from helpers.tuning.step import predict_responses

PROMPTS = [
    [2, 9, 8, 7, 5, 30, 31, 22, 23],
    [2, 9, 8, 7, 5, 6, 44, 33],
    [2, 9, 8, 7, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49],
]
OPTIONS = [[[10], [11, 12, 13]], [[14, 15], [16], [17, 18]], [[10], [19]]]
NAMED = (
    *("llama", "gemma2", "granite", "cohere", "mistral", "phi3", "starcoder2", "gpt_neo", "mpt", "bloom"),
    *("falcon", "mamba", "gpt2", "opt", "qwen3", "mixtral", "openai-gpt"),
)


def read_plainly(model, ids):
    options = {"use_cache": False} if "rwkv" not in type(model).__name__.lower() else {}
    with torch.inference_mode():
        return torch.log_softmax(model(input_ids=torch.tensor([ids]), **options).logits[0].float(), dim=-1)


def score_plainly(model, prompt, option):
    log_likelihoods = read_plainly(model, prompt + option)
    places = range(len(prompt) - 1, len(prompt + option) - 1)
    return log_likelihoods[places, option].mean().item()


def write_plainly(model, prompt, n):
    tokens = []
    while len(tokens) < n:
        tokens.append(read_plainly(model, prompt + tokens)[-1].argmax().item())
        if tokens[-1] == 1:
            return tokens[:-1]
    return tokens


def compare(model):
    """Assert that choices, texts and losses of a model are its own."""
    items = list(zip(PROMPTS, OPTIONS, strict=True))
    for (prompt, options), found in zip(items, score_options(model, items, 2), strict=True):
        assert found == pytest.approx([score_plainly(model, prompt, option) for option in options], abs=1e-4)
    assert generate_greedily(model, PROMPTS, 4, [1], 2) == [write_plainly(model, ids, 4) for ids in PROMPTS]
    rows = [EncodedRow(ids, n_prompt=4) for ids in PROMPTS]
    with torch.no_grad():
        logits, _ = predict_responses(model, collate(rows))
    own = torch.cat([read_plainly(model, row.input_ids)[3:-1] for row in rows])
    assert torch.allclose(torch.log_softmax(logits, dim=-1), own, atol=1e-4)


@pytest.mark.parametrize("name", NAMED)
def test_every_number_is_the_one_of_the_models_own_forward(name):
    compare(make_model(name))


@pytest.mark.parametrize("name", ["granite", "bloom"])
def test_tuning_logs_the_loss_that_the_model_has_by_its_own_forward(
    name, toy_model, instruction_file, tmp_path
):
    model = make_model(name, vocab_size=400)
    model.save_pretrained(tmp_path / name)
    load_tokenizer(toy_model).save_pretrained(tmp_path / name)
    run = tune(TuningSettings(model=str(tmp_path / name), n_rows=4, batch_size=4), instruction_file)
    tuned_on = {row["id"] for row in csv.DictReader(run.file("rows.csv").open())}
    rows = [row for row in read_rows(instruction_file, Instruction) if row.id in tuned_on]
    log_likelihoods = []
    for row in (encode_row(load_tokenizer(toy_model), row) for row in rows):
        places = range(row.n_prompt - 1, len(row.input_ids) - 1)
        log_likelihoods += read_plainly(model, row.input_ids)[places, row.input_ids[row.n_prompt :]].tolist()
    [entry] = csv.DictReader(run.file("log.csv").open())
    assert float(entry["loss"]) == pytest.approx(-sum(log_likelihoods) / len(log_likelihoods), abs=1e-4)


@pytest.mark.slow  # every architecture that transformers ships and that can be made small: a minute
@pytest.mark.filterwarnings("ignore")
def test_of_all_architectures_each_gives_its_own_numbers_or_is_refused():
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    equal, refused = [], []
    for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            model = make_model(name)
        except Exception:  # a configuration that asks for more than sizes
            model = None
        if model is not None:
            try:
                compare(model)
                equal.append(name)
            except StudyError:
                refused.append(name)
    assert len(equal) >= 110, f"{len(equal)} equal, {len(refused)} refused: {', '.join(refused)}"
    assert {"bert", "roberta", "electra"} <= set(refused)


def test_an_encoder_is_refused_since_it_looks_at_later_tokens():
    with pytest.raises(StudyError, match=r"BertLMHeadModel.* looks at later tokens"):
        score_options(make_model("bert"), [(PROMPTS[0], OPTIONS[0])], 1)


def test_a_model_that_needs_more_than_token_ids_is_refused_by_name():
    model = make_model("llama")

    def fail(**options):
        raise ValueError("You have to specify pixel_values")

    model.forward = fail
    with pytest.raises(StudyError, match=r"LlamaForCausalLM.* token ids alone: ValueError You have to"):
        score_options(model, [(PROMPTS[0], OPTIONS[0])], 1)


def test_a_way_that_rounding_does_not_explain_is_not_taken(monkeypatch):
    model = make_model("llama")
    monkeypatch.setattr(
        forward, "project_logits", lambda model, hidden: model.lm_head(hidden) + 0.01 * hidden.sum()
    )
    compare(model)


@pytest.mark.parametrize(("name", "way"), [("llama", "_read_heads"), ("granite", "_read_padded")])
def test_eight_bits_of_rounding_are_told_from_another_way_of_computing(name, way):
    model = make_model(name).to(torch.bfloat16)
    with torch.no_grad():
        assert forward._find_row_way(model, torch.tensor(PROMPTS[2])).__name__ == way


def test_windows_and_the_like_are_found_at_any_depth_of_a_configuration():
    settings = {"sliding_window": 6, "rope": {"original_max_position_embeddings": 9}, "hidden_size": 5}
    assert list(list_windows(settings | {"window_size": None, "use_window": True})) == [6, 9]


def test_weights_that_are_no_numbers_are_refused():
    model = make_model("llama")
    model.lm_head.weight.data[5] = float("nan")
    with pytest.raises(StudyError, match="not finite"), warnings.catch_warnings():
        score_options(model, [(PROMPTS[0], OPTIONS[0])], 1)


def test_a_text_that_would_change_the_rotary_factors_of_its_neighbours_is_too_long():
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    sizes |= {"max_position_embeddings": 128}
    rope = {"rope_theta": 10000.0, "original_max_position_embeddings": 16}
    by_length = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    config = Phi3Config(**sizes, original_max_position_embeddings=16, rope_parameters=rope | by_length)
    assert count_positions(config) == 16
    always = {"rope_type": "yarn", "factor": 8.0}
    assert count_positions(LlamaConfig(**sizes, rope_parameters=rope | always)) == 128


def test_a_sequence_longer_than_the_models_positions_is_refused_and_counted():
    config = make_model("gpt2").config
    assert count_positions(config) == 64
    check_lengths(config, [64, 3], "prompts")
    with pytest.raises(StudyError, match=r"2 of 3 prompts are longer than the model's 64 positions .* 70"):
        check_lengths(config, [65, 3, 70], "prompts")
