"""The loss of the right answer equals plain `transformers`, one item at a time; what cannot be measured is
refused by name.
"""

import math

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from helpers.cli import app
from helpers.errors import StudyError
from helpers.evaluation import answer_loss
from helpers.evaluation.answer_loss import (
    encode_answers,
    measure_answer_loss,
    measure_losses,
    read_answer_losses,
)
from helpers.evaluation.prepared_tasks import prepare_tasks
from helpers.evaluation.settings import EvaluationSettings
from helpers.models.load import load_model, load_tokenizer
from helpers.prompts import build_prompt, encode_prompt

TASKS = "exam_choice,evidence_yesno,medication_status,patient_answer"


@pytest.fixture(scope="module")
def model(toy_model):
    return load_model(toy_model)


@pytest.fixture(scope="module")
def tokenizer(toy_model):
    return load_tokenizer(toy_model)


def score_plainly(model, prompt, answer):
    """Return the log-likelihood of each token of an answer, from the model's own forward."""
    with torch.inference_mode():
        logits = torch.log_softmax(model(torch.tensor([prompt + answer])).logits[0].float(), dim=-1)
    return [logits[len(prompt) - 1 + place, token].item() for place, token in enumerate(answer)]


def test_losses_equal_plain_transformers_one_item_at_a_time(toy_model, model, tokenizer):
    settings = EvaluationSettings(model=toy_model, tasks=TASKS)
    table = read_answer_losses(measure_answer_loss(settings, 3)).set_index(["task", "item"])
    for prepared in prepare_tasks(EvaluationSettings(tasks=TASKS, n_items=3)):
        for item in prepared.items:
            row = table.loc[(prepared.task.name, item.id)]
            prompt = encode_prompt(tokenizer, prepared.build_prompts(item)[0].text)
            answers = encode_answers(tokenizer, prepared, item)
            right = score_plainly(model, prompt, answers[item.answer if prepared.task.is_choice else 0])
            assert row["text"] == pytest.approx(-sum(right[:-1]), abs=1e-4 * len(right))
            assert row["end"] == pytest.approx(-right[-1], abs=1e-4)
            assert row["n_text_tokens"] == len(right) - 1
            assert row["n_text_bytes"] == len(prepared.task.write_reference(item).encode())


def test_the_choice_is_the_right_options_share_and_calibration_takes_the_prior_off(
    toy_model, model, tokenizer
):
    settings = EvaluationSettings(model=toy_model, tasks="exam_choice")
    table = read_answer_losses(measure_answer_loss(settings, 2)).set_index("item")
    (prepared,) = prepare_tasks(EvaluationSettings(tasks="exam_choice", n_items=2))
    empty = encode_prompt(tokenizer, build_prompt(prepared.task.instruction))
    for item in prepared.items:
        prompt, answers = (
            encode_prompt(tokenizer, prepared.build_prompts(item)[0].text),
            encode_answers(tokenizer, prepared, item),
        )
        means = [
            [sum(score_plainly(model, start, answer)[:-1]) / (len(answer) - 1) for answer in answers]
            for start in (prompt, empty)
        ]
        freed = [mean - prior for mean, prior in zip(*means, strict=True)]
        for name, values in (("choice", means[0]), ("calibrated", freed)):
            share = math.exp(values[item.answer]) / sum(map(math.exp, values))
            assert table.loc[item.id, name] == pytest.approx(-math.log(share), abs=1e-4)


def test_tasks_without_options_have_no_choice(toy_model):
    table = read_answer_losses(
        measure_answer_loss(EvaluationSettings(model=toy_model, tasks="patient_answer"), 2)
    )
    assert table[["choice", "calibrated"]].isna().all(axis=None)


def test_losses_do_not_depend_on_the_batch(toy_model, model, tokenizer, monkeypatch):
    (prepared,) = prepare_tasks(EvaluationSettings(tasks="exam_choice", n_items=5))
    whole = measure_losses(model, tokenizer, prepared)
    monkeypatch.setattr("helpers.evaluation.answer_loss.BATCH_SIZE", 1)
    for one, other in zip(measure_losses(model, tokenizer, prepared), whole, strict=True):
        assert one["text"] == pytest.approx(other["text"], abs=1e-4)
        assert one["choice"] == pytest.approx(other["choice"], abs=1e-4)


def test_an_option_that_begins_another_is_told_from_it(model, tokenizer):
    (prepared,) = prepare_tasks(EvaluationSettings(tasks="evidence_yesno", n_items=2))
    item = prepared.items[0].model_copy(update={"options": ["yes", "yes maybe"], "answer": 1})
    (row,) = measure_losses(model, tokenizer, type(prepared)(prepared.task, [item], None, False, False))
    prompt = encode_prompt(tokenizer, prepared.build_prompts(item)[0].text)
    plain = score_plainly(model, prompt, encode_answers(tokenizer, prepared, item)[1])
    assert row["text"] == pytest.approx(-sum(plain[:-1]), abs=1e-4)


def test_a_tokenizer_without_end_of_text_and_an_empty_reference_are_refused(tokenizer, toy_model):
    (prepared,) = prepare_tasks(EvaluationSettings(tasks="patient_answer", n_items=2))
    empty = prepared.items[0].model_copy(update={"references": [" "]})
    with pytest.raises(StudyError, match=f"patient_answer, item {empty.id}"):
        encode_answers(tokenizer, prepared, empty)
    endless = load_tokenizer(toy_model)
    endless.eos_token = None
    with pytest.raises(StudyError, match="end-of-text"):
        encode_answers(endless, prepared, prepared.items[0])


def test_a_loss_that_is_no_number_is_refused_with_task_and_item(toy_model, tokenizer, monkeypatch):
    model = load_model(toy_model)
    monkeypatch.setattr(answer_loss, "score_tokens", lambda model, asked, *_: [[[math.nan]] * 2] * len(asked))
    (prepared,) = prepare_tasks(EvaluationSettings(tasks="evidence_yesno", n_items=2))
    with pytest.raises(StudyError, match=r"finite number, but nan was found \(evidence_yesno, item"):
        measure_losses(model, tokenizer, prepared)


def test_the_command_line_shows_losses_alone_and_writes_them(toy_model, tmp_path):
    arguments = ["evaluate", "--model", toy_model, "--tasks", "evidence_yesno,patient_answer"]
    arguments += ["--n-items", "3", "--no-answers", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "losses.csv").set_index("task")
    settings = EvaluationSettings(model=toy_model, tasks="evidence_yesno,patient_answer")
    items = read_answer_losses(measure_answer_loss(settings, 3))
    first = items[items["task"] == "evidence_yesno"]
    assert table.loc["evidence_yesno", "end"] == pytest.approx(first["end"].mean(), abs=1e-4)
    bits = (first["text"] / first["n_text_bytes"]).mean() / math.log(2)
    assert table.loc["evidence_yesno", "bits_per_byte"] == pytest.approx(bits, abs=1e-4)
    assert table.loc["patient_answer", "n"] == 3
    assert not (tmp_path / "scores.csv").exists()
