"""The tuning stage on a toy model: exact loss, exact resume."""

import csv
import dataclasses
import hashlib
import io
import json
import math
from importlib.util import find_spec
from itertools import combinations, pairwise

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from helpers.errors import StudyError
from helpers.jsonl import read_rows
from helpers.models.load import choose_device, load_model, load_tokenizer, quiet_peft
from helpers.progress import show_seconds
from helpers.records import Instruction
from helpers.store import plan_only
from helpers.tuning import lengths, loop, stage, step
from helpers.tuning.lora import attach_adapter, measure_held_shares, read_matrices
from helpers.tuning.rows import EncodedRow, collate, encode_row
from helpers.tuning.schedule import learning_rate_at
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import prepare_model, tune
from helpers.tuning.step import list_micro_batches, response_loss, split_batch, take_step


@pytest.fixture
def settings(toy_model):
    return TuningSettings(model=toy_model, n_rows=12, batch_size=4, epochs=2, lora_rank=2, learning_rate=1e-2)


@pytest.fixture
def encoded(toy_model, instruction_file):
    tokenizer = load_tokenizer(toy_model)
    return [encode_row(tokenizer, row) for row in read_rows(instruction_file, Instruction)[:8]]


def digest(run):
    return hashlib.sha256(run.file("adapter/adapter_model.safetensors").read_bytes()).hexdigest()


def gradients(model):
    return [weight.grad for name, weight in model.named_parameters() if "lora_B" in name]


def test_the_loss_is_the_one_that_transformers_computes_from_all_logits(settings, encoded):
    model = attach_adapter(load_model(settings.model), settings)
    batch = collate(encoded)
    n = sum(len(row.input_ids) - row.n_prompt for row in encoded)
    assert response_loss(model, batch).item() / n == pytest.approx(model(**batch).loss.item(), rel=1e-5)


def test_eight_at_a_time_give_the_gradients_of_one_at_a_time(settings, encoded, monkeypatch):
    found = []
    for n_tokens in (10_000, 1):
        monkeypatch.setattr(step, "MICRO_BATCH_TOKENS", {"cpu": n_tokens})
        model = attach_adapter(load_model(settings.model), settings)
        optimizer = torch.optim.SGD(model.parameters())
        monkeypatch.setattr(optimizer, "zero_grad", lambda: None)
        loss, _ = take_step(model, optimizer, encoded, 0.0)
        found.append((loss, gradients(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert all(
        torch.allclose(left, right, atol=1e-6) for left, right in zip(found[0][1], found[1][1], strict=True)
    )


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(
    settings, instruction_file, monkeypatch, tmp_path
):
    first, other = (
        digest(tune(settings, instruction_file)),
        digest(tune(dataclasses.replace(settings, training_seed=2), instruction_file)),
    )
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "again"))
    assert digest(tune(settings, instruction_file)) == first != other


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_killed_and_resumed_equals_never_killed(settings, instruction_file, monkeypatch, tmp_path, dropout):
    settings = dataclasses.replace(settings, lora_dropout=dropout)
    undisturbed = tune(settings, instruction_file)
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "killed"))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)
    taken = []

    def die_at_fourth(*args):
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(1)
        return take_step(*args)

    monkeypatch.setattr(loop, "take_step", die_at_fourth)
    with pytest.raises(KeyboardInterrupt):
        tune(settings, instruction_file)
    resumed_steps = []
    monkeypatch.setattr(loop, "take_step", lambda *args: resumed_steps.append(1) or take_step(*args))
    resumed = tune(settings, instruction_file)
    assert len(resumed_steps) == 6 - 3
    assert digest(resumed) == digest(undisturbed)
    assert resumed.file("log.csv").read_text() == undisturbed.file("log.csv").read_text()
    assert not list(resumed.path.glob(".checkpoint*"))


