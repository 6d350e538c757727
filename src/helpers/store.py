"""The store: every result lies in `runs/<stage>/<fingerprint>/`, with a manifest that is written last.

A stage hands over files. Its fingerprint covers whatever changes the result: settings, input files and the
version of the stage's code, a number that is raised whenever the stage's outputs change
(`tests/test_stage_outputs.py` fails where they change without it). Where the manifest exists the result is
complete and is loaded; where it does not, the stage computes, and takes up what an interrupted run has left
behind.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from helpers.errors import StudyError
from helpers.files import (
    explain_disk_errors,
    flush_to_disk,
    name_file,
    sha256_file,
    sha256_text,
    write_text,
)
from helpers.machine import describe_machine
from helpers.paths import runs_folder, shown
from helpers.progress import tell

if TYPE_CHECKING:
    from filelock import BaseFileLock

Arguments, Found = ParamSpec("Arguments"), TypeVar("Found")
MANIFEST, LOCK, SEAL = "manifest.json", ".lock", "sha256"
LOADED_VARIABLE = "STUDY_LOADED"  # in the environment, which kernels and other started processes inherit
# What a stage does where no result is stored. It is a context, not an argument, since a cell is looked up by
# the very calls that run it: some twenty functions between a command and its stages, properties of `Study`
# among them, would hand an argument on that `run_stage` alone reads.
_mode: ContextVar[Literal["compute", "load", "plan"]] = ContextVar("mode", default="compute")


@dataclasses.dataclass(frozen=True)
class Run:
    """A result: its folder, its manifest (empty as long as it is only planned), and whether it was there
    already.
    """

    path: Path
    manifest: dict[str, Any]
    reused: bool = True

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the sha256 over all that changes the result."""
        return self.path.name

    @property
    def is_stored(self) -> bool:
        """Whether the result is complete; False only for one that `plan_only` has not found."""
        return bool(self.manifest)

    def file(self, name: str) -> Path:
        """Return the path of one of the run's files."""
        return self.path / name


def run_stage(
    stage: str,
    settings: Any,
    inputs: Mapping[str, str],
    version: int,
    compute: Callable[[Path], dict[str, Any] | None],
) -> Run:
    """Load a stage's result, or compute it.

    Args:
        stage: name of the stage, the folder below `runs/`.
        settings: dataclass or mapping of all parameters that change the result.
        inputs: sha256 or fingerprint of each input by name.
        version: of the stage's code; raised whenever the same settings and inputs give other outputs.
        compute: writes the result's files into the folder it is given and returns facts for the manifest
            (counts, tokens); None in a process that only helps another one, which has written files and
            manifest by then.

    Raises:
        StudyError: a stored result was altered since it was written, or the disk does not take the new one.
    """
    described = dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else dict(settings)
    identity = {"stage": stage, "version": version, "settings": described, "inputs": dict(inputs)}
    folder = runs_folder() / stage / sha256_text(json.dumps(identity, sort_keys=True))[:16]
    if (run := _find(folder)) or _mode.get() == "plan":
        return run or Run(folder, {})
    if _mode.get() == "load":
        raise StudyError(
            f"No stored result of stage {stage!r} has these settings, on this kind of device. Run "
            "`make book` (or `study run`) with the same profile first."
        )
    with explain_disk_errors(folder), lock_folder(folder):
        return _find(folder) or _make(folder, identity, compute)


def _find(folder: Path) -> Run | None:
    """Load a stored result; None where there is none, or where its manifest is damaged and it is to be made
    again.
    """
    try:
        return load_run(folder) if (folder / MANIFEST).is_file() else None
    except DamagedManifestError as error:
        if _mode.get() == "load":
            raise
        if _mode.get() == "compute":
            tell(f"{error} It is made again.")
        return None


def _make(folder: Path, identity: dict[str, Any], compute: Callable[[Path], dict[str, Any] | None]) -> Run:
    started = time.perf_counter()
    facts = compute(folder)
    if facts is not None:
        files = _list_files(folder)
        for name in files:
            flush_to_disk(folder / name)  # before the manifest says that all of it is there
        checksums = {name: sha256_file(folder / name) for name in files}
        seconds = round(time.perf_counter() - started, 2)
        manifest = identity | {"facts": facts, "files": checksums, "seconds": seconds} | describe_machine()
        write_text(folder / MANIFEST, json.dumps(_seal(manifest), indent=1) + "\n")
    return dataclasses.replace(load_run(folder), reused=False)


