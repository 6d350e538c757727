"""The reference study beside other sources."""

import pandas as pd
import pytest

from helpers.analysis import comparison
from helpers.study.reference import Reference


def test_the_held_out_loss_is_that_of_the_lattices_own_cells_whatever_else_the_grid_holds(monkeypatch):
    ids = {
        "base": ("base", None),
        "qa-n4-s1": ("qa", 1),
        "qa-n9-s1": ("qa", 1),
        "qa-n4-s2": ("qa", 2),
        "all-n4-s1": ("all", 1),
    }
    cells = pd.DataFrame(
        [{"id": cell_id, "cell": cell, "seed": seed} for cell_id, (cell, seed) in ids.items()]
    )
    items = pd.DataFrame(
        [("base", "base", 1), ("base", "base", 2), ("qa-n4-s1", "qa", 1), ("qa-n4-s2", "qa", 2)],
        columns=["id", "cell", "seed"],
    )
    losses = pd.DataFrame(
        {
            "tokens": [1, 3],
            "base": [2.0, 2.0],
            "qa-n4-s1": [1.0, 2.0],
            "qa-n9-s1": [9.0, 9.0],
            "qa-n4-s2": [2.0, 1.0],
            "all-n4-s1": [9.0, 9.0],
        }
    )
    monkeypatch.setattr(
        comparison,
        "read_reference",
        lambda _: Reference(items, cells, losses.set_index(pd.Index(["a", "b"], name="id")), {}),
    )
    (row,) = comparison.held_out_table().to_dict("records")
    assert row["cell"] == "qa"
    assert row["loss"] == pytest.approx((1.75 + 1.25) / 2)  # a row counts by its tokens
    assert row["estimate"] == pytest.approx(1.5 - 2.0)
    assert (row["n"], row["n_seeds"]) == (2, 2)


def make_gains(**rows: tuple[float, float]) -> pd.DataFrame:
    """Return gains by source, each a pair of ends of its interval: 'paper_qa' is the paper's gain on QA
    tasks.
    """
    named = [(*name.split("_"), sum(ends) / 2, *ends) for name, ends in rows.items()]
    table = pd.DataFrame(named, columns=["source", "category", "estimate", "low", "high"])
    return table.assign(label=table["category"] + " tasks")


def test_only_clear_gains_can_contradict_a_clear_gain_of_the_papers():
    paper = {"paper_qa": (0.1, 0.2), "paper_ie": (0.1, 0.2), "paper_gen": (-0.1, 0.2)}
    first = {"reference_qa": (-0.2, -0.1), "reference_ie": (-0.2, 0.1), "reference_gen": (-0.2, -0.1)}
    second = {"second_qa": (0.1, 0.2), "second_ie": (0.1, 0.2), "second_gen": (0.1, 0.2)}
    table = make_gains(**paper, **first, **second)
    assert comparison.list_contradictions(table) == "qa tasks"
    assert comparison.list_contradictions(table, comparison.SECOND) == "none"
    assert comparison.count_agreements(table, ["category"]) == {
        "n": 2,
        "agree": 0,
        "n_clear": 1,
        "agree_clear": 0,
        "n_unknown": 1,
    }
    assert (
        comparison.describe_directions(table)
        == "The interval excludes zero for QA, GEN, and for none of them the direction is the paper's."
    )
    assert (
        comparison.describe_directions(table, comparison.SECOND)
        == "The interval excludes zero for QA, IE, GEN, where the direction is the paper's."
    )
