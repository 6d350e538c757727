"""The runner: plans what is run and refuses what could not end, executes notebooks with papermill, publishes
only what finished.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.book.parameters import (
    GRID_ONLY,
    Parameter,
    inspect_notebooks,
    parse_assignments,
    plan_parameters,
)
from helpers.errors import StudyError
from helpers.evaluation.tasks import parse_tasks
from helpers.files import explain_disk_errors, write_text
from helpers.models.wheels import WHEEL_MODELS
from helpers.paths import NOTEBOOKS, ROOT, relative_to, runs_folder, shown
from helpers.provider.ledger import ProviderLimits
from helpers.settings import shorten
from helpers.study.endpoints import ENDPOINTS, MIN_IN_HALVES, check_any_task_counts, check_endpoint_tasks
from helpers.study.study import Study
from helpers.synthesis.public_rows import PUBLIC
from helpers.synthesis.settings import RECORDED, SynthesisSettings

if TYPE_CHECKING:
    from nbformat import NotebookNode


def plan_run(
    profile: str, only: Sequence[str], assignments: Sequence[str]
) -> tuple[Study, list[tuple[Path, dict[str, Any]]]]:
    """Return the study and the notebooks to run, each with its parameters; everything is checked here, before
    anything runs.

    A notebook that reads instructions has them among its parameters, named or not.

    Args:
        profile: name of a file in `notebooks/profiles/`.
        only: numbers of notebooks ('03'), or none for all.
        assignments: `name=value` parameters that go before the profile's.

    Raises:
        StudyError: a notebook, profile or parameter is unknown, or a value has the wrong type or lies outside
            its range, or there are too few rows or tasks to compare models by.
    """
    declared_by = inspect_notebooks()
    parameters = {"instructions": ""} | plan_parameters(profile, assignments, declared_by)
    study = Study.from_parameters(parameters)
    unknown = [
        number
        for number in only
        if not any(notebook.name.startswith(f"{number}_") for notebook in declared_by)
    ]
    if unknown:
        raise StudyError(
            "`only` must name notebooks by number "
            f"({', '.join(notebook.name[:2] for notebook in declared_by)}), but {unknown[0]!r} was found."
        )
    chosen = [notebook for notebook in declared_by if not only or notebook.name[:2] in only]
    if study.instructions:
        study.training_file  # noqa: B018 (raises if there is no such file)
        if any("teacher" in declared_by[notebook] for notebook in chosen):
            _check_no_teacher(study.synthesis_settings.teacher)
    for notebook in chosen:
        _check_comparisons(study, declared_by[notebook])
        if "example_seed" in declared_by[notebook]:
            _check_example_seed(study, parameters)
    check_use(parse_assignments(assignments), [declared_by[notebook] for notebook in chosen])
    _check_model_folder(parameters.get("model", ""))
    return study, [(notebook, _select_declared(parameters, declared_by[notebook])) for notebook in chosen]


def plan_studies(parameters: Mapping[str, Any]) -> Callable[[str], Study]:
    """Return what gives the study that a notebook makes of those parameters that it declares, and of the
    study's rows, by the notebook's name.
    """
    whole, declared_by = Study.from_parameters(parameters), inspect_notebooks()

    @cache
    def find_study(name: str) -> Study:
        own = _select_declared({"instructions": ""} | parameters, declared_by[NOTEBOOKS / f"{name}.ipynb"])
        return Study.from_parameters(add_instructions(own, whole))

    return find_study


def _select_declared(parameters: Mapping[str, Any], declared: Mapping[str, Parameter]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name in declared}


def _check_comparisons(study: Study, declared: Mapping[str, Parameter]) -> None:
    """Raise StudyError where a notebook could not compare its models once they are tuned. One that compares
    by held-out rows declares `n_held_out`; one that compares by what `endpoint` says declares that as well.
    """
    settings, takes_endpoint = study.loss_settings, "endpoint" in declared
    by_tasks = takes_endpoint and ENDPOINTS[settings.endpoint].tasks_only
    if "n_held_out" in declared and not by_tasks:
        if not takes_endpoint and settings.n_held_out < MIN_IN_HALVES:
            raise StudyError(
                f"`n_held_out` must be at least {MIN_IN_HALVES} in lesson 4, which compares held-out rows of "
                f"short and of long responses, but {settings.n_held_out} was found."
            )
        if study.instructions or not settings.held_out_share:
            study.check_held_out_rows(in_halves=not takes_endpoint)
    if "model" in declared and (by_tasks or not takes_endpoint):
        tasks = parse_tasks(study.evaluation_settings.tasks)
        check_any_task_counts(tasks)
        if by_tasks:
            check_endpoint_tasks(tasks, settings.endpoint, study.grid_settings.lattice_categories)


def _check_no_teacher(teacher: str) -> None:
    if teacher != RECORDED:
        raise StudyError(
            f"Lesson 2 would pay the teacher {teacher!r} for rows that no other lesson reads, since "
            f"`instructions` names theirs. Set `teacher={RECORDED}`, or leave lesson 2 out (`--only`)."
        )


def _check_example_seed(study: Study, parameters: Mapping[str, Any]) -> None:
    known = [seed.id for seed in study.seed_tasks]
    if (wanted := parameters.get("example_seed", known[0])) not in known:
        raise StudyError(
            f"`example_seed` must be the id of a seed task, {known[0]} to {known[-1]}, but "
            f"{shorten(wanted)} was found."
        )


def _check_model_folder(model: str) -> None:
    folder = Path(model)
    is_relative = bool(model) and model not in WHEEL_MODELS and not folder.is_absolute()
    if is_relative and folder.is_dir() and folder.resolve() != (ROOT / folder).resolve():
        raise StudyError(
            "The notebooks run in the project's folder, so `model` must be an absolute path where it is "
            f"called from another one, but {model!r} was found. Give {folder.resolve()}."
        )


def check_use(assignments: Mapping[str, Any], chosen: Sequence[Mapping[str, Parameter]]) -> None:
    """Raise StudyError for an assignment that no chosen notebook would use: it declares it, or reads the
    instructions that a synthesis parameter changes.
    """
    used = {name for parameters in chosen for name in parameters}
    if "instructions" in used:
        used |= {
            field.name for stage in (SynthesisSettings, ProviderLimits) for field in dataclasses.fields(stage)
        }
    unused = [name for name in assignments if name not in used]
    if unused:
        elsewhere = "give it to `study grid`" if unused[0] in GRID_ONLY else "choose a notebook that has it"
        raise StudyError(
            f"None of the chosen notebooks has a parameter `{unused[0]}`. Leave it out, or {elsewhere}."
        )


def add_instructions(parameters: Mapping[str, Any], study: Study) -> dict[str, Any]:
    """Return a notebook's parameters with the instruction file, made now if need be, where it reads one.

    A live teacher is asked here, not in a kernel, which dies with the runner and loses what is under way.
    """
    if "teacher" in parameters and study.synthesis_settings.teacher != RECORDED:
        study.synthesis_run  # noqa: B018
    if "instructions" not in parameters or study.instructions == PUBLIC:
        return dict(parameters)
    return parameters | {"instructions": relative_to(study.all_rows_file, ROOT)}


def run_notebook(notebook: Path, parameters: Mapping[str, Any], book: Path) -> None:
    """Execute a notebook with papermill in the project's folder and publish the copy once it has finished,
    without paths of this machine.

    Args:
        notebook: its source.
        parameters: values for its parameters cell.
        book: folder to publish into, from the current one.

    Raises:
        StudyError: a cell raised; the report names notebook, cell, parameters, error and the partial copy.
    """
    import nbformat

    published = book / notebook.name
    partial = runs_folder() / "partial" / notebook.name
    partial.parent.mkdir(parents=True, exist_ok=True)
    published.parent.mkdir(parents=True, exist_ok=True)
    with explain_disk_errors(partial):
        executed = _execute(notebook, parameters, partial)
    paths = {"input_path": notebook, "output_path": published}
    executed.metadata.papermill.update({name: relative_to(path, ROOT) for name, path in paths.items()})
    write_text(published, nbformat.writes(executed) + "\n")
    partial.unlink(missing_ok=True)  # another process that runs the notebook may have taken it away


def _execute(notebook: Path, parameters: Mapping[str, Any], partial: Path) -> NotebookNode:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        return papermill.execute_notebook(
            *(str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, partial)),
            parameters=dict(parameters),
            cwd=ROOT,
            kernel_name="python3",
            progress_bar=False,
            # a slow kernel logs the interrupt before its end as an error; what fails in a cell is raised
            extra_arguments=["--log-level=CRITICAL"],
        )
    except PapermillExecutionError as error:
        raise StudyError(
            report_failure(
                notebook, parameters, f"{error.ename}: {error.evalue}", f"cell {error.exec_count}", partial
            )
        ) from None
    except DeadKernelError:
        raise StudyError(
            report_failure(
                notebook, parameters, "the kernel died; most often memory ran out", "an unknown cell", partial
            )
        ) from None


def report_failure(
    notebook: Path, parameters: Mapping[str, Any], error: str, location: str, partial: Path
) -> str:
    """Return the short report of a notebook that failed."""
    given = ", ".join(f"{name}={value!r}" for name, value in parameters.items()) or "none"
    return (
        f"{shown(notebook)} stopped at {location}\n"
        f"  error:        {error}\n"
        f"  parameters:   {given}\n"
        f"  partial copy: {shown(partial)} (not published)\n"
        "What was finished is stored: fix the cause and run the same command again."
    )
