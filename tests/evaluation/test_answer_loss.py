"""The loss of the right answer equals plain `transformers`, one item at a time; what cannot be measured is
refused by name.
"""

import math

import pytest
import torch

from helpers.errors import StudyError
from helpers.evaluation.answer_loss import encode_answers, list_losses, measure_answer_loss, read_losses
from helpers.evaluation.stage import EvaluationSettings, prepare_exams
from helpers.models import load_model, load_tokenizer
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
    table = read_losses(measure_answer_loss(settings, 3)).set_index(["task", "item"])
    for exam in prepare_exams(EvaluationSettings(tasks=TASKS, n_items=3)):
        for item in exam.items:
            row = table.loc[(exam.task.name, item.id)]
            prompt = encode_prompt(tokenizer, exam.build_prompts(item)[0])
            answers = encode_answers(tokenizer, exam, item)
            right = score_plainly(model, prompt, answers[item.answer if exam.task.is_choice else 0])
            assert row["words"] == pytest.approx(-sum(right[:-1]), abs=1e-4 * len(right))
            assert row["stop"] == pytest.approx(-right[-1], abs=1e-4)
            assert row["tokens"] == len(right) - 1
            assert row["bytes"] == len(exam.task.answer(item).encode())


def test_the_choice_is_the_right_options_share_and_calibration_takes_the_prior_off(
    toy_model, model, tokenizer
):
    settings = EvaluationSettings(model=toy_model, tasks="exam_choice")
    table = read_losses(measure_answer_loss(settings, 2)).set_index("item")
    (exam,) = prepare_exams(EvaluationSettings(tasks="exam_choice", n_items=2))
    empty = encode_prompt(tokenizer, build_prompt(exam.task.instruction))
    for item in exam.items:
        prompt, answers = (
            encode_prompt(tokenizer, exam.build_prompts(item)[0]),
            encode_answers(tokenizer, exam, item),
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
    table = read_losses(measure_answer_loss(EvaluationSettings(model=toy_model, tasks="patient_answer"), 2))
    assert table[["choice", "calibrated"]].isna().all(axis=None)


def test_losses_do_not_depend_on_the_batch(toy_model, model, tokenizer, monkeypatch):
    (exam,) = prepare_exams(EvaluationSettings(tasks="exam_choice", n_items=5))
    whole = list_losses(model, tokenizer, exam)
    monkeypatch.setattr("helpers.evaluation.answer_loss.BATCH_SIZE", 1)
    for one, other in zip(list_losses(model, tokenizer, exam), whole, strict=True):
        assert one["words"] == pytest.approx(other["words"], abs=1e-4)
        assert one["choice"] == pytest.approx(other["choice"], abs=1e-4)


def test_an_option_that_begins_another_is_told_from_it(model, tokenizer):
    (exam,) = prepare_exams(EvaluationSettings(tasks="evidence_yesno", n_items=2))
    item = exam.items[0].model_copy(update={"options": ["yes", "yes maybe"], "answer": 1})
    (row,) = list_losses(model, tokenizer, type(exam)(exam.task, [item], None, False, False))
    prompt = encode_prompt(tokenizer, exam.build_prompts(item)[0])
    plain = score_plainly(model, prompt, encode_answers(tokenizer, exam, item)[1])
    assert row["words"] == pytest.approx(-sum(plain[:-1]), abs=1e-4)


def test_a_tokenizer_without_end_of_text_and_an_empty_reference_are_refused(tokenizer, toy_model):
    (exam,) = prepare_exams(EvaluationSettings(tasks="patient_answer", n_items=2))
    empty = exam.items[0].model_copy(update={"references": [" "]})
    with pytest.raises(StudyError, match=f"patient_answer, item {empty.id}"):
        encode_answers(tokenizer, exam, empty)
    endless = load_tokenizer(toy_model)
    endless.eos_token = None
    with pytest.raises(StudyError, match="end-of-text"):
        encode_answers(endless, exam, exam.items[0])


def test_a_loss_that_is_no_number_is_refused_with_task_and_item(toy_model, tokenizer):
    model = load_model(toy_model)
    torch.nn.init.constant_(model.get_output_embeddings().weight, float("nan"))
    (exam,) = prepare_exams(EvaluationSettings(tasks="evidence_yesno", n_items=2))
    with pytest.raises(StudyError, match=r"finite number, but nan was found \(evidence_yesno, item"):
        list_losses(model, tokenizer, exam)
