"""Files written whole or not at all, and their checksums."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

from helpers.errors import StudyError

SETTLED_SECONDS = 2.0  # no file system's clock is coarser
_checksums: dict[tuple[int, ...], str] = {}


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: into a neighbour first, then renamed.

    Raises:
        StudyError: the path names no file, such as an empty one.
    """
    if not path.name:
        raise StudyError(f"A file to write must have a name, but {str(path)!r} was found. Name a file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        neighbour.write_text(text, encoding="utf-8")
        replace_whole(neighbour, path)
    finally:
        neighbour.unlink(missing_ok=True)


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
