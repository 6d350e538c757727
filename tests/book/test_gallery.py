"""Every figure can be drawn from its table, twice the same."""

import dataclasses

import pandas as pd
import pytest

from helpers.book import figure_files, gallery
from helpers.book.figure_files import save_figures
from helpers.book.figure_tables import tabulate_parts, tabulate_signals
from helpers.book.gallery import GALLERY, draw
from helpers.book.runner import plan_studies
from helpers.errors import StudyError
from helpers.jsonl import read_rows
from helpers.records import BASE, Instruction
from helpers.study.grid import SINGLES
from helpers.study.study import Study
from helpers.synthesis.overview import tabulate_category_shares
from helpers.synthesis.pipeline import INSTRUCTIONS
from helpers.synthesis.verbs import count_roots

PARAMETERS = {
    "sizes": "3,4",
    "n_rows": 4,
    "batch_size": 4,
    "n_items": 2,
    "learning_rate": 1e-2,
    "n_requests": 6,
}


@pytest.fixture
def parameters(toy_model):
    return PARAMETERS | {"model": toy_model, "tasks": "evidence_yesno,medication_status,patient_answer"}


def test_all_figures_come_with_their_data_and_are_the_same_twice(parameters, tmp_path):
    first, second, find_study = tmp_path / "first", tmp_path / "second", plan_studies(parameters)
    assert list(save_figures(find_study, first)) == list(save_figures(find_study, second)) == list(GALLERY)
    for name in GALLERY:
        for ending in ("svg", "png", "csv"):
            one, two = (folder / f"{name}.{ending}" for folder in (first, second))
            assert one.stat().st_size > 50
            assert one.read_bytes() == two.read_bytes(), one.name
    assert {"trained_on", "tested_on"} <= set(pd.read_csv(first / "transfer.csv"))


def test_figures_of_the_kept_rows_show_what_the_lesson_counts_held_out_ones_included(parameters):
    study = Study.from_parameters(parameters)
    kept = read_rows(study.synthesis_run.file(INSTRUCTIONS), Instruction)
    assert len(read_rows(study.training_file, Instruction)) < len(kept)
    shares = tabulate_category_shares(
        {"seeds": [seed.category for seed in study.seed_tasks], "kept": [row.category for row in kept]}
    )
    pd.testing.assert_frame_equal(GALLERY["kept_shares"].table(study), shares)
    roots = count_roots(row.instruction for row in kept)
    pd.testing.assert_frame_equal(GALLERY["root_verbs"].table(study), roots)


@pytest.fixture
def one_figure(monkeypatch):
    """Leave one figure in the gallery; return the list that its name is added to when it is drawn."""
    drawn = []
    monkeypatch.setattr(gallery, "GALLERY", {"seed_shares": GALLERY["seed_shares"]})

    def note(name, *given, **options):
        drawn.append(name)
        return draw(name, *given, **options)

    monkeypatch.setattr(gallery, "draw", note)
    return drawn


def test_a_figure_that_is_there_is_not_drawn_again(one_figure, tmp_path):
    for _ in range(2):
        assert list(save_figures(plan_studies({}), tmp_path)) == ["seed_shares"]
    assert len(one_figure) == 1


@pytest.mark.parametrize("change", ["table", "code", "altered", "missing"])
def test_a_figure_is_drawn_again_where_anything_differs(change, one_figure, tmp_path, monkeypatch):
    picture = tmp_path / "seed_shares.png"
    list(save_figures(plan_studies({}), tmp_path))
    before = picture.read_bytes()
    if change == "table":
        rows = gallery.GALLERY["seed_shares"].table(Study.from_parameters({})).iloc[:-1]
        shorter = dataclasses.replace(gallery.GALLERY["seed_shares"], table=lambda _: rows)
        monkeypatch.setattr(gallery, "GALLERY", {"seed_shares": shorter})
    elif change == "code":
        monkeypatch.setattr(figure_files, "identify_code", lambda: "another")
    elif change == "altered":
        picture.write_bytes(b"torn")
    else:
        picture.unlink()
    list(save_figures(plan_studies({}), tmp_path))
    assert len(one_figure) == 2
    assert (picture.read_bytes() == before) is (change != "table")


def test_a_figure_can_be_drawn_from_a_readers_own_table():
    table = pd.DataFrame(
        {"trained_on": ["qa"], "tested_on": ["qa"], "estimate": [0.1], "low": [0.0], "high": [0.2]}
    )
    assert gallery.GALLERY["transfer"].plot is not None
    assert draw("transfer", table, "loss").axes


