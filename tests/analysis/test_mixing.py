"""Laws of the loss by mixture, on lattices whose law is known: fits, intervals, cross-validation, choice."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis.mixing import cross_validation
from helpers.analysis.mixing.cross_validation import (
    average_errors,
    choose_law,
    cross_validate_laws,
    tabulate_predictions,
)
from helpers.analysis.mixing.fit_intervals import fit_losses, split_noise
from helpers.analysis.mixing.fitting import fit_law, refit_law
from helpers.analysis.mixing.forecast import read_lattice
from helpers.analysis.mixing.laws import LAWS, build_law
from helpers.analysis.mixing.losses import build_loss_arrays
from helpers.analysis.mixing.recommendation import (
    check_goal,
    list_candidates,
    list_mixtures,
    recommend,
    worth_table,
)
from helpers.analysis.mixing.simulation import (
    FLOORS,
    NOISE,
    RIVALS,
    WORTHS,
    design_cells,
    expect_loss,
    measure_law_coverage,
    measure_law_error,
    simulate_items,
    simulate_losses,
    true_parameters,
)
from helpers.analysis.reference_losses import read_reference_losses
from helpers.errors import StudyError
from helpers.study.grid import SINGLES, list_row_columns, normalize_mixture, round_shares
from helpers.study.mixing import design_mixtures

CELLS = design_cells()
TRUTHS = {
    "effective": {target: true_parameters(target) for target in SINGLES},
    "effective-exponents": {target: np.array([*true_parameters(target), 0.6, 0.6]) for target in SINGLES},
} | RIVALS


def simulate(law="effective", n_seeds=3, seed=0, noise=1.0):
    return build_loss_arrays(simulate_losses(law, TRUTHS[law], n_seeds, seed, noise))


@pytest.mark.parametrize("name", LAWS)
def test_derivatives_are_those_of_the_predictions(name):
    law = build_law(name, SINGLES, "ie", CELLS)
    start = law.list_starts(np.linspace(1, 2, len(CELLS)))[0]
    steps = np.eye(len(start)) * 1e-6
    slopes = (
        np.stack([law.predict(start + step, CELLS) - law.predict(start - step, CELLS) for step in steps])
        / 2e-6
    )
    np.testing.assert_allclose(law.derive(start, CELLS), slopes.T, atol=1e-7)


@pytest.mark.parametrize("law", TRUTHS)
def test_a_law_is_found_again_from_losses_without_noise(law):
    losses = simulate(law, n_seeds=1, noise=0.0)
    for place, target in enumerate(SINGLES):
        built = build_law(law, SINGLES, target, losses.counts)
        found = fit_law(built, losses.mean_over_seeds[place], losses.seed_weights)
        np.testing.assert_allclose(
            built.predict(found, losses.counts), losses.mean_over_seeds[place], atol=1e-4
        )
        if law in ("effective", "log-linear"):
            np.testing.assert_allclose(found, TRUTHS[law][target], rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("name", ["effective-exponents", "exponential", "log-linear"])
def test_thousands_of_refits_at_once_end_where_scipy_ends(name):
    losses = simulate()
    law = build_law(name, SINGLES, "qa", losses.counts)
    best = fit_law(law, losses.mean_over_seeds[0], losses.seed_weights)
    drawn = losses.mean_over_seeds[0] + np.random.default_rng(1).normal(0, NOISE, (4, len(CELLS)))
    refits = refit_law(law, drawn, losses.seed_weights, best)
    for own, parameters in zip(drawn, refits, strict=True):
        alone = fit_law(law, own, losses.seed_weights)
        errors = [np.sum((law.predict(found, CELLS) - own) ** 2) for found in (parameters, alone)]
        assert errors[0] <= errors[1] * (1 + 1e-4)


def test_the_worth_of_rows_is_found_with_an_interval_that_more_noise_makes_wider():
    widths = []
    for noise in (1.0, 3.0):
        table = worth_table(fit_losses(simulate(noise=noise), "effective", 300), SINGLES)
        others = table[table["source"] != table["target"]]
        truth = [worth for target in SINGLES for worth in WORTHS[target]]
        assert (np.abs(others["estimate"] - truth) < 0.05 * noise).all()
        widths.append((others["high"] - others["low"]).mean())
        assert (table.loc[table["source"] == table["target"], "estimate"] == 1).all()
    assert widths[1] > 2 * widths[0]


def test_intervals_hold_the_truth_and_no_mixture_is_praised_where_all_are_alike():
    covered = measure_law_coverage(4, 150)
    assert covered["worths"] >= 0.85
    assert covered["losses"] >= 0.85
    assert covered["false_alarms"] == 0


def test_the_error_of_a_law_is_told_where_the_losses_follow_it_and_where_they_follow_another():
    own = measure_law_error("effective", 3, CELLS, 4, 150)
    assert own["losses"] >= 0.75
    assert own["gains"] >= 0.75
    assert own["false_claims"] == 0
    assert 0 <= own["shortfall"] < 0.01
    other = measure_law_error("log-linear", 3, CELLS, 4, 150)
    assert other["losses"] < own["losses"]
    assert other["shortfall"] > own["shortfall"]


@pytest.mark.parametrize("law", TRUTHS)
def test_the_law_by_which_the_cells_lose_wins_on_what_was_left_out(law):
    law_errors = average_errors(
        cross_validate_laws(simulate(law), dict.fromkeys(["effective", "exponential", "null", law]))
    )
    errors = law_errors[law_errors["category"] == "all"].set_index(["kind", "law"])["error"]
    assert choose_law(law_errors) == law
    assert errors["mixture", law] < 0.4 < errors["mixture", "null"]
    assert errors["rows", law] == errors["rows"].min()


def test_what_is_left_out_is_predicted_without_it():
    table = simulate_losses("effective", TRUTHS["effective"], 1, 0, 0.0)
    odd = (table["n_qa"] == 200) & (table["n_ie"] == 100)
    table.loc[odd, "loss"] += 1
    left_out = cross_validate_laws(build_loss_arrays(table), ["effective"]).query("kind == 'mixture'")
    wrong = (left_out["n_qa"] == 200) & (left_out["n_ie"] == 100)
    assert (left_out.loc[wrong, "observed"] - left_out.loc[wrong, "predicted"]).to_numpy() == pytest.approx(
        [1, 1, 1], abs=1e-3
    )


def test_equal_parts_that_round_to_two_shares_are_left_out_together_and_once():
    table = simulate_losses("effective", TRUTHS["effective"], 1, 0, 0.0)
    equal = table[(table["n_qa"] == 100) & (table["n_ie"] == 100) & (table["n_gen"] == 100)]
    assert len(equal)
    third = pd.concat([table, equal.assign(n_qa=34, n_ie=33, n_gen=33)], ignore_index=True)
    left_out = cross_validate_laws(build_loss_arrays(third), ["null"]).query("kind == 'mixture'")
    assert not left_out.duplicated(["category", "n_qa", "n_ie", "n_gen"]).any()


@pytest.mark.parametrize("cell_rows", [15, 20, 29, 37, 150])
def test_each_mixture_is_left_out_once_and_at_all_sizes_however_small_the_cells_are(cell_rows):
    names = [*design_mixtures(dict.fromkeys(SINGLES, 500), cell_rows)]
    cells = [("base", 0), *map(normalize_mixture, names)]
    counts = np.array([list(list_row_columns(*cell, SINGLES).values()) for cell in cells], dtype=float)
    losses = build_loss_arrays(simulate_losses("effective", TRUTHS["effective"], 1, 0, counts=counts))
    folds = np.array(cross_validation._group_mixtures(losses))
    mixed = (losses.counts > 0).sum(axis=1) > 1
    assert (folds.sum(axis=0) == mixed).all()
    equal = mixed & (np.ptp(losses.counts, axis=1) <= 1)
    assert equal.sum() == 2
    assert any((fold == equal).all() for fold in folds)


def test_predictions_stand_beside_what_was_observed():
    losses = simulate(n_seeds=1)
    table = tabulate_predictions(
        losses, fit_losses(losses, "null", 0), cross_validate_laws(losses, ["null", "log-linear"])
    )
    assert table["kind"].value_counts().to_dict() == {"rows": 81, "fitted": 84, "mixture": 45}
    assert not table.isna().any(axis=None)


def test_a_mixture_is_recommended_that_is_best_under_the_true_law():
    fits = fit_losses(simulate(), "effective", 300)
    found = recommend(fits, SINGLES, 600, "mean")
    counts = list_mixtures(3) * 600
    truth = np.mean([fits[name].law.predict(TRUTHS["effective"][name], counts) for name in SINGLES], axis=0)
    own = np.mean(
        [
            fits[name].law.predict(
                TRUTHS["effective"][name], np.array([list(found.rows.values())], dtype=float)
            )
            for name in SINGLES
        ]
    )
    assert sum(found.rows.values()) == 600
    assert own - truth.min() < 0.002
    assert found.low < own < found.high
    assert {"qa", "ie", "gen"} <= set(found.beats)
    assert not found.extrapolates
    assert found.mixtures["indistinguishable"].mean() < 0.2
    for name in SINGLES:
        low, high = found.share_ranges[name]
        assert low <= found.rows[name] / 600 <= high


def test_one_category_alone_is_best_served_by_its_own_rows():
    fits = fit_losses(simulate(), "effective", 100)
    assert recommend(fits, SINGLES, 300, "gen").rows == {"qa": 0, "ie": 0, "gen": 300}
    few = recommend(fits, SINGLES, 300, "gen", {"qa": 200, "ie": 200, "gen": 150}, True)
    assert few.rows["gen"] == 150
    assert "gen" not in set(few.comparisons["mixture"])
    assert few.comparisons["mixture"].tolist() == ["equal parts", "natural shares"]
    with pytest.raises(StudyError, match="300 of 30 leave none"):
        recommend(fits, SINGLES, 300, "gen", {"qa": 10, "ie": 10, "gen": 10}, True)
    assert recommend(fits, SINGLES, 2000, "gen").extrapolates


def test_the_worst_category_gets_what_it_needs():
    fits = fit_losses(simulate(), "effective", 100)
    assert max(FLOORS, key=FLOORS.get) == "gen"
    assert recommend(fits, SINGLES, 300, "worst").rows["gen"] > 200


def test_equal_parts_may_be_best_although_no_step_of_the_simplex_reaches_them():
    alike = {target: np.array([*TRUTHS["effective"]["qa"][:4], 0.1, 0.1]) for target in SINGLES}
    losses = build_loss_arrays(simulate_losses("effective", alike, 3, 1, 0.0))
    found = recommend(fit_losses(losses, "effective", 20), SINGLES, 300, "worst")
    assert found.rows == {"qa": 100, "ie": 100, "gen": 100}
    assert found.comparisons["gain"].min() >= 0
    best = found.mixtures.loc[found.mixtures["loss"].idxmin()]
    np.testing.assert_allclose(best[["share_qa", "share_ie", "share_gen"]].astype(float), 1 / 3)


def test_cells_that_differ_by_noise_alone_are_not_told_apart():
    flat = {target: np.array([*own[:4], 1.0, 1.0]) for target, own in TRUTHS["effective"].items()}
    losses = build_loss_arrays(simulate_losses("effective", flat, 3, 1, 3.0))
    for law in ("effective", "null"):
        found = recommend(fit_losses(losses, law, 200), SINGLES, 300)
        assert found.beats == []
        assert found.mixtures["indistinguishable"].mean() > 0.5


def test_a_mixture_that_is_surely_worse_is_none_that_may_be_as_good():
    losses = read_lattice(read_reference_losses(), (3,))
    found = recommend(fit_losses(losses, "exponential", 600), SINGLES, 150, "qa")
    assert "gen" in found.beats
    for row in found.comparisons.itertuples():
        if row.mixture in SINGLES:
            own = found.mixtures[found.mixtures[f"share_{row.mixture}"] == 1]
            assert own["indistinguishable"].item() == (row.mixture not in found.beats)


def test_mixtures_cover_the_simplex_and_many_categories_stay_few():
    assert len(list_mixtures(3)) == 231
    np.testing.assert_allclose(list_mixtures(3).sum(axis=1), 1)
    assert len(list_mixtures(6)) <= 4000
    assert round_shares({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, 100) == {"a": 34, "b": 33, "c": 33}


def test_noise_is_split_into_seeds_and_the_remainder():
    table = simulate_losses("effective", TRUTHS["effective"], 5, 0, 0.0)
    table["loss"] += table["seed"].map({0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}) * (
        table["n_qa"] + table["n_ie"] > 0
    )
    kept = table[(table["n_qa"] + table["n_ie"] > 0) | (table["n_gen"] == 0)]
    effects, remainders, df = split_noise(build_loss_arrays(kept))
    np.testing.assert_allclose(effects[0], [-0.2, -0.1, 0, 0.1, 0.2], atol=1e-9)
    np.testing.assert_allclose(remainders, 0, atol=1e-9)
    n_cells = len(kept.drop_duplicates(["n_qa", "n_ie", "n_gen"])) - 1
    assert df == (n_cells - 1) * 4


def test_held_out_rows_drawn_anew_widen_the_interval():
    table = simulate_losses("effective", TRUTHS["effective"], 2, 0, 0.1)
    random = np.random.default_rng(0)
    hard = {(target, number): random.normal(0, 0.4) for target in SINGLES for number in range(40)}
    items = pd.concat(
        table.assign(
            id=f"row-{number}",
            loss=table["loss"] + table["category"].map(lambda name, n=number: hard[name, n]),
        )
        for number in range(40)
    )
    keys = ["n_qa", "n_ie", "n_gen", "seed", "category"]
    means = items.groupby(keys, as_index=False)["loss"].mean()
    losses = [build_loss_arrays(means), build_loss_arrays(items)]
    np.testing.assert_allclose(losses[0].mean_over_seeds, losses[1].mean_over_seeds)
    widths = [np.ptp(fit_losses(own, "effective", 200)["qa"].predict_draws(CELLS[:1])) for own in losses]
    assert widths[1] > 3 * widths[0]
    with pytest.raises(StudyError, match="same held-out rows of 'qa'"):
        build_loss_arrays(items.iloc[1:])


def test_categories_have_any_names_and_a_target_may_be_trained_on_by_no_row():
    names = {"n_qa": "n_oncology", "n_ie": "n_cardiology", "n_gen": "n_notes"}
    table = simulate_losses("effective", TRUTHS["effective"], 2, 0).rename(columns=names)
    losses = build_loss_arrays(
        table.replace({"category": {"qa": "oncology", "ie": "cardiology", "gen": "other"}})
    )
    assert losses.categories == ("cardiology", "notes", "oncology")
    assert losses.targets == ("other", "cardiology", "oncology")
    fits = fit_losses(losses, "effective", 50)
    assert np.isfinite(fits["other"].draws).all()
    assert set(worth_table(fits, losses.categories)["target"]) == {"cardiology", "oncology"}
    with pytest.raises(StudyError, match="must be one of other, cardiology, oncology, mean, worst"):
        recommend(fits, losses.categories, 100, "qa")


def test_too_few_cells_and_a_missing_category_are_refused():
    table = simulate_losses("effective", TRUTHS["effective"], 1, 0)
    with pytest.raises(StudyError, match="needs 7 cells or more, but 5 were found"):
        build_loss_arrays(table[table["n_qa"] + table["n_ie"] == 0])
    with pytest.raises(StudyError, match="some lack one"):
        build_loss_arrays(table.iloc[1:])
    alone = table[(table[["n_qa", "n_ie", "n_gen"]] > 0).sum(axis=1) < 2]
    with pytest.raises(StudyError, match="No mixture can be left out"):
        cross_validate_laws(build_loss_arrays(alone), ["null"])


def test_simulated_items_differ_from_their_truth_by_noise_alone():
    items = simulate_items(300, n_items=2000, seed=1)
    means = items.groupby(["category", "cell"])[["score", "truth"]].mean()
    assert -means.loc[("qa", "qa+ie"), "truth"] == pytest.approx(expect_loss("qa", {"qa": 150, "ie": 150}))
    assert -means.loc[("gen", "base"), "truth"] == pytest.approx(expect_loss("gen", {}))
    base = means.xs("base", level="cell").reindex(means.index.get_level_values("category"))
    gains = means - base.to_numpy()
    np.testing.assert_allclose(gains["score"], gains["truth"], atol=0.03)
    untuned = items[items["cell"] == "base"].pivot(index=["category", "item"], columns="seed", values="score")
    assert (untuned.nunique(axis=1) == 1).all()


@pytest.mark.parametrize("name", ["mean", "worst"])
def test_a_category_cannot_bear_the_name_of_a_target_that_is_none(name):
    with pytest.raises(StudyError, match=f"category called '{name}' cannot be told"):
        check_goal("qa", ["qa", name])


def test_of_rows_that_are_there_no_mixture_takes_more_once_its_rows_are_whole_numbers():
    shares, named = list_candidates(("qa", "gen"), 10, {"qa": 6, "gen": 100}, True)  # 6.5 and 3.5 are no rows
    rows = [
        round_shares(dict(zip(("qa", "gen"), one, strict=True)), 10) for one in [*shares, *named.values()]
    ]
    assert max(one["qa"] for one in rows) == 6
