"""The audit of the published numbers: files that hold what they say, and functions checked by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from helpers.analysis.published import ablation, checks, claims, plus_minus, tables
from helpers.analysis.published.tables import (
    AuditSettings,
    check_source,
    load_facts,
    load_source,
    load_test_set_sizes,
)
from helpers.analysis.transfer import transfer_table
from helpers.errors import StudyError
from helpers.records import BASE

each_source = pytest.mark.parametrize("name", tables.SOURCES)


def make_pairs(*rows):
    """Return paired scores of (model, task, base, tuned)."""
    table = pd.DataFrame(rows, columns=["model", "task", "base", "tuned"])
    return table.assign(source="Table 9", metric="accuracy", error=0.0)


@each_source
def test_each_file_keeps_its_schema_and_names_its_own_source(name):
    table = load_source(name)
    assert tuple(table.columns) == tables.COLUMNS
    assert set(table["source"]) == {f"{name[:-1].capitalize()} {name[-1]}"}
    assert (table["reading_error"] == (0.1 if name.startswith("figure") else 0)).all()
    assert set(table["category"]) <= {"qa", "ie", "gen"}


def test_the_files_hold_every_number_of_the_paper():
    assert {name: len(load_source(name)) for name in tables.SOURCES} == {
        "table1": 14 * 5,
        "table2": 6 * 7,
        "table3": 6 * 12,
        "table4": 15,
        "figure2": 8 * 7,
        "figure3": 8 * 4,
    }
    cell = load_source("table1").query("model == 'LLaMA 2 7B' and cell == 'all' and task == 'BioASQ'")
    assert (cell["score"].item(), cell["plus_minus"].item()) == (84.76, 4.4353)
    assert load_facts().loc["claim_ie", "value"] == 5.7
    assert load_facts().loc["test_level", "value"] == AuditSettings().alpha
    assert set(load_test_set_sizes().index) == set(load_source("table1")["task"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="score"), "must have the columns"),
        (lambda table: table.assign(cell="QA"), "`cell` must be one of .* but 'QA' was found"),
        (
            lambda table: table.assign(score=101.0),
            r"within the range of its metric, but 101.0 was found \(toy.csv:2\)",
        ),
        (
            lambda table: pd.concat([table, table.head(1)], ignore_index=True),
            "row of line 72 of toy.csv repeats",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(change, message):
    with pytest.raises(StudyError, match=message):
        check_source(change(load_source("table1")), "toy.csv")


def test_a_score_of_the_judge_lies_between_one_and_five():
    table = load_source("table3")
    with pytest.raises(StudyError, match="range of its metric"):
        check_source(
            table.assign(score=table["score"].where(table["metric"] != "gpt4_coherence", 5.5)), "toy.csv"
        )


def test_base_and_tuned_are_paired_by_model_task_and_metric():
    pairs = tables.pair_scores(load_source("table2"))
    assert len(pairs) == 2 * 7
    row = pairs.query("model == 'LLaMA 1 7B' and task == 'Coreference' and metric == 'f1'").iloc[0]
    assert (row["base"], row["tuned"], row["base_plus_minus"], row["tuned_plus_minus"], row["error"]) == (
        43.8,
        55.14,
        0.1914,
        0.1765,
        0.005,
    )


def test_the_judges_mean_is_that_of_its_three_scores():
    table = tables.add_judge_mean(load_source("table3"))
    mean = table.query(
        "model == 'LLaMA 2 7B' and cell == 'base' and task == 'ICliniq' and metric == 'gpt4_mean'"
    )["score"].item()
    assert mean == pytest.approx((1.95 + 2.14 + 1.80) / 3)
    assert len(tables.add_judge_mean(load_source("table1"))) == 70


def test_averages_differ_as_they_do_by_hand():
    pairs = make_pairs(("A", "t1", 10, 20), ("A", "t2", 30, 40), ("B", "t1", 20, 30), ("B", "t2", 20, 20))
    assert claims.gain_of_mean(pairs) == pytest.approx((50 + 25) / 2)  # A: 40 to 60, B: 40 to 50
    assert claims.mean_of_gains(pairs) == pytest.approx((100 + 100 / 3 + 50 + 0) / 4)
    assert claims.gain_of_grand_mean(pairs) == pytest.approx(100 * (110 / 80 - 1))
    assert claims.gain_in_points(pairs) == pytest.approx(30 / 4)


def test_the_error_of_a_gain_is_that_of_the_worst_direction():
    pairs = make_pairs(("A", "t", 50, 60)).assign(error=0.1)
    assert claims.bound_error(claims.gain_in_points, pairs) == pytest.approx(0.2)
    assert claims.bound_error(claims.gain_of_mean, pairs) == pytest.approx(100 * (60.1 / 49.9 - 1.2))


@pytest.mark.parametrize(
    ("difference", "error", "is_figure", "verdict"),
    [
        (0.05, 0, False, "gives it"),
        (0.06, 0.01, False, "gives it"),
        (0.06, 0, False, "does not"),
        (0.05, 0.4, True, "gives it"),
        (-0.4, 0.4, True, "within reading error"),
        (0.46, 0.4, True, "does not"),
    ],
)
def test_a_verdict_follows_from_rounding_and_reading(difference, error, is_figure, verdict):
    assert (
        claims.claim_verdict(difference - math.copysign(1e-12, difference), 0.05, error, is_figure) == verdict
    )


@pytest.fixture(scope="module")
def ways():
    """List the ways once; no test changes them."""
    return claims.list_all_ways()


def test_the_headline_gains_have_the_verdicts_that_the_book_states(ways):
    summary = claims.summarize_ways(ways).set_index("claim")
    assert summary["all_models"].round(2).to_dict() == {"qa": 17.29, "ie": 12.43, "gen": 88.83}
    assert summary["verdict"].to_dict() == {
        "qa": "reproduced",
        "ie": "not found",
        "gen": "for single models only",
    }
    assert summary.loc["ie", "all_models"] > summary.loc["ie", "claimed"]
    assert summary.loc["ie", ["reproduce", "reading"]].sum() == 0
    assert (summary["ways"] > 50).all()


def test_a_single_metric_of_one_model_gives_the_generation_claim():
    ways = claims.list_ways("gen")
    hits = ways[ways["verdict"] == claims.REPRODUCES]
    coherence = hits[(hits["source"] == "Table 3") & (hits["tasks"] == "both tasks")]
    assert coherence[["models", "metrics"]].to_numpy().tolist() == [["LLaMA 2 7B", "GPT-4 coherence"]]
    assert coherence["value"].item() == pytest.approx(100 * ((4.45 + 4.86) / (2.80 + 1.95) - 1))
    assert hits["models"].isin(claims.MODELS["all"]).all()


def test_no_way_is_counted_twice(ways):
    assert not ways.duplicated(["claim", "source", "models", "tasks", "metrics", "average"]).any()
    assert set(ways.query("claim == 'ie' and source == 'Table 2'")["models"]) == {
        "all",
        "LLaMA 1 7B",
        "LLaMA 2 7B",
    }
    single = ways.query("models == 'LLaMA 1 7B' and tasks == 'MedQA'")
    assert set(single["average"]) == {"gain of means", "points"}


def test_the_table_of_ways_marks_what_reproduces(ways):
    table = claims.tabulate_ways(ways)
    first = table.iloc[0]
    assert (first["source"], first["tasks"], first["gain of means"]) == (
        "Table 1",
        "four QA tasks",
        "17.29 ✓",
    )
    assert (
        table.query("source == 'Figure 2' and tasks == 'four QA tasks'")["gain of means"].item() == "17.35 ~"
    )
    assert len(claims.nearest_ways(ways, 2)) == 6


def test_a_field_without_a_number_says_why_there_is_none(ways):
    table = claims.tabulate_ways(ways).set_index(["claim", "source", "tasks"])
    assert set(table.xs("gen")["points"]) == {claims.NO_AVERAGE}  # marks from 1 to 5 are no percentages
    one_task = table.loc[("ie", "Figure 2", "Coreference")]
    assert one_task.drop("points").iloc[1:].tolist() == [claims.SAME] * 2  # one model, one task: one mean
    assert table.notna().all(axis=None)
    assert not (table == "").any(axis=None)


@pytest.mark.parametrize(
    ("difference", "spread", "verdict"),
    [(0.105, 0, "agrees"), (-0.5, 0.4, "within ±"), (-0.51, 0.4, "differs"), (0.2, float("nan"), "differs")],
)
def test_two_numbers_agree_within_reading_then_within_their_spread(difference, spread, verdict):
    table = checks.compare_numbers(
        pd.Series({"a": 1.0}), pd.Series({"a": 1 + difference, "b": 2.0}), 0.105, spread
    )
    assert table["verdict"].tolist() == [verdict]
    assert table["difference"].item() == pytest.approx(difference)


def test_tables_and_figures_disagree_where_they_do():
    compared = checks.run_checks().set_index(["check", "where"])
    bioasq = compared.loc[("Tables 1-3, Figure 2", "BioASQ, all")]
    assert (bioasq["first"], bioasq["second"], bioasq["verdict"]) == (84.76, 79.3, "differs")
    assert compared.loc[("Tables 1-3, Figure 2", "PubMedQA, base"), "verdict"] == "within ±"
    assert compared.loc[("Figures 2 and 3", "Conv2note, all"), "verdict"] == "differs"
    table4 = compared.loc["Table 4, Figure 2"]
    assert set(table4[table4.index.str.startswith("qa")]["verdict"]) == {"agrees"}
    assert set(table4[table4.index.str.startswith("ie")]["verdict"]) == {"differs"}
    assert table4.loc["gen, ie", "verdict"] == "differs"


def test_gains_of_pairs_are_formed_from_the_figure_as_by_hand():
    gains = checks.gain_of_pairs()
    assert gains["qa", "qa+ie"] == pytest.approx(
        100 * ((39.52 + 33.86 + 60.61 + 80.01) / (37.08 + 36.68 + 60.81 + 79.29) - 1)
    )
    assert len(gains) == 6


def test_f1_is_held_against_the_harmonic_mean_of_its_parts():
    table = checks.compare_f1().set_index("where")
    row = table.loc["PMC-LLaMA 7B, other group, Coreference"]
    assert row["first"] == pytest.approx(2 * 56.56 * 47.37 / (56.56 + 47.37))
    assert row["below"]
    assert not table.loc["LLaMA 2 7B, all, Coreference", "below"]


def test_shares_may_miss_the_whole_by_their_rounding():
    shares = checks.compare_shares().set_index("where")
    assert shares.loc["sum of the shares (%)", "second"] == pytest.approx(100.1)
    assert set(shares["verdict"]) == {"agrees"}


def test_statements_of_order_are_counted():
    wins = checks.count_wins()
    assert wins["of"].tolist() == [58, 24, 8, 6]
    assert wins["held"].tolist() == [56, 17, 6, 3]


def test_printed_digits_tell_the_number_of_runs():
    assert plus_minus.fits_runs(67.14, 140, 1)  # 94 of 140
    assert not plus_minus.fits_runs(68.43, 140, 1)
    assert plus_minus.fits_runs(68.43, 140, 5)  # 479 of 700
    assert not plus_minus.fits_runs(84.76, 140, 5)
    assert plus_minus.fits_runs(84.76, 140, 3)  # 356 of 420
    assert plus_minus.expect_fits(140, 5) == pytest.approx(0.07)
    assert plus_minus.expect_fits(4183, 5) == 1


def test_chance_fits_are_as_many_as_expected():
    scores = np.arange(4000, 6000) / 100
    assert np.mean([plus_minus.fits_runs(score, 140, 5) for score in scores]) == pytest.approx(
        plus_minus.expect_fits(140, 5), abs=0.005
    )


def test_bioasq_was_run_five_times_and_three_times_for_two_models():
    fits = plus_minus.count_fitting_scores().set_index(["task", "n_runs"])["fits"]
    assert fits["BioASQ", 5] == 12
    assert plus_minus.list_misfits("BioASQ", 5)[["model", "fewest"]].to_numpy().tolist() == [
        ["LLaMA 2 7B", 3],
        ["LLaMA 2 13B", 3],
    ]
    whole = plus_minus.find_whole_answers()
    assert whole["fits"].all()
    assert whole.query("cell == 'base'")["right"].item() == 92
    assert plus_minus.expect_whole_answers() == pytest.approx(0.28)


def test_each_interpretation_turns_a_spread_into_a_standard_error():
    read = {name: to_error(0.9, 9) for name, to_error in plus_minus.INTERPRETATIONS.items()}
    assert read["standard deviation over runs"] == pytest.approx(0.3)
    assert read["standard error"] == 0.9
    assert read["variance over runs"] == pytest.approx(math.sqrt(0.1))
    assert read["half of a 95 % interval"] == pytest.approx(0.9 / 2.306, abs=1e-4)


@pytest.mark.parametrize("interpretation", plus_minus.INTERPRETATIONS)
def test_the_smallest_spread_is_that_of_one_answer_in_one_run(interpretation):
    runs = np.array([30.0, 30, 30, 30, 31])
    error = runs.std(ddof=1) / math.sqrt(5)
    assert plus_minus.INTERPRETATIONS[interpretation](
        plus_minus.SMALLEST[interpretation](1.0, 5), 5
    ) == pytest.approx(error)


def test_a_gain_far_beyond_its_spread_survives_and_one_within_does_not():
    gains = pd.DataFrame(
        {
            "base": [30.0, 30.0],
            "tuned": [40.0, 30.1],
            "base_plus_minus": [0.5, 0.5],
            "tuned_plus_minus": [0.5, 0.5],
        }
    )
    p_values = plus_minus.compute_p_over_runs(gains, "standard deviation over runs", 5)
    assert p_values[0] < 1e-6
    assert p_values[1] > 0.5


def test_a_difference_over_questions_has_the_p_value_of_two_proportions():
    p_value = plus_minus.compute_p_over_items(np.array([50.0]), np.array([60.0]), np.array([100]))
    z = 0.1 / math.sqrt(0.5 * 0.5 / 100 + 0.6 * 0.4 / 100)
    assert p_value[0] == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_fewer_runs_support_no_more_and_questions_do_not_depend_on_runs():
    five, two = (
        plus_minus.count_survivors(AuditSettings(n_runs=n)).set_index("interpretation") for n in (5, 2)
    )
    assert (two["holm"] <= five["holm"]).all()
    assert five.loc["± is half of a 95 % interval", ["tests", "holm", "too_small"]].tolist() == [50, 48, 4]
    questions = five.loc["new questions, Table 1 only"]
    assert (
        questions[["tests", "unadjusted", "holm"]].tolist()
        == two.loc["new questions, Table 1 only", ["tests", "unadjusted", "holm"]].tolist()
        == [20, 15, 11]
    )
    strict = plus_minus.count_survivors(AuditSettings(alpha=0.001))["holm"]
    assert strict.sum() < five["holm"].sum()


def test_every_spread_is_smaller_than_the_draw_of_questions():
    errors = plus_minus.compare_errors().set_index("task")
    assert (errors["smaller"] == errors["of"]).all()
    assert plus_minus.error_from_items(50.0, 100) == 5
    assert errors.loc["BioASQ", "detectable"] > errors.loc["MedMCQA", "detectable"]


def test_cells_hold_their_shares_of_the_rows():
    rows = ablation.count_rows()
    assert (rows["qa"], rows["ie"], rows["gen"], rows["all"]) == (5701, 8452, 8377, 25005)
    assert rows["qa+ie"] == pytest.approx(rows["qa"] + rows["ie"], abs=1)


def test_the_papers_transfer_matrix_has_the_form_of_ours():
    theirs = ablation.published_transfer_table()
    row = theirs.query("trained_on == 'qa' and tested_on == 'ie'").iloc[0]
    assert row["estimate"] == pytest.approx(((71.94 - 66.98) + (60.56 - 49.74)) / 200)
    judged = theirs.query("trained_on == 'all' and tested_on == 'gen'")["estimate"].item()
    assert judged == pytest.approx(((4.864 - 2.101) + (4.571 - 2.702)) / 8)
    assert len(theirs) == 18
    items = pd.DataFrame(
        [
            {"cell": cell, "task": "medication_status", "category": "ie", "item": item, "score": score}
            for cell, score in ((BASE, 0.5), ("qa", 0.4), ("ie", 0.6))
            for item in range(3)
        ]
    )
    both = ablation.compare_directions(
        transfer_table(items, ["qa", "ie"]), theirs, ["trained_on", "tested_on"]
    )
    assert both.set_index("trained_on")["same_sign"].to_dict() == {"qa": False, "ie": True}


def test_additions_set_the_printed_gain_beside_the_recomputed_one():
    table = ablation.published_addition_table().set_index(["target", "added"])
    assert len(table) == 6
    assert table.loc[("ie", "qa"), ["percent", "percent_figure"]].tolist() == pytest.approx(
        [2.04, 1.1888], abs=1e-3
    )


def test_reach_is_the_part_of_the_full_mixtures_gain():
    row = ablation.share_of_full_gain().query("cell == 'qa' and task == 'PubMedQA'").iloc[0]
    assert row["estimate"] == pytest.approx((60.81 - 57.91) / (63.71 - 57.91))
    assert row["high"] - row["estimate"] == pytest.approx(0.2 / 5.8)
    beyond = ablation.share_of_full_gain().query("estimate > 1.1").iloc[0]
    whole = 2 * 0.1 / (row["high"] - row["estimate"])  # of PubMedQA
    assert whole == pytest.approx(5.8)
    scores = load_source("figure2").query(f"task == '{beyond['task']}'").set_index("cell")["score"]
    expected = 0.1 * 2 * beyond["estimate"] / (scores["all"] - scores["base"])
    assert beyond["high"] - beyond["estimate"] == pytest.approx(expected)
    sizes = ablation.share_by_size()
    assert (sizes.query("kind == 'curve' and n_rows == 25005")["share_of_gain"] == 1).all()
    assert sizes.query("kind == 'cell'")["n_rows"].between(5701, 16828).all()
    assert ablation.count_above_curve() == {"own_above": 2, "own": 3, "other_above": 4, "other": 6}


def test_doubling_the_rows_lowered_most_tasks():
    table = ablation.change_with_size().set_index("task")
    assert table.loc["BioASQ", "percent"] == pytest.approx(100 * (73.56 / 74.98 - 1))
    assert (table["percent"] < 0).sum() == 6
    assert ablation.change_of_means()["ie"] == pytest.approx(100 * ((60.18 + 70.24) / (62.27 + 72.62) - 1))


def test_table_4_is_set_beside_the_figure_relative_to_the_own_category():
    table = ablation.compare_with_single().set_index(["category", "cell"])
    assert table.loc[("ie", "gen"), "printed"] == pytest.approx(100 * (65.17 / 72.43 - 1))
    assert table.loc[("ie", "qa+ie"), "printed"] == 2.04
    assert len(table) == 12
    assert (table["low"] < table["figure"]).all()


def test_differences_between_cells_do_not_survive_the_questions():
    assert ablation.count_cell_differences(0.05) == {"tests": 16, "unadjusted": 2, "holm": 0}
