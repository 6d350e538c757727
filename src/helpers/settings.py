"""Parameters of the stages: each stage keeps its own in one frozen dataclass, which notebooks, profiles and
fingerprints share.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from helpers.errors import StudyError

Settings = TypeVar("Settings")
TYPES = {"str": str, "int": int, "float": float, "bool": bool}


def parameter(default: Any, help: str, minimum: float | None = None, maximum: float | None = None) -> Any:
    """Declare a stage's parameter with the help text (unit included) that its notebooks repeat."""
    return dataclasses.field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum})


def pick(stage: type[Settings], parameters: Mapping[str, Any]) -> Settings:
    """Build a stage's settings from same-named parameters; others are left aside, absent ones keep their
    default.

    Raises:
        StudyError: a value has the wrong type or lies outside its range.
    """
    names = {field.name for field in dataclasses.fields(stage)}
    settings = stage(**{name: value for name, value in parameters.items() if name in names})
    check_settings(settings)
    return settings


def check_settings(settings: Any) -> None:
    """Raise StudyError where a value has the wrong type or lies outside its range; whole numbers serve as
    floats.
    """
    for field in dataclasses.fields(settings):
        value, wanted = getattr(settings, field.name), str(field.type)
        if wanted == "float" and type(value) is int:
            object.__setattr__(settings, field.name, float(value))
        elif type(value) is not TYPES[wanted]:
            raise StudyError(
                f"`{field.name}` must be {wanted}, but {value!r} ({type(value).__name__}) was found. "
                f"{field.metadata['help']}."
            )
        minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
        found = f"but {value!r} was found. {field.metadata['help']}."
        if isinstance(value, float) and not math.isfinite(value):
            raise StudyError(f"`{field.name}` must be a finite number, {found}")
        if minimum is not None and value < minimum:
            raise StudyError(f"`{field.name}` must be at least {minimum}, {found}")
        if maximum is not None and value > maximum:
            raise StudyError(f"`{field.name}` must be at most {maximum}, {found}")
