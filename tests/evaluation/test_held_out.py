"""The loss on held-out rows equals that of the model's own loss function, row by row."""

import pandas as pd
import pytest
import torch

from helpers.evaluation.held_out import LOSSES, measure_held_out
from helpers.evaluation.stage import EvaluationSettings
from helpers.jsonl import read_rows
from helpers.models.load import load_model, load_tokenizer
from helpers.records import Instruction
from helpers.tuning.rows import collate, encode_row


def test_the_loss_is_the_models_own_on_each_row(toy_model, instruction_file):
    run = measure_held_out(EvaluationSettings(model=toy_model, n_items=7), None, instruction_file, 512)
    table = pd.read_csv(run.file(LOSSES))
    model, tokenizer = load_model(toy_model), load_tokenizer(toy_model)
    rows = sorted(read_rows(instruction_file, Instruction), key=lambda row: row.id)[:7]
    assert table["id"].tolist() == [row.id for row in rows]
    for row, (_, found) in zip(rows, table.iterrows(), strict=True):
        with torch.inference_mode():
            loss = model(**collate([encode_row(tokenizer, row)])).loss.item()
        assert found["nats"] / found["tokens"] == pytest.approx(loss, abs=1e-3)


def test_rows_that_are_too_long_are_left_out(toy_model, instruction_file):
    lengths = sorted(
        len(encode_row(load_tokenizer(toy_model), row).input_ids)
        for row in read_rows(instruction_file, Instruction)
    )
    run = measure_held_out(
        EvaluationSettings(model=toy_model, n_items=100), None, instruction_file, lengths[10]
    )
    assert run.manifest["facts"]["n_rows"] == sum(length <= lengths[10] for length in lengths)
