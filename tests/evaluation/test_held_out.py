"""The loss on held-out rows equals that of the model's own loss function, row by row, split into response and
end of text.
"""

import json
import math
import shutil

import pandas as pd
import pytest
import torch

from helpers.errors import StudyError
from helpers.evaluation import held_out
from helpers.evaluation.held_out import draw_held_out, measure_held_out, read_held_out
from helpers.evaluation.settings import EvaluationSettings
from helpers.jsonl import read_rows
from helpers.models.load import load_model, load_tokenizer
from helpers.records import CATEGORIES, Instruction
from helpers.tuning.rows import collate, encode_row


def test_the_loss_is_the_models_own_on_each_row(toy_model, instruction_file):
    run = measure_held_out(EvaluationSettings(model=toy_model), 3, None, instruction_file, CATEGORIES, 512)
    table = read_held_out(run)
    model, tokenizer = load_model(toy_model), load_tokenizer(toy_model)
    rows = {row.id: row for row in read_rows(instruction_file, Instruction)}
    assert table["task"].value_counts().to_dict() == {
        f"held_out_{c}": 3 for c in ("gen", "ie", "other", "qa")
    }
    for found in table.itertuples():
        row = rows[found.item]
        assert found.category == row.category
        batch = collate([encode_row(tokenizer, row)])
        with torch.inference_mode():
            output = model(**batch)
        loss = torch.log_softmax(output.logits[0, -2].float(), dim=-1)[tokenizer.eos_token_id]
        assert (found.text + found.end) / (found.n_text_tokens + 1) == pytest.approx(
            output.loss.item(), abs=1e-4
        )
        assert found.end == pytest.approx(-loss.item(), abs=1e-4)


def test_a_smaller_draw_is_part_of_a_larger_one_and_long_rows_are_left_out(toy_model, instruction_file):
    rows, tokenizer = read_rows(instruction_file, Instruction), load_tokenizer(toy_model)
    small = {row.id for row, _ in draw_held_out(rows, 2, tokenizer, 512)}
    large = {row.id for row, _ in draw_held_out(rows[::-1], 5, tokenizer, 512)}
    assert len(small) == 8
    assert small < large
    lengths = sorted(len(encode_row(tokenizer, row).input_ids) for row in rows)
    drawn = draw_held_out(rows, 100, tokenizer, lengths[10])
    assert len(drawn) == sum(length <= lengths[10] for length in lengths)


def test_a_loss_that_is_no_number_is_refused_by_the_rows_name(toy_model, instruction_file, monkeypatch):
    monkeypatch.setattr(
        held_out, "measure_text_and_end", lambda model, rows, _: [(math.nan, 0.0)] * len(rows)
    )
    settings = EvaluationSettings(model=toy_model)
    with pytest.raises(StudyError, match="held-out row"):
        measure_held_out(settings, 2, None, instruction_file, CATEGORIES, 512)


def test_rows_beyond_the_models_positions_are_left_out(toy_model, instruction_file, tmp_path):
    shutil.copytree(toy_model, tmp_path / "short")
    config = json.loads((tmp_path / "short" / "config.json").read_text())
    rows, tokenizer = read_rows(instruction_file, Instruction), load_tokenizer(toy_model)
    lengths = sorted(len(encode_row(tokenizer, row).input_ids) for row in rows)
    config["max_position_embeddings"] = lengths[10]
    (tmp_path / "short" / "config.json").write_text(json.dumps(config))
    settings = EvaluationSettings(model=str(tmp_path / "short"))
    run = measure_held_out(settings, 100, None, instruction_file, CATEGORIES, 512)
    assert len(read_held_out(run)) == sum(length <= lengths[10] for length in lengths) < len(rows)


def test_rows_of_other_categories_are_left_aside(toy_model, instruction_file):
    settings = EvaluationSettings(model=toy_model)
    whole = read_held_out(measure_held_out(settings, 3, None, instruction_file, CATEGORIES, 512))
    run = measure_held_out(settings, 3, None, instruction_file, ("qa", "ie"), 512)
    assert run.manifest["facts"]["n_rows"] == 6
    of_two = whole[whole["category"].isin(["qa", "ie"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(read_held_out(run), of_two, atol=1e-4)
