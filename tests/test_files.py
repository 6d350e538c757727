"""Files are written whole or not at all, and read once for their checksums."""

import os
import time

import pytest

from helpers import files


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
