"""Controls keep of a cell what they say and take the rest away."""

from collections import Counter

import pytest

from helpers.errors import StudyError
from helpers.records import Instruction
from helpers.tuning.controls import bin_quotas, draw_cell_rows, split_control
from helpers.tuning.rows import EncodedRow, select_rows

LENGTHS = {"qa": (2, 3, 9, 20), "ie": (3, 9, 10, 40), "gen": (9, 20, 40, 41), "other": (500,) * 4}


@pytest.fixture
def rows():
    return [
        Instruction(id=f"{category}-{n}", category=category, instruction="Say", input="", output="x")
        for category in LENGTHS
        for n in range(40)
    ]


@pytest.fixture
def encoded(rows):
    """Give the rows of each category responses of its own lengths."""
    return {
        row.id: EncodedRow([0] * (5 + LENGTHS[row.category][int(row.id.split("-")[1]) % 4]), 5)
        for row in rows
    }


def test_a_plain_cell_and_a_shuffled_one_draw_the_same_rows(rows, encoded):
    plain = select_rows(rows, "qa+ie", 10, 1)
    assert (
        draw_cell_rows(rows, encoded, "qa+ie", 10, 1)
        == draw_cell_rows(rows, encoded, "qa+ie~shuffled", 10, 1)
        == plain
    )


@pytest.mark.parametrize("cell", ["qa", "ie", "gen"])
def test_matched_lengths_give_every_category_the_same_bins(rows, encoded, cell):
    drawn = draw_cell_rows(rows, encoded, f"{cell}~lengths", 8, 1)
    bins = Counter(encoded[row.id].n_response.bit_length() for row in drawn)
    assert {row.category for row in drawn} == {cell}
    assert bins == Counter({4: 8})  # the one bin that all three have


def test_bins_are_shared_by_the_smallest_share_and_add_up():
    quotas = bin_quotas({"a": [1, 4, 4, 8], "b": [4, 8, 8, 8]}, 5)
    assert quotas == Counter({3: 3, 4: 2})
    assert sum(bin_quotas({"a": [4] * 3 + [8] * 7, "b": [4] * 5 + [8] * 5}, 7).values()) == 7
    with pytest.raises(StudyError, match="No length"):
        bin_quotas({"a": [1], "b": [64]}, 3)


@pytest.mark.parametrize("cell", ["qa", "ie", "gen", "qa+gen"])
def test_matched_tokens_give_every_cell_the_same_sum(rows, encoded, cell):
    drawn = draw_cell_rows(rows, encoded, f"{cell}~tokens", 8, 1)
    mean = sum(sum(found) / 4 for name, found in LENGTHS.items() if name != "other") / 3
    assert sum(encoded[row.id].n_response for row in drawn) == pytest.approx(8 * mean, abs=41)
    assert {row.category for row in drawn} == set(cell.split("+"))


def test_a_smaller_control_is_part_of_a_larger_one(rows, encoded):
    for kind in ("lengths", "tokens"):
        small, large = (draw_cell_rows(rows, encoded, f"gen~{kind}", n, 1) for n in (4, 8))
        assert {row.id for row in small} <= {row.id for row in large}


def test_what_cannot_be_matched_or_is_unknown_is_refused(rows, encoded):
    with pytest.raises(StudyError, match="A control must be one of"):
        split_control("qa~reversed")
    with pytest.raises(StudyError, match="matched lengths"):
        draw_cell_rows(rows, encoded, "qa~lengths", 39, 1)
    with pytest.raises(StudyError, match="too few response tokens"):
        draw_cell_rows(rows, encoded, "qa~tokens", 40, 1)
    with pytest.raises(StudyError, match=r"has 17 response tokens .*, but its first row alone has 4[01]"):
        [draw_cell_rows(rows, encoded, "gen~tokens", 1, seed) for seed in range(9)]
    with pytest.raises(StudyError, match="there are none"):
        draw_cell_rows(rows, encoded, "law~tokens", 4, 1)
