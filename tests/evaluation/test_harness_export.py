"""lm-evaluation-harness makes the same choice on every item of the embedded choice tasks."""

import importlib.util

import pytest

from helpers.errors import StudyError
from helpers.evaluation.answer_loss import measure_answer_loss, read_answer_losses
from helpers.evaluation.harness_export import export_harness
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import evaluate, read_items
from helpers.jsonl import read_json_lines

CHOICE_TASKS = "exam_choice,broad_choice,abstract_yesnomaybe,evidence_yesno,sentence_inference"


def load_choose(folder):
    spec = importlib.util.spec_from_file_location("choose", folder / "choose.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_harness(model, folder, names):
    """Return the harness's samples of each task."""
    lm_eval = pytest.importorskip(
        "lm_eval", reason="lm-evaluation-harness is not installed (`pip install lm-eval==0.4.13`)"
    )
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return lm_eval.simple_evaluate(
        HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=8),
        tasks=names,
        task_manager=manager,
        bootstrap_iters=0,
    )["samples"]


def ask_harness(model, folder, names):
    """Return the harness's choice for every item of each task."""
    samples, choose = run_harness(model, folder, names), load_choose(folder).choose
    choices = {}
    for name in names:
        for sample in samples[name]:
            pairs = [pair for (pair,) in sample["resps"]]
            chosen = (
                choose(sample["doc"], pairs)
                if name.endswith("text")
                else max(range(len(pairs)), key=lambda index: pairs[index][0])
            )
            assert sample["acc"] == float(chosen == sample["doc"]["answer"])
            choices[name, sample["doc"]["id"]] = chosen
    return choices


def choose_ourselves(model, way, folder):
    items = read_items(
        {
            "ours": evaluate(
                EvaluationSettings(model=model, tasks=CHOICE_TASKS, n_items=1000, choice_scoring=way)
            )
        }
    )
    docs = {
        (name := f"study_{task}_{way}"): {doc["id"]: doc for doc in read_json_lines(folder / f"{name}.jsonl")}
        for task in items["task"].unique()
    }
    return {
        (name := f"study_{row.task}_{way}", row.item): "ABCDEFG".index(row.letters)
        if way == "letter"
        else docs[name][row.item]["choices"].index(f"\n{row.response}")
        for row in items.itertuples()
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", ["text", "letter"])
def test_the_harness_makes_the_same_choice_on_every_item(toy_model, tmp_path, way):
    names = [name for name in export_harness(tmp_path, toy_model) if name.endswith(way)]
    assert len(names) == 5
    theirs = ask_harness(toy_model, tmp_path, names)
    assert len(theirs) > 200
    assert choose_ourselves(toy_model, way, tmp_path) == theirs


@pytest.mark.slow
def test_the_harness_gives_the_right_answer_the_same_log_likelihood(toy_model, tmp_path):
    export_harness(tmp_path, toy_model, "evidence_yesno,exam_choice")
    settings = EvaluationSettings(model=toy_model, tasks="evidence_yesno,exam_choice")
    ours = read_answer_losses(measure_answer_loss(settings, 1000)).set_index("item")["text"]
    samples = run_harness(toy_model, tmp_path, ["study_evidence_yesno_text", "study_exam_choice_text"])
    docs = [
        (sample["doc"], [pair[0] for (pair,) in sample["resps"]])
        for found in samples.values()
        for sample in found
    ]
    assert len(docs) == len(ours) > 50
    for doc, (*log_likelihoods, line_feed) in docs:
        assert ours[doc["id"]] == pytest.approx(line_feed - log_likelihoods[doc["answer"]], abs=1e-3)


def test_the_scoring_that_is_exported_takes_the_line_feed_off_and_divides_by_tokens(toy_model, tmp_path):
    export_harness(tmp_path, toy_model, "evidence_yesno")
    doc = {"n_tokens": [1, 4], "answer": 1}
    results = [(-5.0, False), (-10.0, False), (-2.0, False)]  # (-5 + 2) / 1 = -3; (-10 + 2) / 4 = -2
    assert load_choose(tmp_path).score(doc, results) == {"acc": 1.0}


def test_tasks_without_options_cannot_be_exported(toy_model, tmp_path):
    with pytest.raises(StudyError, match="at least one choice task, but 'patient_answer' was found"):
        export_harness(tmp_path, toy_model, "patient_answer")
