"""Parameters of the notebooks: what their cells declare, and the values that a profile and the command line
give, checked before anything runs.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.analysis.published.tables import AuditSettings
from helpers.book.profiles import read_profile
from helpers.errors import StudyError
from helpers.paths import NOTEBOOKS, shown
from helpers.settings import build_settings, is_printable, shorten
from helpers.study.grid import GridSettings
from helpers.study.study import SETTINGS, FileSettings

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