def _seal(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with the sha256 of what it says, by which a later change of it is found out."""
    said = json.loads(json.dumps({name: value for name, value in manifest.items() if name != SEAL}))
    return manifest | {SEAL: sha256_text(json.dumps(said, sort_keys=True))}


def _list_files(folder: Path) -> list[str]:
    """Return the names of a result's files, hidden ones and the manifest aside."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name[0] != "." and path != folder / MANIFEST
    ]


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into the same folder while the block runs; where one does already,
    wait. A folder that is missing is made.

    Of the processes that `accelerate launch` starts, the first one locks the folder for all.

    Raises:
        StudyError: another process writes into it, and this one is one of several that cannot wait apart.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    if read_launcher_number("RANK", 0):
        yield
        return
    n_processes = read_launcher_number("WORLD_SIZE", 1)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if n_processes > 1:
            raise StudyError(
                f"Another process makes {shown(folder)}. Wait for it to end, then run the same command again."
            ) from None
        tell(f"Another process makes {shown(folder)}: waiting for it.{explain_marker(lock)}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def explain_marker(lock: BaseFileLock) -> str:
    """Return what to do about a lock that nobody holds any more, on a file system without locks of its own:
    there a killed process leaves its marker behind, which one of another machine cannot tell from a live one.
    """
    from filelock import SoftFileLock

    marker = Path(lock.lock_file)
    return (
        f" Should none be running any more, delete {shown(marker)}." if isinstance(lock, SoftFileLock) else ""
    )


def read_launcher_number(name: str, default: int) -> int:
    """Return a variable of the environment by which `accelerate launch` and `torchrun` tell a process its
    number (RANK) and how many there are (WORLD_SIZE).

    Raises:
        StudyError: it is no whole number.
    """
    value = os.environ.get(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise StudyError(
            f"The environment's {name} must be a whole number, as `accelerate launch` sets it, but {value!r} "
            "was found. Unset it."
        ) from None


class DamagedManifestError(StudyError):
    """A manifest that cannot be read or was altered: what it described can be made again."""


def load_run(folder: Path) -> Run:
    """Load a complete result and check that its files are the ones that were written.

    Raises:
        DamagedManifestError: the manifest cannot be read or was altered.
        StudyError: a file is missing or was altered.
    """
    manifest = _read_manifest(folder / MANIFEST)
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise StudyError(
                f"{shown(folder / name)} is missing or was altered after it was stored. Put it back, or "
                f"delete {shown(folder)} and run the same command again."
            )
    if listed := os.environ.get(LOADED_VARIABLE):
        with name_file(Path(listed)), Path(listed).open("ab") as file:
            file.write(os.fsencode(folder) + b"\0")
    return Run(folder, manifest)


@contextmanager
def track_loaded() -> Iterator[set[Path]]:
    """Yield a set that holds, once the block has ended, the folders of all results that were loaded or made
    in it, by this process and by those that it started.
    """
    before, folders = os.environ.get(LOADED_VARIABLE), set()
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "loaded"
        listed.touch()
        os.environ[LOADED_VARIABLE] = str(listed)
        try:
            yield folders
        finally:
            if before is None:
                del os.environ[LOADED_VARIABLE]
            else:
                os.environ[LOADED_VARIABLE] = before
            names = listed.read_bytes().split(b"\0")[:-1]
            folders.update(Path(os.fsdecode(name)) for name in names)


def _read_manifest(path: Path) -> dict[str, Any]:
    kinds = {"stage": str, "inputs": dict, "settings": dict, "facts": dict, "files": dict, "seconds": float}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or any(
        not isinstance(manifest.get(name), kind) for name, kind in kinds.items()
    ):
        raise DamagedManifestError(f"{shown(path)} cannot be read as a manifest.")
    if SEAL in manifest and _seal(manifest) != manifest:
        raise DamagedManifestError(f"{shown(path)} was altered after it was written.")
    return manifest


def is_computing() -> bool:
    """Return whether a stage would compute what is not stored: neither `load_only` nor `plan_only` holds."""
    return _mode.get() == "compute"


@contextmanager
def load_only() -> Iterator[None]:
    """Within the block, load results and compute none: a stage without a stored one raises StudyError."""
    with _within("load"):
        yield


def plan_only(call: Callable[Arguments, Found], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Found:
    """Call a stage, or a function that runs several, without computing anything: where no result is stored,
    the stage returns a run with an empty manifest and the folder it would have (`Run.is_stored`).
    """
    with _within("plan"):
        return call(*args, **kwargs)


@contextmanager
def compute_missing() -> Iterator[None]:
    """Always compute inside the block what is not stored, even under `load_only` and `plan_only`. Use it for
    quick results whose path other stages need for their own fingerprints.
    """
    with _within("compute"):
        yield


@contextmanager
def _within(mode: Literal["compute", "load", "plan"]) -> Iterator[None]:
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)
