"""Stamps: what a page or a figure was made from, so that it is made again only where something differs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import helpers
from helpers.errors import StudyError
from helpers.files import sha256_file, sha256_text, write_text
from helpers.machine import describe_machine
from helpers.models.load import describe_format, identify_model
from helpers.paths import NOTEBOOKS, RESULTS, ROOT, SEEDS, runs_folder, shown
from helpers.store import MANIFEST, load_run

if TYPE_CHECKING:
    from helpers.study.study import Study

PATH_PARAMETERS = ("instructions", "general", "data")  # they name a file or folder, from the project's


@dataclasses.dataclass(frozen=True)
class BuildStamp:
    """A small file beside others that says what they were made from.

    Attributes:
        path: where it lies, in the folder of the files or above.
        source: what stands for all that the files are made from, stored results aside.
    """

    path: Path
    source: str

    def is_current(self) -> bool:
        """Return whether the files were made from this source, they are as they were, and so are the stored
        results that were read for them.
        """
        try:
            said = json.loads(self.path.read_text(encoding="utf-8"))
            return said["source"] == self.source and said == self._describe(said["files"], said["results"])
        except (OSError, ValueError, TypeError, KeyError, StudyError):
            return False

    def write(self, files: Iterable[Path], results: Iterable[Path] = ()) -> None:
        """Write the stamp of files that were made just now.

        Args:
            files: in the stamp's folder or below.
            results: folders of the stored results that were read for them.
        """
        names = [path.relative_to(self.path.parent).as_posix() for path in files]
        locations = [path.relative_to(runs_folder()).as_posix() for path in results]
        write_text(self.path, json.dumps(self._describe(names, locations), indent=1) + "\n")

    def _describe(self, files: Iterable[str], results: Iterable[str]) -> dict[str, Any]:
        folders = {location: load_run(runs_folder() / location).path for location in sorted(results)}
        return {
            "source": self.source,
            "files": {name: sha256_file(self.path.parent / name) for name in sorted(files)},
            "results": {location: sha256_file(folder / MANIFEST) for location, folder in folders.items()},
        }


def stamp_notebook(notebook: Path, parameters: Mapping[str, Any], study: Study, book: Path) -> BuildStamp:
    """Return the stamp of a notebook's published copy, of its text, its parameters and the project now.

    Args:
        notebook: its source.
        parameters: values for its parameters cell; one that reads instructions runs a model on them.
        study: the study that it belongs to.
        book: folder that it is published into.
    """
    model = identify_model_of(study) if "instructions" in parameters else ""
    things = [sha256_file(notebook), identify_parameters(parameters), identify_project(), model]
    return BuildStamp(book / f".{notebook.stem}", _identify(things))


def stamp_figures(parameters: Mapping[str, Any], study: Study, folder: Path) -> BuildStamp:
    """Return the stamp of the files of all figures of a study and of the page that shows them, which takes
    texts from the notebooks.

    Args:
        parameters: those of the study.
        study: the study.
        folder: folder of the files.
    """
    texts = _identify_files(NOTEBOOKS, "*.ipynb")
    things = [*texts, identify_parameters(parameters), identify_project(), identify_model_of(study)]
    return BuildStamp(folder / ".all", _identify(things))


@cache
def identify_code() -> str:
    """Return what stands for the code: this package's files and every installed package with its version."""
    packages = {f"{package.name} {package.version}" for package in metadata.distributions()}
    return _identify([*_identify_files(Path(helpers.__file__).parent, "*.py"), *sorted(packages)])


def identify_project() -> str:
    """Return what stands for all that any notebook may read or show beside its own text, its parameters, its
    model and stored results: code, seeds, kept results, commit and machine.
    """
    machine = {name: said for name, said in describe_machine().items() if name != "created"}
    kept = [*_identify_files(SEEDS), *_identify_files(RESULTS)]
    return _identify([identify_code(), *kept, machine, shown(runs_folder())])


def identify_model_of(study: Study) -> str:
    """Return what stands for a study's model and for how it computes on this machine."""
    return _identify(
        [identify_model(study.evaluation_settings.model), describe_format(study.evaluation_settings.dtype)]
    )


def identify_parameters(parameters: Mapping[str, Any]) -> str:
    """Return what stands for parameters and for what lies in the files and folders that they name."""
    named = [ROOT / parameters[name] for name in PATH_PARAMETERS if parameters.get(name)]
    files = [path for path in named if path.is_file()]
    folders = [path for path in named if path.is_dir()]
    contents = [*map(sha256_file, files), *(line for path in folders for line in _identify_files(path))]
    return _identify([parameters, *contents])


def _identify_files(folder: Path, pattern: str = "*") -> list[str]:
    """Return name and sha256 of the files of a folder and those below, but for hidden and compiled ones."""
    files = sorted(path for path in folder.rglob(pattern) if path.is_file())
    names = {path: path.relative_to(folder) for path in files}
    return [
        f"{name.as_posix()} {sha256_file(path)}"
        for path, name in names.items()
        if not any(part.startswith((".", "__pycache__")) for part in name.parts)
    ]


def _identify(things: Iterable[Any]) -> str:
    return sha256_text(json.dumps(list(things), sort_keys=True))
