"""Files written whole or not at all, their sums, and what to do where a disk does not take them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.errors import StudyError

SETTLED_SECONDS = 2.0  # no file system's clock is coarser
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_PERMISSION = (errno.EACCES, errno.EROFS, errno.EPERM)
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)
NO_PLACE = (errno.ENOTDIR, errno.ENOENT, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
# the system's error number, as libraries quote it
PASSED_ON = re.compile(r"\[errno (\d+)\]|\(os error (\d+)\)", re.IGNORECASE)
_checksums: dict[tuple[int, ...], str] = {}


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: into a neighbour first, then renamed.

    Raises:
        StudyError: the path names no file, such as an empty one.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Do the same with bytes."""
    if not path.name:
        raise StudyError(f"A file to write must have a name, but {str(path)!r} was found. Name a file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with name_file(path):
            neighbour.write_bytes(data)
            replace_whole(neighbour, path)
    finally:
        with suppress(OSError):
            neighbour.unlink()


@contextmanager
def name_file(path: Path) -> Iterator[None]:
    """Have an error of the system name the file that the block writes: none does once the file is open."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


def explain_disk_error(error: Exception, place: Path | None = None) -> str | None:
    """Return what could not be written or read and what to do, where a disk has no room or gives no locks,
    the user has no right or the path is no such place; None for an error of another kind.

    Args:
        error: of the system, or of a library that passes the system's on.
        place: what the file belongs to, for an error that names none.
    """
    own, told = getattr(error, "errno", None), PASSED_ON.search(str(error))
    number = own or (int(told[1] or told[2]) if told else None)
    if number not in (*DISK_FULL, *NO_PERMISSION, *((*NO_PLACE, *NO_LOCKS) if own else ())):
        return None
    name = _name_file_of(error) or str(place or "a file")
    if number in NO_LOCKS:
        return (
            f"{name} lies on a file system that gives no locks ({os.strerror(number)}), so nothing would "
            "keep two processes apart. Name a folder on another one: STUDY_RUNS for results, STUDY_CACHE "
            "for models."
        )
    if number in DISK_FULL:
        reason = f"{os.strerror(number)}{_describe_room(name)}"
        return (
            f"The disk is full, or a limit is reached: {name} could not be written ({reason}). Free some "
            "space and run the same command again; what was finished is kept."
        )
    return (
        f"{name} cannot be read or written ({os.strerror(number)}). Check the path and its rights, or name "
        "another: by the command's options, STUDY_RUNS for results, STUDY_CACHE for models, HF_HOME for what "
        "comes from the hub."
    )


@contextmanager
def explain_disk_errors(place: Path) -> Iterator[None]:
    """Turn what `explain_disk_error` explains into a StudyError, where the block writes files of a folder."""
    try:
        yield
    except StudyError:
        raise
    except Exception as error:  # libraries raise their own kinds
        if explained := explain_disk_error(error, place):
            raise StudyError(explained) from None
        raise


def _name_file_of(error: Exception) -> str | None:
    if isinstance(error, shutil.Error):  # of a copy: (from, to, why) of each file
        return str(error.args[0][0][1])
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, str | bytes) else None


def _describe_room(name: str) -> str:
    with suppress(OSError):
        free = shutil.disk_usage(Path(name).parent).free / 2**20
        return f"; {free:,.{1 if free < 10 else 0}f} MiB are free"
    return ""


def replace_whole(written: Path, path: Path) -> None:
    """Let a written file take another one's place, so that a power cut leaves one of them whole."""
    flush_to_disk(written)
    written.replace(path)
    flush_to_disk(path.parent)


def flush_to_disk(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk now (`fsync`)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return  # Windows opens no folders
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems without it
            raise
    finally:
        os.close(descriptor)


def sha256_text(text: str) -> str:
    """Return the hex sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file; a process reads it once as long as its size and times stay.

    A file that changed in the last seconds is read each time: a further change could bear the same times.
    """
    state = path.stat()
    key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if key in _checksums:
        return _checksums[key]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - max(state.st_mtime, state.st_ctime) > SETTLED_SECONDS:
        _checksums[key] = digest
    return digest
