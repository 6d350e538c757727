"""Profiles: the files of parameters in `notebooks/profiles/`."""

from __future__ import annotations

import yaml

from helpers.errors import StudyError
from helpers.paths import PROFILES, shown


def read_profile(name: str) -> dict[str, str]:
    """Return the parameters of a profile as they are written; their notebooks know their types.

    Raises:
        StudyError: there is no such profile, or its file is not a flat mapping.
    """
    path = PROFILES / f"{name}.yaml"
    if not path.is_file():
        raise StudyError(
            f"`profile` must be one of {', '.join(sorted(p.stem for p in PROFILES.glob('*.yaml')))}, but "
            f"{name!r} was found."
        )
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.BaseLoader)
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{shown(path)} must be UTF-8, but the byte {error.object[error.start]:#x} was found. Save it as "
            "UTF-8."
        ) from None
    except yaml.YAMLError as error:
        raise StudyError(f"{shown(path)} is not valid YAML: {error}. Fix that line.") from None
    except RecursionError:
        raise StudyError(f"{shown(path)} is nested too deep. Write one `name: value` a line.") from None
    if not isinstance(node, yaml.MappingNode):
        raise StudyError(f"{shown(path)} must map parameters to values, one `name: value` a line.")
    parameters: dict[str, str] = {}
    for key, value in node.value:
        location = f"{shown(path)}:{key.start_mark.line + 1}"
        if not (isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)):
            raise StudyError(f"A parameter must have one plain value ({location}). Write `name: value`.")
        if key.value in parameters:
            raise StudyError(f"`{key.value}` is given twice ({location}). Leave one out.")
        parameters[key.value] = value.value
    return parameters
