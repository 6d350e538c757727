"""Rows, masks and batches."""

import unicodedata
from collections import Counter

import pytest
import torch

from helpers.errors import StudyError
from helpers.jsonl import read_rows
from helpers.models.load import load_tokenizer
from helpers.records import Instruction
from helpers.tuning.rows import (
    IGNORED,
    EncodedRow,
    allot_rows,
    batch_indices,
    collate,
    describe_labels,
    encode_row,
    iterate_steps,
    parse_categories,
    rotate_responses,
    select_rows,
)

ROW = Instruction(
    id="1", category="ie", instruction="Which drug?", input="metoprolol 5 mg", output="metoprolol: active"
)


@pytest.fixture
def tokenizer(toy_model):
    return load_tokenizer(toy_model)


def test_a_category_is_the_same_however_the_letters_of_a_parameter_are_composed():
    composed, taken_apart = (unicodedata.normalize(form, "qualité+ie") for form in ("NFC", "NFD"))
    assert composed != taken_apart
    assert parse_categories(taken_apart) == parse_categories(composed) == ("qualité", "ie")


def test_unmasked_labels_decode_to_response_and_end_of_text(tokenizer):
    labels = collate([encode_row(tokenizer, ROW)])["labels"][0]
    assert tokenizer.decode(labels[labels != IGNORED]) == "metoprolol: active</s>"


def test_the_prompt_is_masked_and_ends_where_the_response_begins(tokenizer):
    encoded = encode_row(tokenizer, ROW)
    assert tokenizer.decode(encoded.input_ids[: encoded.n_prompt]).endswith("### Response:\n")


