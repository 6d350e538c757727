"""The forecast from the lattice beside what was measured afterwards, on losses whose law is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from helpers.analysis.contrasts import count_seeds, describe_interval, stack_scores
from helpers.analysis.hypotheses import add_holm
from helpers.analysis.mixing import forecast
from helpers.analysis.mixing.cross_validation import average_errors, cross_validate_laws
from helpers.analysis.mixing.fit_intervals import fit_losses
from helpers.analysis.mixing.laws import build_law
from helpers.analysis.mixing.recommendation import EQUAL, NATURAL
from helpers.analysis.mixing.simulation import design_cells, expect_loss, true_parameters
from helpers.analysis.reference_losses import (
    FULL_MIXTURE,
    collect_size_gains,
    collect_synergies_by_size,
    compare_additive_budget,
    compare_doubled_rows,
    compare_synergies_with_control,
    compare_with_control,
    count_lattice_rows,
    select_loss_items,
)
from helpers.analysis.sensitivity import pool_seeds, pooled_variance
from helpers.analysis.transfer import synergy_contrasts, synergy_table, transfer_table
from helpers.records import SHUFFLED
from helpers.study.endpoints import keep_held_out, loss_to_log_likelihood
from helpers.study.grid import BASE, LATTICE, SINGLES, list_row_columns
from helpers.study.losses import ITEM_COLUMNS, KEYS, LossTables
from helpers.tuning.controls import MATCHED_LENGTHS

LATER = ("qa:39+ie:56+gen:55", "qa:100+ie:25+gen:25")
N_ITEMS, N_TOKENS = 20, 9


def make_tables(more=(), noise=0.001, n_rows=150, shift=0.0):
    """Return tables of a lattice under three seeds and of some cells (name, rows, seed) more, which lose by
    the law `effective`; `shift` is what the first seed adds to every loss.
    """
    random = np.random.default_rng(3)
    items = [(f"held_out_{name}", f"{name}-{i}", name) for name in SINGLES for i in range(N_ITEMS)]
    cells = [(BASE, 0, None)] + [(name, n_rows, seed) for seed in (1, 2, 3) for name in LATTICE[1:]]
    ease = random.normal(0, 0.2, len(items))
    about = pd.DataFrame(items, columns=[*KEYS, "category"]).assign(n_text_tokens=N_TOKENS, n_text_bytes=30)
    columns, rows = {}, []
    for name, size, seed in (*cells, *more):
        counts = np.array([list(list_row_columns(name, size, SINGLES).values())], dtype=float)
        loss = {
            target: build_law("effective", SINGLES, target, design_cells()).predict(
                true_parameters(target), counts
            )[0]
            for target in SINGLES
        }
        off = (shift if seed == 1 else 0.0) + random.normal(0, noise)
        cell = name if seed is None else f"{name}-n{size}-s{seed}"
        columns[cell] = (about["category"].map(loss).to_numpy() + ease + off) * (N_TOKENS + 1)
        rows.append({"id": cell, "cell": name, "n_rows": size, "seed": seed})
    words = pd.DataFrame(columns, index=pd.MultiIndex.from_frame(about[KEYS]))
    return LossTables(
        {"text": words, "end": 0 * words, "choice": np.nan * words, "calibrated": np.nan * words},
        about.set_index(KEYS)[ITEM_COLUMNS],
        pd.DataFrame(rows),
        {},
    )


@pytest.fixture(scope="module")
def found():
    tables = make_tables()
    fits = fit_losses(forecast.read_lattice(tables), "effective", 200)
    return fits, forecast.recommend_mixture(tables, fits)


def name_best(found):
    return forecast.mixture_name(found[1].rows)


def test_the_lattice_is_read_without_what_was_tuned_later():
    plain = make_tables()
    full = make_tables([(LATER[0], 150, 1), *((name, size, 1) for size in (75, 300) for name in SINGLES)])
    assert count_lattice_rows(full) == 150
    np.testing.assert_array_equal(forecast.read_lattice(full).counts, forecast.read_lattice(plain).counts)
    assert forecast.read_lattice(full, [2]).losses_by_seed.shape[2] == 1


def test_cells_beside_the_lattice_are_predicted_under_their_own_seeds():
    more = [(name, 150, 1) for name in LATER] + [(name, 75, seed) for seed in (1, 2) for name in SINGLES]
    tables = make_tables(more, shift=0.3)
    table = forecast.predict_later(tables, ["effective", "null"])
    ours = table[table["law"] == "effective"]
    assert ours.groupby("kind")["n_seeds"].agg(set).to_dict() == {"mixture": {1}, "rows": {2}}
    assert ours.loc[ours["kind"] == "mixture", "error"].max() < 2  # over ten without the seed's own lattice
    mean = average_errors(table).query("category == 'all'").set_index(["law", "kind"])["error"]
    assert mean["effective", "mixture"] < mean["null", "mixture"]
    assert mean["effective", "rows"] < mean["null", "rows"]


def test_later_mixtures_stand_with_their_error_and_the_worst_one_is_named():
    far = "qa:10+gen:140"
    tables = make_tables([(name, 150, seed) for name in (LATER[0], far) for seed in (1, 2)])
    later = forecast.predict_later(tables, ["null"])
    table = forecast.tabulate_later_mixtures(later, "null").set_index("mixture")
    assert list(table.index) == [far, LATER[0]]
    assert set(table["n_seeds"]) == {2}
    own = later[later["n_gen"] == 140]
    assert table.loc[far, "error"] == pytest.approx(own["error"].mean())
    worst = own.loc[own["error"].idxmax()]
    said = forecast.describe_worst_mixture(later, "null")
    assert f"misses {far} most: {own['error'].mean():.1f} %" in said
    assert f"predicted {worst['predicted']:.3f}, observed {worst['observed']:.3f}" in said
    assert (forecast.count_training_rows(later) == 150).all()


def test_errors_under_fewer_seeds_stand_beside_that_of_a_perfect_law():
    cells = [(name, 150, seed) for name in LATER for seed in forecast.TRAINING_SEEDS]
    tables = make_tables([*cells, ("qa", 75, 1)])
    table = forecast.compare_numbers_of_seeds(tables, "null").set_index("n_seeds")
    later = forecast.predict_later(tables, ["null"])
    assert table.loc[3, "error"] == pytest.approx(later.loc[later["kind"] == "mixture", "error"].mean())
    first = tables.cells["seed"].isna() | (tables.cells["seed"] == 1)
    alone = forecast.predict_later(dataclasses.replace(tables, cells=tables.cells[first]), ["null"])
    assert table.loc[1, "error"] == pytest.approx(alone.loc[alone["kind"] == "mixture", "error"].mean())
    floor = forecast.measure_noise_floor(forecast.read_lattice(tables), 1)
    assert table["perfect_law"].tolist() == pytest.approx([floor / n**0.5 for n in (1, 2, 3)])


def test_without_later_mixtures_the_sentence_says_so():
    sizes = forecast.predict_later(make_tables([(name, 75, 1) for name in SINGLES]), ["null"])
    for later in (sizes, sizes.head(0)):
        assert forecast.tabulate_later_mixtures(later, "null").empty
        assert "tuned yet" in forecast.describe_worst_mixture(later, "null")


def test_nothing_is_predicted_where_nothing_was_tuned_later_or_its_seed_is_not_in_the_lattice():
    assert forecast.predict_later(make_tables(), ["null"]).empty
    assert forecast.predict_later(make_tables([(LATER[0], 150, 9)]), ["null"]).empty


def test_what_is_not_measured_yet_is_empty_and_the_sentence_says_so(found):
    tables = make_tables()
    table = forecast.compare_forecast(tables, *found).set_index("mixture")
    assert table["measured"].notna().to_dict() == {
        forecast.RECOMMENDED: False,
        EQUAL: True,
        NATURAL: False,
        forecast.BEST_SINGLE: True,
    }
    gains = forecast.compare_gains(tables, found[1])
    assert gains.empty
    assert "untested" in forecast.describe_outcome(gains)
    assert "not tuned yet" in forecast.summarise_outcome(found[1], gains)


def test_forecast_and_measurement_stand_beside_each_other(found):
    best = name_best(found)
    tables = make_tables([(name, 150, seed) for name in (best, LATER[0]) for seed in (1, 2)])
    table = forecast.compare_forecast(tables, *found)
    assert table["cell"].tolist()[:3] == [best, "qa+ie+gen", LATER[0]]
    np.testing.assert_allclose(table["predicted"], table["measured"], atol=0.1)  # items shift all alike
    np.testing.assert_allclose(table[["seed_1", "seed_2"]].mean(axis=1), table["measured"])
    assert (table["n_seeds"] == 2).all()
    gains = forecast.compare_gains(tables, found[1])
    np.testing.assert_allclose(gains["predicted"], gains["estimate"], atol=0.01)
    assert gains["predicted"].min() >= 0
    said = forecast.describe_outcome(gains)
    assert "Under 2 training seeds the mixture with the lowest measured loss is the recommended one." in said


def test_a_forecast_that_failed_is_told_as_it_is(found):
    best = name_best(found)
    tables = make_tables([(best, 150, seed) for seed in (1, 2, 3)], noise=0.0001)
    worse = tables.losses["text"].copy()
    worse[[name for name in worse if name.startswith(best)]] += 0.5 * (N_TOKENS + 1)
    failed = dataclasses.replace(tables, losses=tables.losses | {"text": worse})
    gains = forecast.compare_gains(failed, found[1])
    said = forecast.describe_outcome(gains)
    summary = forecast.summarise_outcome(found[1], gains)
    assert summary.endswith(f"was clearly worse than {EQUAL} or extraction alone.")
    assert "the recommended one." not in said
    assert f"it is worse than {EQUAL} (gain −0." in said


def test_runs_that_differ_set_a_floor_to_the_error_of_any_law():
    quiet, loud = (forecast.read_lattice(make_tables(noise=noise)) for noise in (0.002, 0.02))
    assert forecast.measure_noise_floor(loud, 1) > 3 * forecast.measure_noise_floor(quiet, 1)
    assert forecast.measure_noise_floor(loud, 4) == pytest.approx(forecast.measure_noise_floor(loud, 1) / 2)


def test_gains_by_size_take_the_models_as_they_are_and_give_no_interval_of_one_seed():
    names = [*SINGLES, FULL_MIXTURE]
    more = [(name, size, seed) for name in names for size in (75, 300) for seed in (1, 2, 3)]
    more += [(name, 600, 1) for name in names] + [("qa", 1200, 1), (FULL_MIXTURE, 600, 2)]
    table = collect_size_gains(make_tables(more))
    n_seeds = table.groupby("n_rows")["n_seeds"].first().to_dict()
    assert n_seeds == {75: 3, 150: 3, 300: 3, 600: 1}
    own = table[(table["trained_on"] == "gen") & (table["tested_on"] == "gen")].set_index("n_rows")
    assert own["estimate"].is_monotonic_increasing
    assert own.loc[75, "estimate"] > 0
    assert own["low"].isna().tolist() == [False, False, False, True]
    assert collect_size_gains(make_tables()).empty


def test_twice_the_rows_are_compared_under_the_seeds_that_both_numbers_have():
    names = [*SINGLES, FULL_MIXTURE]
    more = [(name, 75, seed) for name in names for seed in (1, 2)] + [(name, 300, 1) for name in names]
    tables = make_tables(more)
    table = compare_doubled_rows(tables)
    assert table["n_rows"].unique().tolist() == [75]  # of 300 rows there is one seed
    assert len(table) == len(names) * len(SINGLES)
    assert (table["n_seeds"] == 2).all()
    gains = collect_size_gains(dataclasses.replace(tables, cells=tables.cells[tables.cells["seed"] != 3]))
    by_size = gains.set_index(["n_rows", "trained_on", "tested_on"])["estimate"]
    differences = table.set_index(["trained_on", "tested_on"])["estimate"]
    expected = (by_size[150] - by_size[75]).reindex(differences.index)
    np.testing.assert_allclose(differences, expected)


def test_all_models_are_fitted_together_whatever_seeds_they_have():
    names = [*SINGLES, FULL_MIXTURE]
    more = [(name, 75, seed) for name in names for seed in (1, 2, 3, 4)] + [(name, 600, 1) for name in names]
    more += [(name, 150, seed) for name in LATTICE[1:] for seed in (4, 5)]
    tables = make_tables(more)
    losses, n_rows = forecast.read_all(tables), forecast.read_all(tables).counts.sum(axis=1)
    found = {size: set(losses.seed_weights[n_rows == size].tolist()) for size in (75, 150, 600)}
    assert found == {75: {4}, 150: {5}, 600: {1}}
    assert forecast.read_lattice(tables).losses_by_seed.shape[2] == 3  # the forecast stays what it was
    law_errors = average_errors(cross_validate_laws(losses, ["effective", "null"])).query("category == 'all'")
    errors = law_errors.set_index(["law", "kind"])["error"]
    assert errors["effective", "rows"] < 0.5 < errors["null", "rows"]
    fits = fit_losses(losses, "effective", 50)
    few, many = (forecast.recommend_mixture(tables, fits, n_rows=n) for n in (150, 600))
    assert sum(many.rows.values()) == 600
    assert many.loss < few.loss


@pytest.mark.parametrize(
    ("signs", "start", "end"),
    [
        (
            (0, 0),
            "This run cannot say.",
            f"was neither clearly better nor clearly worse than {EQUAL} or extraction alone.",
        ),
        ((1, 1), "For the mean", f"clearly better than {EQUAL} or extraction alone."),
        ((1, -1), "For the mean", f"clearly better than {EQUAL}; clearly worse than extraction alone."),
        (
            (0, -1),
            "For the mean",
            f"clearly worse than extraction alone; neither clearly better nor clearly worse than {EQUAL}.",
        ),
    ],
)
def test_the_first_page_says_how_the_recommended_mixture_fared(found, signs, start, end):
    rows = [(EQUAL, "qa+ie+gen"), (forecast.BEST_SINGLE, "ie")]
    gains = pd.DataFrame(
        {"mixture": mixture, "cell": cell, "estimate": 0.1 * sign, "n_seeds": 3}
        | {"low": 0.1 * sign - 0.05, "high": 0.1 * sign + 0.05, "p_holm": 0.01 if sign else 0.9}
        for (mixture, cell), sign in zip(rows, signs, strict=True)
    )
    said = forecast.summarise_outcome(found[1], gains)
    assert said.startswith(start)
    assert said.endswith(end)
    rows_of = [f"{n} {name}" for name, n in found[1].rows.items() if n]
    assert all(text.split()[0] in said for text in rows_of)


def test_a_seed_counts_for_the_lattice_once_all_of_its_cells_are_there():
    more = [(name, 150, seed) for name in LATTICE[1:] for seed in (4, 5)]
    whole, partial = (select_loss_items(make_tables(cells), LATTICE) for cells in (more, more[:-2]))
    assert (count_seeds(whole), count_seeds(partial)) == (5, 3)
    assert describe_interval(whole) == "over the items and 5 training seeds"
    assert set(synergy_table(whole)["n_seeds"]) == {5}


def test_pooled_seeds_of_the_whole_lattice_rest_on_all_its_tuned_cells():
    more = [(name, 150, seed) for name in LATTICE[1:] for seed in (4, 5)]
    items = select_loss_items(make_tables(more, noise=0.02), LATTICE)
    contrasts = synergy_contrasts()
    cells = [*SINGLES, *contrasts]
    stacks = stack_scores(items[items["category"] == "qa"], cells)
    _, [(_, df), _] = pooled_variance(stacks, cells, contrasts["qa+ie"])
    assert df == len(cells) * 4
    pooled = pool_seeds(items, contrasts)
    assert pooled[["low_pooled", "high_pooled", "p_pooled"]].notna().all(axis=None)


def test_with_the_additive_budget_a_pair_stands_against_half_as_many_rows_of_its_single():
    halves = [(name, 75, seed) for name in SINGLES for seed in (2, 3)]
    table = compare_additive_budget(make_tables(halves, noise=0.0)).set_index(["target", "added"])
    assert set(table["n_seeds"]) == {2}
    expected = expect_loss("qa", {"qa": 75}) - expect_loss("qa", {"qa": 75, "ie": 75})
    assert table.loc[("qa", "ie"), "estimate"] == pytest.approx(expected)
    assert compare_additive_budget(make_tables()).empty
    assert set(compare_additive_budget(make_tables(halves[:-1]))["n_seeds"]) == {1}


def add_controls(tables, kind, worse_by):
    """Return tables with controls of some cells, under the first two seeds, that lose so much more (nats a
    token).
    """
    cells, words = tables.cells, tables.losses["text"]
    own = cells[cells["cell"].isin(worse_by) & (cells["seed"] < 3)]
    control = own.assign(cell=own["cell"] + f"~{kind}", id=own["id"].str.replace("-n", f"~{kind}-n"))
    losses = {
        new: words[old] + worse_by[cell] * (N_TOKENS + 1)
        for old, new, cell in zip(own["id"], control["id"], own["cell"], strict=True)
    }
    values = {name: table.join(pd.DataFrame(losses)) for name, table in tables.losses.items()}
    values["end"] = 0 * values["text"]
    return dataclasses.replace(tables, losses=values, cells=pd.concat([cells, control], ignore_index=True))


@pytest.mark.parametrize("kind", [SHUFFLED, MATCHED_LENGTHS])
def test_rows_stand_beside_the_rows_of_their_control(kind):
    tables = make_tables()
    assert compare_with_control(tables, kind).empty
    full = add_controls(tables, kind, dict.fromkeys(SINGLES, 0.1))
    table = compare_with_control(full, kind)
    assert (len(table), set(table["n_rows"]), set(table["n_seeds"])) == (9, {150}, {2})
    np.testing.assert_allclose(table["estimate"], 0.1)
    assert (table["p_holm"] >= table["p"]).all()
    gains = transfer_table(select_loss_items(tables, [BASE, *SINGLES]), SINGLES)
    assert table["control"].to_numpy() == pytest.approx(gains["estimate"].to_numpy() - 0.1, abs=0.01)
    assert forecast.predict_later(full, ["null"]).empty  # a control is no mixture


def test_synergies_stand_beside_those_of_the_controls_where_both_lattices_are_there():
    worse = dict.fromkeys(LATTICE[1:], 0.1) | {"qa+gen": 0.3, "ie": 0.2}
    table = compare_synergies_with_control(
        add_controls(make_tables(), MATCHED_LENGTHS, worse), MATCHED_LENGTHS
    )
    assert table.groupby("rows").size().to_dict() == {"as they are": 9, "control": 9, "difference": 9}
    assert (set(table["n_rows"]), set(table["n_seeds"])) == ({150}, {2})
    wide = table.pivot(index=["contrast", "tested_on"], columns="rows", values="estimate")
    np.testing.assert_allclose(wide["difference"], wide["as they are"] - wide["control"])
    # how much worse a pair's controls are, beyond the mean of its parts
    added = {"qa+gen": 0.2, "qa+ie": -0.05, "ie+gen": -0.05}
    assert wide["difference"].groupby("contrast").mean().to_dict() == pytest.approx(added)
    own = table[table["rows"] == "difference"]
    expected = add_holm(own.drop(columns="p_holm"))["p_holm"]
    pd.testing.assert_series_equal(own["p_holm"], expected)
    without_pair = dict.fromkeys(LATTICE[1:-1], 0.1)
    partial = add_controls(make_tables(), MATCHED_LENGTHS, without_pair)
    assert compare_synergies_with_control(partial, MATCHED_LENGTHS).empty


def test_synergies_of_another_lattice_stand_beside_once_it_is_there_under_two_seeds():
    more = [(name, 300, seed) for name in LATTICE[1:] for seed in (1, 2)]
    both = collect_synergies_by_size(make_tables(more))
    assert both.groupby("n_rows")["n_seeds"].agg(set).to_dict() == {150: {3}, 300: {2}}
    tables = make_tables(more)
    again = loss_to_log_likelihood(keep_held_out(tables.collect(LATTICE, 300)))
    own = both[both["n_rows"] == 300].drop(columns="n_rows").reset_index(drop=True)
    pd.testing.assert_frame_equal(own, add_holm(synergy_table(again)))
    assert set(collect_synergies_by_size(make_tables(more[:-1]))["n_rows"]) == {150}
