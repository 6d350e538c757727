"""Parameters of the stages: each stage keeps its own in one frozen dataclass, which notebooks, profiles and
fingerprints share.
"""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections.abc import Mapping
from typing import Any, TypeVar

from helpers.errors import StudyError

Settings = TypeVar("Settings")
TYPES = {"str": str, "int": int, "float": float, "bool": bool}
LARGEST = 10**9  # of a whole number without a limit of its own
MOST_CHARACTERS = 1000  # of a text


def parameter(default: Any, help: str, minimum: float | None = None, maximum: float | None = None) -> Any:
    """Declare a stage's parameter with the help text (unit included) that its notebooks repeat."""
    return dataclasses.field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum})


def build_settings(kind: type[Settings], parameters: Mapping[str, Any]) -> Settings:
    """Build a stage's settings from same-named parameters; others are left aside, absent ones keep their
    default.

    Raises:
        StudyError: a value has the wrong type or lies outside its range.
    """
    names = {field.name for field in dataclasses.fields(kind)}
    settings = kind(**{name: value for name, value in parameters.items() if name in names})
    check_settings(settings)
    return settings


def check_settings(settings: Any) -> None:
    """Raise StudyError where a value has the wrong type or lies outside its range; whole numbers serve as
    floats.
    """
    for field in dataclasses.fields(settings):
        value, wanted = getattr(settings, field.name), str(field.type)
        if wanted == "float" and type(value) is int:
            object.__setattr__(settings, field.name, float(value) if abs(value) < 10**300 else math.inf)
            value = getattr(settings, field.name)
        elif type(value) is not TYPES[wanted]:
            raise StudyError(
                f"`{field.name}` must be {wanted}, but {shorten(value)} ({type(value).__name__}) was found. "
                f"{field.metadata['help']}."
            )
        minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
        if maximum is None and wanted == "int":
            maximum = LARGEST
        found = f"but {shorten(value)} was found. {field.metadata['help']}."
        if isinstance(value, str) and len(value) > MOST_CHARACTERS:
            raise StudyError(f"`{field.name}` must have at most {MOST_CHARACTERS:,} characters, {found}")
        if isinstance(value, str) and not is_printable(value):
            raise StudyError(f"`{field.name}` must be a text that can be written, {found}")
        if isinstance(value, float) and not math.isfinite(value):
            raise StudyError(f"`{field.name}` must be a finite number, {found}")
        if minimum is not None and value < minimum:
            raise StudyError(f"`{field.name}` must be at least {minimum}, {found}")
        if maximum is not None and value > maximum:
            raise StudyError(f"`{field.name}` must be at most {maximum:,}, {found}")


def is_printable(text: str) -> bool:
    """Say whether a text has neither control characters nor bytes that are not characters."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def shorten(value: Any) -> str:
    """Return a value as an error message shows it, in 80 characters at most."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # deep, or a number of thousands of digits
        text = type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."
