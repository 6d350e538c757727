"""Coverage is measured on what the study's tables show; the numbers themselves come from `study bench`."""

import json

import pytest

from helpers.analysis.hypotheses import ALPHA
from helpers.analysis.intervals import crossed_variance, t_test_p
from helpers.analysis.simulation import HEAVY, SIMULATED_CELLS, ZEROS, Scenario
from helpers.bench import interval_coverage
from helpers.paths import RESULTS


@pytest.fixture
def few(monkeypatch):
    """Simulate few lattices."""
    monkeypatch.setattr(interval_coverage, "N_LATTICES", dict.fromkeys((12, 48, 200), 100))
    for name in ("N_ONE", "N_BETTER", "N_DRAWN"):
        monkeypatch.setattr(interval_coverage, name, 5)


def test_the_level_of_a_family_is_that_of_holms_first_step():
    """An interval at this level leaves zero out where p times nine is below 0.05."""
    [(stacks, _)] = interval_coverage.simulate_batches(Scenario(ZEROS, 12, 2.8), 3, 60)
    weights = {"qa": 1.0, "base": -1.0}
    held = interval_coverage.exclude_truth(
        stacks, weights, interval_coverage.study_variance, interval_coverage.FAMILY
    )
    samples = [
        stack[SIMULATED_CELLS.index("qa")] - stack[SIMULATED_CELLS.index("base")] for stack in stacks.values()
    ]
    p = t_test_p(interval_coverage.estimate_contrast(stacks, weights), *crossed_variance(samples))
    assert (held == (9 * p < ALPHA)).all()


def test_seeds_that_vary_mislead_satterthwaite_more_often_than_the_weighted_quantiles(few):
    errors = interval_coverage.count_errors(Scenario(HEAVY, 12, 2.8), 3)
    assert errors["satterthwaite"] > errors["gains"]
    assert 0 <= errors["gains"] < 0.15
    assert errors["single"] < 0.15


def test_one_seed_is_told_from_others(few):
    *_, value, baseline, _, n, more = interval_coverage.measure_one_seed()
    assert n == 5
    names = {"case", "this_seed", "other_seeds", "family_this_seed", "family_other_seeds"}
    assert set(more["cases"][0]) == names
    assert 0 <= baseline <= 1
    assert 0 <= value <= 1


def test_a_measured_spread_takes_the_false_alarms_of_one_seed_away(few, monkeypatch):
    monkeypatch.setattr(interval_coverage, "N_ONE", 60)
    errors = interval_coverage.count_spread_errors(Scenario(HEAVY, 12, 2.8))
    assert errors["without"] > 0.8
    assert errors["gains"] < 0.15
    assert errors["synergies"] < 0.15
    *_, value, baseline, _, n, more = interval_coverage.measure_spread()
    assert value < baseline
    assert n == 60
    assert len(more["cases"]) == 10


def test_better_parts_and_shares_are_measured(few):
    for measured in (interval_coverage.measure_better(), interval_coverage.measure_shares()):
        assert 0 <= measured[2] <= 1
        assert len(measured[6]["cases"]) >= 4


def test_the_stored_errors_keep_their_level_in_every_case_that_the_book_relies_on():
    stored = json.loads((RESULTS / "bench" / "family_error.json").read_text(encoding="utf-8"))
    assert {row["n_seeds"] for row in stored["cases"]} == set(interval_coverage.SEED_COUNTS)
    assert {row["case"] for row in stored["cases"]} == {
        scenario.name for scenario in interval_coverage.list_scenarios()
    }
    worst = max(max(row["gains"], row["synergies"]) for row in stored["cases"])
    assert worst == pytest.approx(stored["ours"], abs=1e-4)
    assert worst <= 0.06
    assert stored["baseline"] > 0.1


def test_the_stored_errors_of_one_seed_with_a_measured_spread_keep_their_level():
    stored = json.loads((RESULTS / "bench" / "family_error_spread.json").read_text(encoding="utf-8"))
    worst = max(max(row["gains"], row["synergies"]) for row in stored["cases"])
    assert worst == pytest.approx(stored["ours"], abs=1e-4)
    assert worst <= 0.06
    assert stored["baseline"] > 0.1
