"""The runner: checks parameters before anything runs, executes notebooks with papermill, publishes only what
finished.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.analysis.published.tables import AuditSettings
from helpers.book.profiles import read_profile
from helpers.errors import StudyError
from helpers.evaluation.tasks import parse_tasks
from helpers.files import explain_disk_errors, write_text
from helpers.models.wheels import WHEEL_MODELS
from helpers.paths import NOTEBOOKS, ROOT, relative_to, runs_folder, shown
from helpers.provider.ledger import ProviderLimits
from helpers.settings import build_settings, is_printable, shorten
from helpers.study.endpoints import ENDPOINTS, MIN_IN_HALVES, check_any_task_counts, check_endpoint_tasks
from helpers.study.grid import GridSettings
from helpers.study.study import SETTINGS, FileSettings, Study
from helpers.synthesis.public_rows import PUBLIC
from helpers.synthesis.settings import RECORDED, SynthesisSettings

if TYPE_CHECKING:
    from nbformat import NotebookNode

DECLARATION = re.compile(r"^(?P<name>\w+): (?P<type>\w+) = (?P<default>.+?)  # (?P<help>.+)$", re.MULTILINE)
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # 010 may mean 8 or 10
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter as a notebook's parameters cell declares it."""

    name: str
    type: str
    default: Any
    help: str


# what `study grid` heeds and no notebook does
GRID_ONLY = {
    field.name: Parameter(field.name, str(field.type), field.default, field.metadata["help"])
    for field in dataclasses.fields(GridSettings)
    if field.name in ("mixtures", "answers")
}


def list_notebooks() -> list[Path]:
    """Return the numbered notebooks in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Return the parameters that a notebook declares in its cell tagged `parameters`, one
    `name: type = default  # help` a line, as papermill reads them; papermill itself takes seconds to import.

    Raises:
        StudyError: the file is no notebook, the tag is missing, or a default is not a plain value.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = [
            "".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise StudyError(
            f"{shown(notebook)} cannot be read as a notebook. Restore it (`git checkout -- "
            f"{shown(notebook)}`)."
        ) from None
    if not tagged:
        raise StudyError(
            f"{shown(notebook)} has no cell tagged `parameters`. Tag the cell that sets its parameters."
        )
    parameters = {}
    for line in DECLARATION.finditer(tagged[0]):
        try:
            default = ast.literal_eval(line["default"])
        except (ValueError, SyntaxError):
            raise StudyError(
                f"`{line['name']}` must have a plain value, but {shorten(line['default'])} was found "
                f"({shown(notebook)}, the cell tagged `parameters`). Write the value itself."
            ) from None
        parameters[line["name"]] = Parameter(line["name"], line["type"], default, line["help"])
    return parameters


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Return the parameters of `name=value` arguments, values as they are written; of two of one name the
    later one counts.

    Raises:
        StudyError: an argument has no equals sign, or is not text.
    """
    parameters: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name:
            raise StudyError(f"A parameter must be given as name=value, but {shorten(assignment)} was found.")
        if not is_printable(value):
            raise StudyError(f"`{name}` must be a text that can be written, but {shorten(value)} was found.")
        parameters[name] = value
    return parameters


def check_parameters(parameters: Mapping[str, str], declared: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the parameters, each of its declared type.

    Raises:
        StudyError: a parameter is declared by no notebook, or its value cannot be read as its type.
    """
    checked = {}
    for name, value in parameters.items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(sorted(declared))}."
            raise StudyError(f"No notebook has a parameter `{name[:80]}`. {hint}")
        checked[name] = read_value(value, declared[name])
    return checked


def read_value(text: str, wanted: Parameter) -> Any:
    """Return the value that a text stands for: whole numbers in decimal digits, other numbers in any usual
    form, 'true' or 'false', and any text where a text is wanted.

    Raises:
        StudyError: it stands for none of the type.
    """
    if wanted.type == "str":
        return text
    if wanted.type == "int" and WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if wanted.type == "bool" and text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    if wanted.type == "float":
        try:
            return float(text)
        except ValueError:
            pass
    raise StudyError(f"`{wanted.name}` must be {wanted.type}, but {shorten(text)} was found: {wanted.help}.")


def inspect_notebooks() -> dict[Path, dict[str, Parameter]]:
    """Return the parameters that each notebook declares."""
    return {notebook: read_parameters(notebook) for notebook in list_notebooks()}


def plan_parameters(
    profile: str,
    assignments: Sequence[str],
    declared_by: Mapping[Path, Mapping[str, Parameter]] | None = None,
) -> dict[str, Any]:
    """Return a profile's parameters, overridden by `name=value` assignments, each declared by some notebook
    or known to `study grid`, and of its declared type.

    Raises:
        StudyError: a parameter is not declared or has another type, or a notebook sets a default of its own.
    """
    declared_by = declared_by or inspect_notebooks()
    declared = GRID_ONLY | {
        name: parameter for parameters in declared_by.values() for name, parameter in parameters.items()
    }
    given = parse_assignments(assignments)
    parameters = check_parameters(read_profile(profile) | given, declared)
    _check_defaults(declared_by, given)
    build_settings(AuditSettings, parameters)  # a notebook reads them that runs after hours of others
    return parameters


def _check_defaults(declared_by: Mapping[Path, Mapping[str, Parameter]], given: Collection[str]) -> None:
    """Raise StudyError where a notebook's parameters cell sets another value than the study does, and none is
    given: a profile would overrule it, or its lesson would not agree with figures, rows and other lessons.
    """
    stages = (*SETTINGS.values(), FileSettings, AuditSettings)
    defaults = {field.name: field.default for stage in stages for field in dataclasses.fields(stage)}
    for notebook, parameters in declared_by.items():
        for name, one in parameters.items():
            if name not in given and one.default != defaults.get(name, one.default):
                raise StudyError(
                    f"`{name}` is {shorten(one.default)} in the parameters cell of {shown(notebook)}, but "
                    f"{shorten(defaults[name])} everywhere else. Commands do not take it from there: restore "
                    f"the cell and give -p {shlex.quote(f'{name}={one.default}')} instead."
                )


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
        tasks = parse_tasks(study.evaluation_settings.tasks, public=True)
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
