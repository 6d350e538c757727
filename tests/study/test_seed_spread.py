"""The spread over training seeds that a run of one seed takes from models measured before."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from helpers.analysis.contrasts import contrast, contrast_by_category, describe_interval
from helpers.models import load
from helpers.paths import RESULTS
from helpers.study import seed_spread, study
from helpers.study.losses import load_losses
from helpers.study.seed_spread import MEASURED_SEEDS_FOLDER, add_spread, read_measured_seeds
from helpers.study.study import Study
from helpers.study.tables import list_differences, read_manifest


def make_losses(means, n=20):
    """Return losses of cells by seed, the same on every item: nothing but seeds moves them."""
    return pd.DataFrame(
        {
            "cell": cell,
            "seed": seed,
            "task": "held_out_qa",
            "category": "qa",
            "item": f"i{item}",
            "score": value + 0.01 * item,
        }
        for cell, values in means.items()
        for seed, value in enumerate(values, 1)
        for item in range(n)
    )


MEASURED = make_losses({"base": [0.0] * 4, "qa": [0.8, 1.0, 1.2, 1.0], "ie": [0.5, 0.9, 0.1, 0.5]})


def test_a_run_of_one_seed_takes_the_spread_that_others_show():
    run = add_spread(make_losses({"base": [0.0], "qa": [1.0]}), MEASURED)
    row = contrast(run, {"qa": 1.0, "base": -1.0})
    deviation = np.std([0.8, 1.0, 1.2, 1.0], ddof=1)
    assert (row["low"], row["high"]) == pytest.approx(t.interval(0.95, 3, loc=1.0, scale=deviation))
    assert row["p"] == pytest.approx(2 * t.sf(1 / deviation, 3))
    assert row["n_seeds"] == 1
    by_category = contrast_by_category(run, {"gain": {"qa": 1.0, "base": -1.0}}).iloc[0]
    assert by_category[["low", "high", "p"]].tolist() == [row[name] for name in ("low", "high", "p")]
    assert "measured before" in describe_interval(run)


def test_cells_move_apart_and_one_that_was_not_measured_takes_the_largest_spread():
    run = add_spread(make_losses({"base": [0.0], "qa": [1.0], "qa+ie": [1.0]}), MEASURED)
    variances = run.groupby("cell")["seed_variance"].first()
    of_qa, of_ie = np.var([0.8, 1.0, 1.2, 1.0], ddof=1), np.var([0.5, 0.9, 0.1, 0.5], ddof=1)
    assert variances.to_dict() == pytest.approx({"base": 0.0, "qa": of_qa, "qa+ie": of_ie})
    row = contrast(run, {"qa+ie": 1.0, "qa": -0.5, "base": -0.5})
    half = t.ppf(0.975, 3) * (of_ie + of_qa / 4) ** 0.5
    assert row["high"] - row["estimate"] == pytest.approx(half)


def test_several_tasks_of_a_cell_move_together():
    second = MEASURED.assign(task="held_out_ie", score=3 * MEASURED["score"])
    one = make_losses({"base": [0.0], "qa": [1.0]})
    run = pd.concat([one, one.assign(task="held_out_ie")])
    row = contrast(add_spread(run, pd.concat([MEASURED, second])), {"qa": 1.0, "base": -1.0})
    deviation = 2 * np.std([0.8, 1.0, 1.2, 1.0], ddof=1)  # the mean of one and three times
    assert row["high"] - row["estimate"] == pytest.approx(t.ppf(0.975, 3) * deviation)


@pytest.mark.parametrize(
    ("run", "measured"),
    [
        (make_losses({"base": [0.0, 0.0], "qa": [1.0, 1.1]}), MEASURED),
        (make_losses({"base": [0.0], "qa": [1.0]}).assign(task="exam_choice"), MEASURED),
        (make_losses({"base": [0.0], "qa": [1.0]}), None),
    ],
    ids=["several seeds", "another task", "nothing measured"],
)
def test_there_is_nothing_to_add(run, measured):
    pd.testing.assert_frame_equal(add_spread(run, measured), run)


@pytest.fixture
def defaults(monkeypatch):
    """A study whose model and rows are those that were measured."""
    kept = read_manifest(MEASURED_SEEDS_FOLDER)

    def identify_losses(study):
        own = {"losses": dataclasses.asdict(study.loss_settings), "budget": study.grid_settings.budget}
        return kept | {"settings": kept["settings"] | own}

    monkeypatch.setattr(seed_spread, "identify_losses", identify_losses)
    return Study.from_parameters({})


def test_the_defaults_have_a_measured_spread(defaults):
    found = read_measured_seeds(defaults, "loss", 48)
    assert found["seed"].nunique() >= 5
    assert set(found["cell"]) == {"base", "qa", "ie", "gen"}
    words = read_measured_seeds(defaults, "text", 48)
    assert not np.allclose(words["score"], found["score"])


@pytest.mark.parametrize("endpoint", ["choice", "calibrated", "score"])
def test_an_endpoint_of_the_tasks_has_none(defaults, endpoint):
    assert read_measured_seeds(defaults, endpoint, 48) is None


@pytest.mark.parametrize(
    "changed",
    [{"n_rows": 96}, {"n_held_out": 20}, {"budget": "additive"}],  # whose pairs have 96 rows
    ids=["rows", "held-out rows", "budget"],
)
def test_another_study_has_none(defaults, changed):
    study = Study.from_parameters(changed)
    assert read_measured_seeds(study, "loss", study.tuning_settings.n_rows) is None


@pytest.mark.parametrize(
    ("dtype", "on_gpu", "has_spread"),
    [("auto", False, True), ("float32", True, True), ("auto", True, False), ("bfloat16", False, False)],
)
def test_a_run_takes_the_spread_of_its_own_number_format_alone(dtype, on_gpu, has_spread, monkeypatch):
    monkeypatch.setattr(load, "has_gpu", lambda: on_gpu)
    found = read_measured_seeds(Study.from_parameters({"dtype": dtype}), "loss", 48)
    assert (found is not None) == has_spread


def test_a_size_curve_takes_no_spread_of_models_of_another_size(defaults, monkeypatch):
    run = make_losses({"base": [0.0], "qa": [1.0]}).assign(text=0.5, end=0.5, n_text_tokens=4)
    monkeypatch.setattr(Study, "collect_losses", lambda study, names, n_rows=None, with_tasks=True: run)
    sized = Study.from_parameters({"sizes": "12,48"})
    carries = {size: "seed_variance" in items for size, items in sized.collect_endpoint_by_size().items()}
    assert carries == {12: False, 48: True}


def test_another_model_or_recipe_has_none(toy_model, instruction_file):
    study = Study.from_parameters({"model": toy_model, "instructions": str(instruction_file)})
    assert read_measured_seeds(study, "loss", 48) is None


def test_the_recorded_rows_are_still_those_that_were_measured():
    """Else the notebooks' intervals would lose the spread without a word."""
    from helpers.files import sha256_file

    study, kept = Study.from_parameters({}), load_losses(MEASURED_SEEDS_FOLDER).manifest
    assert sha256_file(study.training_file) == kept["instructions"]
    assert sha256_file(study.held_out_file) == kept["held_out"]