@pytest.mark.parametrize("endpoint", [None, "accuracy"])
def test_a_figure_of_the_endpoint_is_not_drawn_without_one(endpoint):
    with pytest.raises(StudyError, match=f"`endpoint` must be one of loss, .* but {endpoint!r} was found"):
        draw("transfer", pd.DataFrame(), endpoint)


def test_the_similarity_of_seeds_is_drawn_with_the_threshold_of_the_study(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(gallery, "GALLERY", {"seed_similarity": GALLERY["seed_similarity"]})

    def note(*given, **options):
        drawn.append(draw(*given, **options))
        return drawn[-1]

    monkeypatch.setattr(gallery, "draw", note)
    for threshold in (0.7, 0.7, 0.55):
        list(save_figures(plan_studies({"novelty_threshold": threshold}), tmp_path))
    lines = [max(line.get_xdata()[0] for line in figure.axes[0].lines) for figure in drawn]
    assert lines == [0.7, 0.55]


def test_a_figure_is_drawn_with_the_parameters_of_its_own_notebook(tmp_path, monkeypatch):
    """Else it would ask for cells that no lesson makes, or show rows of a file where the lesson shows a
    teacher's.
    """

    def show_settings(study):
        grid, evaluation = study.grid_settings, study.evaluation_settings
        return pd.DataFrame([[study.instructions, grid.budget, evaluation.choice_scoring]])

    monkeypatch.setattr(
        gallery,
        "GALLERY",
        {
            name: dataclasses.replace(
                GALLERY[name], table=show_settings, plot=lambda table, ax, **_: ax, options=lambda _: {}
            )
            for name in ("pipeline", "scores", "gains", "lattice")
        },
    )
    parameters = {"instructions": "public", "budget": "additive", "choice_scoring": "letter"}
    list(save_figures(plan_studies(parameters), tmp_path))
    shown = {name: pd.read_csv(tmp_path / f"{name}.csv").iloc[0].tolist() for name in gallery.GALLERY}
    default = Study.from_parameters({})
    budget, scoring = default.grid_settings.budget, default.evaluation_settings.choice_scoring
    assert shown == {
        "pipeline": [pytest.approx(float("nan"), nan_ok=True), budget, scoring],
        "scores": ["public", budget, "letter"],
        "gains": ["public", budget, scoring],
        "lattice": ["public", "additive", scoring],
    }


def test_the_figures_of_a_lesson_stand_on_the_rows_of_the_whole_study():
    parameters = {"n_requests": 6}
    find_study, whole = plan_studies(parameters), Study.from_parameters(parameters)
    assert find_study("03_lora_training").training_file.read_bytes() == whole.training_file.read_bytes()
    assert find_study("02_instruction_synthesis").synthesis_run.path == whole.synthesis_run.path


def test_a_size_curve_without_sizes_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "GALLERY", {"sizes": GALLERY["sizes"]})
    assert list(save_figures(plan_studies({"sizes": ""}), tmp_path)) == []


def test_tasks_without_options_have_gains_in_the_end_and_the_text_alone():
    places = [(cell, n) for cell in (BASE, *SINGLES) for n in range(2)]
    losses = pd.DataFrame(
        {"cell": cell, "task": "patient_answer", "category": "gen", "item": str(n), "n_text_tokens": 4}
        | {"text": 4.0 * (cell == BASE), "end": 1.0 + n, "choice": None, "calibrated": None}
        for cell, n in places
    )
    table = tabulate_parts(losses)
    gains = table.groupby("part")["estimate"].agg(set).to_dict()
    assert gains == {"end": {0.0}, "text": {1.0}}


def test_signals_of_losses_and_scores_are_of_the_same_cells():
    cells = {BASE: 4.0, "qa": 3.0, "ie": 2.0, "gen": 1.0, "qa~shuffled": 9.0}
    losses = pd.DataFrame(
        {"cell": cell, "task": "patient_answer", "category": "gen", "item": str(n), "n_text_tokens": 4}
        | {"text": loss + n % 2, "end": 1.0}
        for cell, loss in cells.items()
        for n in range(4)
    )
    scores = losses[losses["cell"] != "qa~shuffled"].assign(score=-losses["text"])
    table = tabulate_signals(losses, scores)
    assert table.set_index("endpoint")["n_cells"].to_dict() == {"loss": 3, "text": 3, "score": 3}