def cut(data):
    return data[: len(data) // 2]


def flip(data):
    return data[:-9] + bytes([data[-9] ^ 64]) + data[-8:]


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda data: b"", lambda data: b"\xff" * len(data), lambda data: b"{}"]
)
def test_a_damaged_checkpoint_is_named_and_the_tuning_begins_anew(
    settings, instruction_file, monkeypatch, tmp_path, damage, runs, caplog
):
    undisturbed = tune(settings, instruction_file)
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "killed"))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "CHECKPOINT_SECONDS", -1)
        patched.setattr(stage, "save_adapter", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        tune(settings, instruction_file)
    [checkpoint] = (tmp_path / "killed").glob("tuning/*/.checkpoint.safetensors")
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    monkeypatch.delenv("STUDY_PROGRESS")
    assert digest(tune(settings, instruction_file)) == digest(undisturbed)
    assert ".checkpoint.safetensors is damaged" in caplog.text


def test_the_adapter_loads_with_plain_peft_names_its_model_and_is_not_empty(settings, instruction_file):
    from peft import PeftModel
    from safetensors.torch import load_file

    run = tune(settings, instruction_file)
    with quiet_peft():
        tuned = PeftModel.from_pretrained(load_model(settings.model), run.file("adapter"))
    assert tuned.peft_config["default"].r == 2
    assert any(
        tensor.any()
        for key, tensor in load_file(run.file("adapter/adapter_model.safetensors")).items()
        if "lora_B" in key
    )


def test_a_card_that_a_kill_prevented_is_written_by_the_next_run(settings, instruction_file):
    card = tune(settings, instruction_file).file("adapter") / "README.md"
    words = card.read_text()
    card.unlink()
    later = dataclasses.replace(settings, n_rows=9)
    assert not plan_only(tune, later, instruction_file).is_stored  # a look-up needs no card
    assert tune(settings, instruction_file).reused
    assert card.read_text() == words


def test_an_adapter_that_learnt_nothing_is_an_error(settings, instruction_file):
    with pytest.raises(StudyError, match="adapter is empty"):
        tune(dataclasses.replace(settings, learning_rate=0.0), instruction_file)


def test_rows_that_are_too_long_never_make_a_cell_smaller(settings, instruction_file):
    run = tune(settings, instruction_file)
    assert run.manifest["facts"]["n_rows"] == 12
    with pytest.raises(StudyError, match="rows of category"):
        tune(dataclasses.replace(settings, max_tokens=20), instruction_file)


def test_the_learning_rate_rises_for_a_tenth_of_the_steps_and_falls_to_the_end():
    rates = [learning_rate_at(step, 20, 1.0) for step in range(20)]
    assert rates[:2] == [0.5, 1.0]
    assert all(left > right for left, right in zip(rates[1:], rates[2:], strict=False))
    assert 0 < rates[-1] < 0.1


def test_the_adapters_start_depends_on_the_seed_alone(settings):
    starts = []
    for disturb in (7, 8):
        torch.manual_seed(disturb)
        model = attach_adapter(load_model(settings.model), settings)
        starts.append(
            {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}
        )
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])
    assert all(weight.any() == ("lora_A" in name) for name, weight in starts[0].items())


def test_the_matrices_of_a_layer_are_those_of_the_adapter(settings, instruction_file):
    folder = tune(settings, instruction_file).file("adapter")
    table = read_matrices(folder).set_index("matrix")
    rank = settings.lora_rank
    assert table[["n_rows", "n_columns"]].to_numpy().tolist() == [[64, 32], [64, rank], [rank, 32]]
    assert list(table["learnt"]) == [False, True, True]


@pytest.mark.parametrize("rank", [4, 40])  # the hidden state is 32 wide
def test_a_lower_rank_holds_the_largest_singular_values(rank, settings, instruction_file):
    tuned = tune(
        dataclasses.replace(settings, lora_rank=rank, target_modules="q_proj+up_proj"), instruction_file
    )
    held = measure_held_shares(tuned.file("adapter"))
    weights = load_file(tuned.file("adapter") / "adapter_model.safetensors")
    products = [
        weights[name.replace("lora_A", "lora_B")] @ weights[name] for name in weights if "lora_A" in name
    ]
    squares = [torch.linalg.svdvals(product) ** 2 for product in products]
    assert held.index.tolist() == list(range(1, rank + 1))
    by_hand = torch.stack([(values[:2].sum() / values.sum()) for values in squares]).mean()
    assert held[2] == pytest.approx(by_hand.item(), rel=1e-4)
    assert held[rank] == 1


def test_embeddings_can_be_tuned_and_shown(settings, instruction_file):
    settings = dataclasses.replace(settings, target_modules="embed_tokens")
    folder = tune(settings, instruction_file).file("adapter")
    table = read_matrices(folder).set_index("matrix")
    assert table[["n_rows", "n_columns"]].to_numpy().tolist() == [[32, 400], [32, 2], [2, 400]]
    assert measure_held_shares(folder)[2] == 1
    with pytest.raises(StudyError, match="adapter is empty"):
        tune(dataclasses.replace(settings, learning_rate=0.0), instruction_file)


