"""BLEURT with a checkpoint made in the test: two random layers, one output."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from helpers.cli import app
from helpers.errors import StudyError
from helpers.evaluation import stage
from helpers.evaluation.bleurt import check_scorer, load_scorer, measure_bleurt, score_pairs
from helpers.evaluation.prepared_tasks import prepare_tasks
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import evaluate
from helpers.jsonl import read_json_lines


def test_a_mark_is_the_models_one_number_for_reference_and_text_whatever_the_batch(checkpoint):
    pairs = [("a fever", "he has a fever"), ("", "cough"), ("knee " * 40, "the left knee is swollen")]
    model, tokenizer = load_scorer(checkpoint)
    with torch.inference_mode():
        plain = [
            model(
                **tokenizer([reference], [text], truncation=True, max_length=64, return_tensors="pt")
            ).logits.item()
            for text, reference in pairs
        ]
    assert score_pairs(checkpoint, pairs) == pytest.approx(plain, abs=1e-5)
    swapped = score_pairs(checkpoint, [(reference, text) for text, reference in pairs])
    assert swapped != pytest.approx(plain, abs=1e-3)  # reference and text cannot be exchanged


def test_generated_texts_are_measured_by_their_best_reference(toy_model, checkpoint, monkeypatch):
    settings = EvaluationSettings(model=toy_model, n_items=2, tasks="evidence_yesno,patient_answer")
    choice = {"loglikelihoods": [[0.0, -1.0]]}
    texts = ["rest and drink", "see a doctor\n### Input: more"]
    monkeypatch.setattr(
        stage,
        "answer_items",
        lambda *given: [choice if given[2].task.is_choice else {"response": text} for text in texts],
    )
    run = measure_bleurt(checkpoint, settings, evaluate(settings))
    first, second = prepare_tasks(settings)[1].items
    marks = [
        score_pairs(checkpoint, [(text, reference) for reference in item.references])
        for text, item in ((texts[0], first), ("see a doctor", second))
    ]
    assert [row["bleurt"] for row in read_json_lines(run.file("measured.jsonl"))] == pytest.approx(
        [max(each) for each in marks], abs=1e-5
    )
    assert measure_bleurt(checkpoint, settings, evaluate(settings)).reused


@pytest.mark.parametrize(("task", "has_texts"), [("patient_answer", True), ("evidence_yesno", False)])
def test_the_command_shows_the_measure_where_there_are_texts(toy_model, checkpoint, task, has_texts):
    done = CliRunner().invoke(
        app, ["evaluate", "--model", toy_model, "--tasks", task, "--n-items", "2", "--bleurt", checkpoint]
    )
    assert done.exit_code == 0, done.output
    assert ("bleurt" in done.output) == has_texts


def test_what_is_no_such_checkpoint_is_refused_before_anything_runs(toy_model, checkpoint, tmp_path, runs):
    refused = CliRunner().invoke(app, ["evaluate", "--model", toy_model, "--bleurt", toy_model])
    assert "must give one number" in refused.stderr
    assert not runs.exists()
    config = Path(checkpoint) / "config.json"
    config.write_text(config.read_text().replace('"model_type": "bert"', '"model_type": "bleurt"'))
    with pytest.raises(StudyError, match="could not be loaded.*does not recognize this architecture"):
        check_scorer(checkpoint)


def test_a_checkpoint_that_never_learnt_to_mark_is_refused(checkpoint, tmp_path):
    from transformers import BertForSequenceClassification

    BertForSequenceClassification.from_pretrained(checkpoint).bert.save_pretrained(tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config | {"id2label": {"0": "LABEL_0"}}))
    with pytest.raises(StudyError, match="lacks 2 weights"):
        load_scorer(str(tmp_path / "plain"))
