"""What the measurements of tuning compare is the same work."""

from importlib.util import find_spec

import pytest

from helpers.bench.tuning import Work, compare_trl, count_flops, train_ours, train_with_trl
from helpers.jsonl import read_rows
from helpers.models.load import load_config, load_model, load_tokenizer
from helpers.prompts import PAPERS_FORMAT
from helpers.records import Instruction
from helpers.tuning.lengths import count_tokens
from helpers.tuning.lora import attach_adapter
from helpers.tuning.memory import measure_model
from helpers.tuning.rows import batch_indices
from helpers.tuning.schedule import learning_rate_at
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import draw_rows


@pytest.fixture
def work(toy_model, instruction_file):
    settings = TuningSettings(model=toy_model, n_rows=24, lora_rank=4, learning_rate=1e-2)
    rows = read_rows(instruction_file, Instruction)
    lengths = count_tokens(load_tokenizer(toy_model), rows, PAPERS_FORMAT)
    _, encoded, _ = draw_rows(settings, rows, lengths)
    order = batch_indices(len(encoded), 8, 1, 0)
    return Work(
        settings,
        [[encoded[index] for index in batch] for batch in order],
        [learning_rate_at(step, 3, 1e-2) for step in range(3)],
    )


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("trl"), reason="TRL is not installed (`pip install --editable '.[bench]'`)")
def test_our_loss_curve_is_that_of_trls_trainer(work):
    _, ours = train_ours(work)
    _, theirs = train_with_trl(work)
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert ours[0] - ours[-1] > 0.5


def test_without_trl_its_measurement_is_skipped_with_a_reason(monkeypatch, caplog):
    monkeypatch.setattr("helpers.bench.tuning.find_spec", lambda name: None)
    assert list(compare_trl()) == []
    assert "TRL is not installed" in caplog.text


def test_operations_are_counted_from_the_weights(work):
    model = attach_adapter(load_model(work.settings.model), work.settings)
    frozen = sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if ".layers." in name and "lora_" not in name
    )
    learnt = sum(weight.numel() for name, weight in model.named_parameters() if "lora_" in name)
    vocabulary = model.get_output_embeddings().weight.numel()
    size = measure_model(load_config(work.settings.model), work.settings)
    assert count_flops(size, 50, 8) == 50 * (4 * frozen + 6 * learnt) + 8 * 4 * vocabulary