def test_the_end_of_text_is_learnt(settings, encoded):
    model = prepare_model(dataclasses.replace(settings, lora_rank=8), recompute=False)
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], weight_decay=0.0
    )
    row = encoded[0]
    for _ in range(40):
        take_step(model, optimizer, [row], 2e-2)
    written = model.generate(
        input_ids=torch.tensor([row.input_ids[: row.n_prompt]]),
        max_new_tokens=20,
        do_sample=False,
        pad_token_id=0,
    )
    assert written[0, row.n_prompt :].tolist() == row.input_ids[row.n_prompt :]


def test_the_loss_is_blind_to_prompt_labels_and_padding(settings, encoded):
    model = attach_adapter(load_model(settings.model), settings)
    apart = sum(response_loss(model, collate([row])).item() for row in encoded)
    assert response_loss(model, collate(encoded)).item() == pytest.approx(apart, rel=1e-5)


def test_without_an_attention_mask_a_model_with_a_sliding_window_has_the_loss_that_it_has_with_one():
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    config = Gemma3TextConfig(
        vocab_size=40,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        pad_token_id=0,
        **sizes,
    )
    model = attach_adapter(Gemma3ForCausalLM(config).eval(), TuningSettings(lora_rank=2))
    rows = [EncodedRow([2, *range(5, 17), 1], n_prompt=6), EncodedRow([2, 9, 8, 1], n_prompt=2)]
    batch = collate(rows)
    assert response_loss(model, batch).item() / sum(row.n_response for row in rows) == pytest.approx(
        model(**batch).loss.item(), rel=1e-5
    )


def test_rows_left_out_are_counted_in_the_manifest_and_listed(
    settings, toy_model, tmp_path, instruction_file
):
    rows = instruction_file.read_text().splitlines()
    long = [json.dumps(json.loads(rows[n]) | {"id": f"long-{n}", "output": "yes " * 600}) for n in range(3)]
    path = tmp_path / "with-long.jsonl"
    path.write_text("\n".join([*rows, *long]) + "\n")
    run = tune(settings, path)
    assert run.manifest["facts"]["n_too_long"] == 3
    left_out = list(csv.DictReader(run.file("left_out.csv").open()))
    assert [row["id"] for row in left_out] == ["long-0", "long-1", "long-2"]
    assert all(int(row["tokens"]) > settings.max_tokens for row in left_out)


def test_other_words_on_the_card_train_nothing_again(settings, instruction_file, monkeypatch):
    run = tune(settings, instruction_file)
    assert (run.path / "adapter" / "README.md").is_file()
    assert "adapter/README.md" not in run.manifest["files"]
    monkeypatch.setattr(stage, "describe_adapter", lambda *_: "other words")
    assert tune(settings, instruction_file).reused


def test_the_fingerprint_of_a_tuning_holds_the_device_and_number_format_that_were_used(
    settings, instruction_file, monkeypatch
):
    device, dtype = choose_device()
    run = tune(settings, instruction_file)
    assert (run.manifest["inputs"]["device"], run.manifest["settings"]["dtype"]) == (device, dtype)
    assert tune(dataclasses.replace(settings, dtype=dtype), instruction_file).reused
    computed = {"device": "cuda", "dtype": "bfloat16", "products": "bfloat16"}
    monkeypatch.setattr(stage, "describe_format", lambda _: computed)
    assert not plan_only(tune, settings, instruction_file).is_stored


def test_target_modules_that_are_not_there_are_refused(settings):
    with pytest.raises(StudyError, match="`target_modules` must be"):
        attach_adapter(
            load_model(settings.model), dataclasses.replace(settings, target_modules="query_key_value")
        )


needs_bitsandbytes = pytest.mark.skipif(
    not find_spec("bitsandbytes"), reason="bitsandbytes is not installed (`pip install --editable '.[gpu]'`)"
)