def test_exactly_one_begin_of_text_stands_first(tokenizer):
    ids = encode_row(tokenizer, ROW).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_labels_of_known_ids_are_these_tensors():
    batch = collate([EncodedRow([0, 5, 6, 7, 1], n_prompt=3), EncodedRow([0, 8, 1], n_prompt=1)])
    assert batch["input_ids"].tolist() == [[0, 5, 6, 7, 1], [0, 8, 1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 7, 1], [-100, 8, 1, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_the_border_of_the_mask_cannot_move_into_a_word(tokenizer):
    joined = tokenizer("### Response:\nmetoprolol: active")["input_ids"]
    for output in ("metoprolol: active", "\nmetoprolol: active ", ": active"):
        encoded = encode_row(tokenizer, ROW.model_copy(update={"output": output}))
        alone = tokenizer(output.strip(), add_special_tokens=False)["input_ids"]
        assert encoded.input_ids[encoded.n_prompt :] == [*alone, tokenizer.eos_token_id]
        assert encoded.n_response == len(alone) + 1
    assert joined[-1] != tokenizer.eos_token_id


def test_a_model_without_an_end_of_text_is_refused(tokenizer):
    tokenizer.eos_token = None
    with pytest.raises(StudyError, match="must name an end-of-text token"):
        encode_row(tokenizer, ROW)


def test_padding_is_masked_in_exact_tensors(tokenizer):
    short = encode_row(tokenizer, ROW)
    long = encode_row(tokenizer, ROW.model_copy(update={"output": "yes no maybe " * 3}))
    batch = collate([short, long])
    n, width = len(short.input_ids), len(long.input_ids)
    expected = torch.tensor(
        [IGNORED] * short.n_prompt + short.input_ids[short.n_prompt :] + [IGNORED] * (width - n)
    )
    assert torch.equal(batch["labels"][0], expected)
    assert batch["attention_mask"].sum(dim=1).tolist() == [n, width]


@pytest.mark.parametrize(
    ("categories", "counts"),
    [("qa", {"qa": 9}), ("qa+ie", {"qa": 5, "ie": 4}), ("qa+ie+gen", {"qa": 3, "ie": 3, "gen": 3})],
)
def test_every_subset_has_the_same_size_in_equal_shares(instruction_file, categories, counts):
    chosen = select_rows(read_rows(instruction_file, Instruction), categories, 9, seed=1)
    assert Counter(row.category for row in chosen) == counts


def test_a_smaller_draw_is_part_of_a_larger_one_and_the_order_of_the_file_is_nothing(instruction_file):
    rows = read_rows(instruction_file, Instruction)
    small, large = select_rows(rows, "all", 5, 1), select_rows(rows[::-1], "all", 12, 1)
    assert small == large[:5]
    assert select_rows(rows, "all", 5, 2) != small


@pytest.mark.parametrize(("categories", "n"), [("qa", 11), ("qa+ie", 30)])
def test_too_few_rows_are_an_error_and_not_a_smaller_run(instruction_file, categories, n):
    with pytest.raises(StudyError, match="Lower `n_rows`"):
        select_rows(read_rows(instruction_file, Instruction), categories, n, 1)


@pytest.mark.parametrize(
    "categories",
    ["qa+qa", "qa,ie", "", "qa:4+ie", "qa:0+ie:1", "qa:4+qa:1", "qa/ie", "base", "qa+all", "qa:-1"],
)
def test_unknown_subsets_are_refused(categories):
    with pytest.raises(StudyError, match="`categories` must be"):
        select_rows([], categories, 1, 1)


def test_the_shuffled_control_keeps_prompts_and_responses_and_parts_every_pair():
    rows = [EncodedRow([10 + n, 20 + n, 30 + n], 2) for n in range(4)]
    rotated = rotate_responses(rows)
    assert [row.input_ids for row in rotated] == [[10, 20, 31], [11, 21, 32], [12, 22, 33], [13, 23, 30]]
    assert all(row.n_prompt == 2 for row in rotated)


def test_the_shuffled_control_draws_the_rows_of_all(instruction_file):
    rows = read_rows(instruction_file, Instruction)
    assert select_rows(rows, "shuffled", 7, 1) == select_rows(rows, "all", 7, 1)


def test_each_epoch_sees_every_row_once_in_another_order():
    epochs = [[i for batch in batch_indices(100, 8, 1, epoch) for i in batch] for epoch in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(100))
    assert epochs[0] != epochs[1]


def test_batches_are_full_but_the_last_and_depend_on_the_seed_alone():
    batches = batch_indices(20, 8, 1, 0)
    assert [len(batch) for batch in batches] == [8, 8, 4]
    assert batches == batch_indices(20, 8, 1, 0) != batch_indices(20, 8, 2, 0)


def test_steps_are_a_pure_function():
    assert list(iterate_steps(3, 2, 2, 5)) == list(iterate_steps(3, 2, 2, 5))


def test_a_row_is_described_by_what_its_labels_hide_and_let_count(tokenizer):
    masked, learnt = describe_labels(tokenizer, encode_row(tokenizer, ROW))
    assert (masked["part"], learnt["part"]) == ("masked", "learnt")
    assert masked["text"].endswith("### Response:\n")
    assert learnt["text"] == "metoprolol: active</s>"
    assert masked["tokens"] + learnt["tokens"] == len(encode_row(tokenizer, ROW).input_ids)


def test_a_category_that_no_row_has_is_refused_with_those_that_the_rows_have(instruction_file):
    with pytest.raises(StudyError, match="'QA' are wanted, but only 0 .*: qa, ie, gen, other"):
        select_rows(read_rows(instruction_file, Instruction), "QA", 1, 1)


def test_a_mixture_takes_the_rows_that_it_names_and_no_other_sum(instruction_file):
    rows = read_rows(instruction_file, Instruction)
    assert Counter(row.category for row in select_rows(rows, "qa:5+gen:2", 7, 1)) == {"qa": 5, "gen": 2}
    with pytest.raises(StudyError, match=r"`n_rows` must be the sum .* 7\), but 8 was found"):
        select_rows(rows, "qa:5+gen:2", 8, 1)


def test_rows_of_a_smaller_mixture_are_part_of_a_larger_one_under_the_same_seed(instruction_file):
    rows = read_rows(instruction_file, Instruction)
    draws = [("qa:1+gen:6", 7), ("qa+gen", 14), ("qa:8+ie:3+gen:9", 20)]
    ids = [{row.id for row in select_rows(rows, categories, n, 3)} for categories, n in draws]
    assert ids[0] < ids[1] < ids[2]
    other = {row.id for row in select_rows(rows, "qa:1+gen:6", 7, 4)}
    assert not other < ids[1]


def test_equal_parts_leave_no_category_without_rows():
    assert allot_rows("qa+ie", 2) == {"qa": 1, "ie": 1}
    with pytest.raises(StudyError, match=r"`n_rows` must be 3 at least, .* in qa\+ie\+gen, but 2 was found"):
        allot_rows("qa+ie+gen", 2)
