"""Bring what is published up to date: what was made from the same things before stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from helpers.book.build_stamps import BuildStamp, stamp_figures, stamp_notebook
from helpers.book.runner import add_instructions, plan_studies, run_notebook
from helpers.errors import StudyError
from helpers.records import BASE
from helpers.store import lock_folder, track_loaded
from helpers.study.endpoints import ENDPOINTS, SCORE
from helpers.study.grid import CellPlan
from helpers.study.sharing import MAKE_ANSWERS, MAKE_LOSSES, MAKE_ROW_LOSSES, share_work
from helpers.study.study import Study
from helpers.synthesis.settings import RECORDED


def share_lessons(
    plan: Sequence[tuple[Path, Mapping[str, Any]]], study: Study, book: Path
) -> AbstractContextManager[None]:
    """Share what the notebooks that are not up to date make of the study's cells with a second process
    (`sharing.share_work`). With a live teacher and no file of rows, each notebook shares its own cells
    instead. Where the cells of a notebook cannot be listed, only those before it are shared; the notebook
    says why.
    """
    if not study.instructions and study.synthesis_settings.teacher != RECORDED:
        return nullcontext()
    work = []
    with suppress(StudyError):
        for notebook, parameters in plan:
            given = add_instructions(parameters, study)
            lesson = notebook.name[:2]
            if lesson in LESSON_WORK and not stamp_notebook(notebook, given, study, book).is_current():
                own = Study.from_parameters(given)
                work.append((own, LESSON_WORK[lesson](own)))
    return share_work(work)


def list_training_work(study: Study) -> list[tuple[str, CellPlan]]:
    """Return what lesson 3 makes of which cells, in its order."""
    plans = study.plan_cells_of_one_seed([BASE, study.tuning_settings.categories])
    return [(MAKE_ANSWERS, plan) for plan in plans]


def list_ablation_work(study: Study) -> list[tuple[str, CellPlan]]:
    """Return what lesson 4 makes of which cells, in its order."""
    compared = [BASE, *study.grid_settings.lattice_categories]
    measured = study.plan_cells([*compared, *study.grid_settings.control_cells])
    answering = study.plan_cells(compared)
    return [*((MAKE_LOSSES, plan) for plan in measured), *((MAKE_ANSWERS, plan) for plan in answering)]


def list_synergy_work(study: Study) -> list[tuple[str, CellPlan]]:
    """Return what lesson 5 makes of which cells, in its order."""
    grid, endpoint = study.grid_settings, study.loss_settings.endpoint
    plans = study.plan_cells([*grid.lattice_cells, *grid.control_cells])
    curve = [plan for size in grid.curve_sizes for plan in study.plan_cells(grid.lattice_cells, size)]
    if endpoint != SCORE:
        kind = MAKE_LOSSES if ENDPOINTS[endpoint].tasks_only else MAKE_ROW_LOSSES
        return [(kind, plan) for plan in [*plans, *curve]]
    tuned = [plan for plan in plans if plan.seed == study.tuning_settings.training_seed]
    work = [(MAKE_ANSWERS, plan) for plan in plans]
    work += [(MAKE_ROW_LOSSES, plan) for plan in tuned]  # `collect_tunings` measures these too
    return [*work, *((MAKE_ANSWERS, plan) for plan in curve)]


LESSON_WORK = {"03": list_training_work, "04": list_ablation_work, "05": list_synergy_work}


def update_notebook(notebook: Path, parameters: Mapping[str, Any], study: Study, book: Path) -> bool:
    """Run a notebook and publish it, unless the published copy was made from the same notebook, parameters,
    code and stored results; returns whether it was run. To run it all the same, delete the copy.

    Raises:
        StudyError: as `run_notebook`.
    """
    given = add_instructions(parameters, study)
    stamp = stamp_notebook(notebook, given, study, book)
    if stamp.is_current():
        return False
    with track_loaded() as loaded:
        run_notebook(notebook, given, book)
    stamp.write([book / notebook.name], loaded)
    return True


def update_figures(parameters: Mapping[str, Any], study: Study, folder: Path) -> list[str]:
    """Write every figure of a study and the page that shows them, unless they were made from the same
    parameters, code and stored results; returns the names of the figures, none where they stay as they are.
    Each is drawn with the parameters of its notebook.
    """
    with lock_folder(folder):
        stamp = stamp_figures(parameters, study, folder)
        return [] if stamp.is_current() else _draw_figures(stamp, parameters, folder)


def _draw_figures(stamp: BuildStamp, parameters: Mapping[str, Any], folder: Path) -> list[str]:
    from helpers.book.figure_files import ENDINGS, save_figures
    from helpers.book.gallery_page import PAGE, write_gallery

    with track_loaded() as loaded:
        names = list(save_figures(plan_studies(parameters), folder))
    write_gallery(names, folder)
    files = [folder / f"{name}.{ending}" for name in names for ending in ENDINGS]
    stamp.write([folder / PAGE, *files], loaded)
    return names