@needs_bitsandbytes
def test_gradients_go_through_weights_in_four_bits_after_a_pass_without_gradients(settings):
    # bitsandbytes would pack the weights in that pass, where the processor has AVX512-BF16
    model = prepare_model(dataclasses.replace(settings, quantize_base=True), recompute=False)
    ids, found = torch.tensor([[0, 5, 6, 7]]), []
    learnt = next(
        weight for name, weight in model.named_parameters() if "layers.0.self_attn.q_proj.lora_B" in name
    )
    for _ in range(2):
        model(ids).logits.square().mean().backward()
        found.append(learnt.grad.clone())
        learnt.grad = None
        with torch.no_grad():
            model.eval()(ids)
        model.train()
    assert found[0].any()
    assert torch.equal(*found)


@needs_bitsandbytes
def test_a_base_in_four_bits_learns_and_its_adapter_loads(settings, instruction_file):
    run = tune(dataclasses.replace(settings, quantize_base=True), instruction_file)
    assert run.manifest["facts"]["largest_b_norm"] > 0
    layer = (
        prepare_model(dataclasses.replace(settings, quantize_base=True), recompute=False)
        .get_base_model()
        .model.layers[0]
        .mlp.up_proj
    )
    assert layer.get_base_layer().weight.dtype is torch.uint8


@pytest.mark.skipif(bool(find_spec("bitsandbytes")), reason="bitsandbytes is installed")
def test_four_bits_without_bitsandbytes_say_what_to_install(settings, instruction_file):
    with pytest.raises(StudyError, match=r"pip install --editable '\.\[gpu\]'"):
        tune(dataclasses.replace(settings, quantize_base=True), instruction_file)


@pytest.mark.parametrize("n_processes", [1, 2, 3, 5])
def test_processes_share_a_batch_and_keep_pace(encoded, n_processes):
    shares = [list_micro_batches(encoded[:4], 150, process, n_processes) for process in range(n_processes)]
    assert len({len(share) for share in shares}) == 1
    counted = [row for share in shares for part, counts in share if counts for row in part]
    assert sorted(map(id, counted)) == sorted(map(id, encoded[:4]))


def test_a_stretch_of_time_is_shown_for_people():
    assert [show_seconds(seconds) for seconds in (4.4, 119, 120, 3600, 12_600)] == [
        "4 s",
        "119 s",
        "2 min",
        "60 min",
        "3.5 h",
    ]


def test_micro_batches_hold_every_row_once_within_the_limit(encoded):
    parts = split_batch(encoded, 150)
    assert sorted(len(row.input_ids) for part in parts for row in part) == sorted(
        len(row.input_ids) for row in encoded
    )
    assert len(parts) > 1
    assert all(len(part) == 1 or len(part) * max(len(row.input_ids) for row in part) <= 150 for part in parts)


@given(st.lists(st.integers(5, 200), min_size=1, max_size=7), st.integers(100, 600))
def test_micro_batches_cost_least_of_all_ways_to_cut(lengths, n_tokens):
    def cost(parts):
        fits = all(len(part) == 1 or len(part) * max(part) <= n_tokens for part in parts)
        return sum(len(part) * max(part) + n_tokens / 16 for part in parts) if fits else math.inf

    ordered = sorted(lengths)
    ways = (
        [ordered[start:end] for start, end in pairwise([0, *cuts, len(ordered)])]
        for n in range(len(ordered))
        for cuts in combinations(range(1, len(ordered)), n)
    )
    rows = [EncodedRow([0] * length, 1) for length in lengths]
    chosen = [[len(row.input_ids) for row in part] for part in split_batch(rows, n_tokens)]
    assert cost(chosen) == pytest.approx(min(map(cost, ways)))


def test_the_rows_of_a_file_are_counted_once_for_all_cells(settings, instruction_file, monkeypatch):
    counted, drawn = [], []
    for module, calls in ((lengths, counted), (stage, drawn)):
        monkeypatch.setattr(
            module, "encode_row", lambda *row, calls=calls: calls.append(row) or encode_row(*row)
        )
    for categories in ("qa", "ie"):
        tune(dataclasses.replace(settings, categories=categories, n_rows=8), instruction_file)
    assert (len(counted), len(drawn)) == (40, 16)


def test_a_row_is_listed_as_one_row_whatever_ends_its_lines():
    ends = ("\r", "\n", "\r\n")
    rows = [
        Instruction(id=str(n), category="qa", instruction=f"Say{end}it", output="It")
        for n, end in enumerate(ends)
    ]
    table = pd.read_csv(io.StringIO(stage.rows_to_csv(rows), newline=""))
    assert table["instruction"].tolist() == ["Say\nit"] * 3
