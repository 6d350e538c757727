"""The measurement of the mixture law's intervals, and what the book says of its stored results."""

import pytest

from helpers.analysis.mixing.simulation import RIVALS
from helpers.bench import mixing
from helpers.book.figure_tables import read_law_cases


def test_every_case_is_measured_for_the_own_law_and_for_rivals(monkeypatch):
    monkeypatch.setattr(mixing, "N_CASE", dict.fromkeys(mixing.N_CASE, 1))
    name, unit, ours, baseline, _, n, more = mixing.measure_law_cases()
    assert (name, unit, n) == ("coverage_mixture_cases", "share", 1)
    assert 0 <= baseline <= 1
    assert 0 <= ours <= 1
    assert {row["law"] for row in more["cases"]} == {"effective", *RIVALS}
    assert {row["n_seeds"] for row in more["cases"] if row["law"] == "effective"} == {1, 2, 5}


@pytest.fixture
def cases():
    return read_law_cases().set_index(["losses follow", "models", "n_seeds"])


def test_where_the_law_is_true_several_seeds_suffice_and_one_makes_intervals_of_losses_too_narrow(cases):
    own = cases.loc["effective"]
    several = own[own.index.get_level_values("n_seeds") > 1]
    assert several["loss included"].min() >= 0.9
    assert own["gain included"].min() >= 0.9
    assert own["false claims"].max() <= 0.05
    assert own.xs(1, level="n_seeds")["loss included"].item() < 0.8


def test_where_another_law_is_true_many_intervals_miss_it_and_worse_mixtures_are_praised(cases):
    others = cases.drop("effective", level=0).xs(mixing.SEVERAL, level="models")
    assert others["loss included"].max() < 0.8
    assert others["false claims"].max() > 0.5