def test_mixtures_of_the_reference_run_move_about_as_far_as_its_single_categories():
    """Why a cell that was not measured takes the largest spread of the singles."""
    from helpers.analysis.reference_losses import read_reference_losses
    from helpers.study.endpoints import select_endpoint_items
    from helpers.study.grid import LATTICE, SINGLES

    tables = read_reference_losses()
    losses = select_endpoint_items(tables.collect(LATTICE, 150), "loss")
    means = losses.groupby(["task", "cell", "seed"])["score"].mean().unstack("seed")
    spread = means.std(axis=1, ddof=1).unstack("cell")
    mixtures = [cell for cell in LATTICE if "+" in cell]
    quotient = spread[mixtures].max(axis=1) / spread[list(SINGLES)].max(axis=1)
    assert len(quotient) == len(SINGLES)
    assert quotient.max() < 1.2


def test_a_run_of_several_seeds_looks_for_no_spread_of_others(monkeypatch):
    monkeypatch.setattr(study, "read_measured_seeds", lambda *_: pytest.fail("it was read"))
    run = make_losses({"base": [0.0, 0.0], "qa": [1.0, 1.1]}).assign(text=0.5, end=0.5, n_text_tokens=4)
    items = Study.from_parameters({"n_seeds": 2}).select_endpoint_items_with_spread(run, "loss")
    assert "seed_variance" not in items


def test_a_study_is_compared_with_what_was_measured_without_git(toy_model, instruction_file, monkeypatch):
    from helpers import machine

    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: pytest.fail("git was asked"))
    given = {"model": toy_model, "instructions": str(instruction_file), "held_out_share": 0.0}
    assert read_measured_seeds(Study.from_parameters(given), "loss", 48) is None


def test_manifests_are_compared_entry_by_entry():
    there, own = {"a": {"b": 1, "c": 2}, "d": "x"}, {"a": {"b": 1, "c": 3}, "d": "y"}
    assert list_differences(there, own, ("a.b", "a.c", "d", "e", "d.f")) == ["a.c", "d"]


def test_the_stored_controls_and_the_stored_seeds_are_of_one_recipe():
    manifests = (read_manifest(folder) for folder in (RESULTS / "controls", MEASURED_SEEDS_FOLDER))
    assert not list_differences(*manifests, seed_spread.COMPARED_ENTRIES)
