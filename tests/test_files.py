"""Files are written whole or not at all, and read once for their checksums."""

import errno
import ntpath
import os
import shutil
import time
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest

from helpers import files
from helpers.errors import StudyError
from helpers.paths import relative_to
from helpers.store import lock_folder


def test_a_path_on_another_drive_stays_whole(monkeypatch):
    monkeypatch.setattr("os.path.relpath", ntpath.relpath)
    project = PureWindowsPath("C:/study")
    assert relative_to(PureWindowsPath("C:/data/rows.jsonl"), project) == r"..\data\rows.jsonl"
    assert relative_to(PureWindowsPath("D:/data/rows.jsonl"), project) == r"D:\data\rows.jsonl"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "kept.txt"
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.glob(".kept*")) == []


def test_a_file_that_stays_is_read_once_and_one_that_changes_anew(tmp_path, monkeypatch):
    read = []
    digest = files.hashlib.file_digest
    monkeypatch.setattr(files.hashlib, "file_digest", lambda file, name: read.append(1) or digest(file, name))
    path = tmp_path / "weights"
    path.write_text("one")
    os.utime(path, (1, 1))
    first = files.sha256_file(path)
    path.write_text("two")
    os.utime(path, (1, 1))
    assert files.sha256_file(path) != first  # in the same moment, with the same size and time
    monkeypatch.setattr(files, "SETTLED_SECONDS", -1.0)
    assert files.sha256_file(path) == files.sha256_file(path) == files.sha256_text("two")
    assert len(read) == 3
    time.sleep(0.05)
    path.write_text("one")
    os.utime(path, (1, 1))
    assert files.sha256_file(path) == first


def test_a_file_that_a_disk_does_not_take_is_named_by_its_own_name(tmp_path, file_limit):
    with file_limit(1000), pytest.raises(OSError, match="too large") as told:
        files.write_text(tmp_path / "rows.jsonl", "x" * 5000)
    said = files.explain_disk_error(told.value)
    assert f"limit is reached: {tmp_path / 'rows.jsonl'} could not be written" in said
    assert "MiB are free" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("n_bytes", "said"), [(592 * 2**10, "; 0.6 MiB are free"), (12.4 * 2**20, "; 12 MiB are free")]
)
def test_the_room_on_a_small_disk_is_not_rounded_up(monkeypatch, n_bytes, said):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=n_bytes))
    error = OSError(errno.ENOSPC, "no", "/here/rows")
    assert said in files.explain_disk_error(error)


def test_what_libraries_pass_on_of_a_full_disk_is_understood(tmp_path, file_limit):
    import pandas as pd
    import torch
    from safetensors.torch import save_file

    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "rows").write_bytes(bytes(5000))
    writers = {
        "a copied folder": lambda: shutil.copytree(tmp_path / "from", tmp_path / "to"),
        "weights": lambda: save_file({"a": torch.zeros(5000)}, tmp_path / "weights"),
        "a table": lambda: pd.DataFrame({"a": range(5000)}).to_parquet(tmp_path / "table"),
    }
    for write in writers.values():
        refused = pytest.raises(StudyError, match=f"limit is reached: {tmp_path}")
        with refused, file_limit(1000), files.explain_disk_errors(tmp_path):
            write()


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG]
)
def test_a_place_without_the_right_to_write_is_one_message(number):
    said = files.explain_disk_error(OSError(number, "no", "/here/.rows.1", None, "/here/rows"))
    assert said.startswith(f"/here/rows cannot be read or written ({os.strerror(number)}). Check the path")
    assert "STUDY_RUNS" in said


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_message(number, tmp_path, monkeypatch):
    import filelock

    def refuse(lock, *_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    named = pytest.raises(StudyError, match=f"{tmp_path} lies on a file system that gives no locks")
    with named, files.explain_disk_errors(tmp_path), lock_folder(tmp_path):
        pass


def test_an_error_of_another_kind_is_left_alone(tmp_path):
    for error in (
        ValueError("no"),
        OSError("the hub has no such model"),
        ConnectionError(errno.ECONNREFUSED, "no"),
    ):
        assert files.explain_disk_error(error) is None
        with pytest.raises(type(error)), files.explain_disk_errors(Path("here")):
            raise error
    with pytest.raises(shutil.SameFileError), files.explain_disk_errors(tmp_path):
        shutil.copy(__file__, __file__)
