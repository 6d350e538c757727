"""Transfer, additions, synergies and size curves, on scores that are known."""

import numpy as np
import pytest
from known_scores import MEANS, make_items

from helpers.analysis.hypotheses import add_holm
from helpers.analysis.transfer import (
    addition_table,
    best_part_table,
    combine_min,
    other_minus_own_table,
    size_table,
    synergy_table,
    transfer_table,
)
from helpers.study.grid import SINGLES


def test_the_transfer_matrix_holds_gains_over_base():
    table = transfer_table(make_items(MEANS), SINGLES).pivot(
        index="trained_on", columns="tested_on", values="estimate"
    )
    assert table.loc["qa", "qa"] == pytest.approx(0.4)
    assert table.loc["ie", "qa"] == pytest.approx(0.2)
    assert table.loc["gen", "gen"] == pytest.approx(0.3)


def test_without_cells_the_transfer_matrix_is_an_empty_table():
    table = transfer_table(make_items(MEANS), [])
    assert len(table) == 0
    assert list(table) == list(transfer_table(make_items(MEANS), ["qa"]))


def test_without_tasks_of_its_categories_every_table_has_its_columns_and_no_row():
    items = make_items(MEANS)
    elsewhere, left_out = items.assign(category="other"), items.assign(task="mednli")
    for table in (
        addition_table(elsewhere),
        other_minus_own_table(elsewhere),
        addition_table(left_out),
        synergy_table(left_out),
        transfer_table(left_out, ["qa"]),
    ):
        assert table.empty
        assert {"estimate", "low", "high", "p_holm", "n", "n_seeds"} <= set(add_holm(table))


def test_another_category_is_measured_against_the_tasks_own():
    table = other_minus_own_table(make_items(MEANS)).set_index(["trained_on", "tested_on"])["estimate"]
    assert len(table) == 6
    assert table["ie", "qa"] == pytest.approx(0.3 - 0.5)


def test_other_categories_are_those_of_the_lattice_on_tasks_of_its_own():
    names = {"qa": "oncology", "ie": "cardiology"}
    items = make_items(MEANS).replace({"category": names, "cell": names})
    table = other_minus_own_table(items, ("cardiology", "oncology")).set_index(["trained_on", "tested_on"])
    assert set(table.index) == {("cardiology", "oncology"), ("oncology", "cardiology")}
    assert table.loc[("cardiology", "oncology"), "estimate"] == pytest.approx(0.3 - 0.5)


def test_an_addition_is_the_pair_minus_the_single_and_the_papers_gain_is_relative_to_it():
    table = addition_table(make_items(MEANS)).set_index(["target", "added"])
    assert len(table) == 6
    assert table.loc[("qa", "ie"), "estimate"] == pytest.approx(0.1)
    assert table.loc[("ie", "qa"), "estimate"] == pytest.approx(-0.1)
    assert table.loc[("gen", "qa"), "percent"] == pytest.approx(100 * (0.3 - 0.4) / 0.4)


def test_the_papers_gain_of_nothing_over_nothing_is_left_empty():
    table = addition_table(make_items(MEANS | {"ie": 0.0})).set_index(["target", "added"])
    assert np.isnan(table.loc[("ie", "qa"), "percent"])


def test_a_synergy_is_what_a_pair_gives_beyond_the_mean_of_its_singles():
    table = synergy_table(make_items(MEANS)).set_index(["contrast", "tested_on"])["estimate"]
    assert len(table) == 9
    assert table["qa+ie", "qa"] == pytest.approx(0.6 - (0.5 + 0.3) / 2)
    assert table["ie+gen", "ie"] == pytest.approx(0.4 - (0.6 + 0.2) / 2)


def test_a_pair_is_held_against_the_better_of_its_singles():
    table = best_part_table(make_items(MEANS)).set_index(["contrast", "tested_on"])
    assert table.loc[("qa+ie", "qa"), "estimate"] == pytest.approx(0.6 - 0.5)
    assert table.loc[("qa+gen", "gen"), "estimate"] == pytest.approx(0.3 - 0.4)
    assert table.loc[("qa+ie", "qa"), "low"] == pytest.approx(0.1)


def test_a_pair_is_better_where_both_steps_say_so_and_worse_where_one_does_at_half_the_error():
    plain, strict = (
        [{"estimate": 0.3, "low": 0.1, "high": 0.5}, {"estimate": 0.2, "low": 0.15, "high": 0.25}],
        [{"estimate": 0.3, "low": 0.0, "high": 0.6}, {"estimate": 0.2, "low": 0.12, "high": 0.28}],
    )
    assert combine_min(plain, strict) == {"estimate": 0.2, "low": 0.1, "high": 0.28}


def test_the_size_curve_holds_gain_and_mean_synergy_of_each_size():
    table = size_table({4: make_items(MEANS), 8: make_items(MEANS)})
    rows = table[(table["n_rows"] == 8) & (table["tested_on"] == "qa")].set_index("quantity")["estimate"]
    assert rows["Gain of the mixture over base"] == pytest.approx(0.4)
    assert rows["Mean synergy of the pairs"] == pytest.approx((0.2 + 0.1 + 0.0) / 3)
    assert size_table({}).empty
