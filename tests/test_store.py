"""The store: complete or absent, never half."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest
from filelock import FileLock, SoftFileLock

from helpers import store
from helpers.errors import StudyError
from helpers.files import write_text


def compute(text="result", calls=None):
    def write(folder):
        if calls is not None:
            calls.append(folder)
        write_text(folder / "out.txt", text)
        return {"n": 1}

    return write


def run(settings=None, inputs=None, make=None, version=1):
    return store.run_stage("toy", settings or {"a": 1}, inputs or {}, version, make or compute())


def test_a_second_call_loads_and_computes_nothing():
    calls = []
    first, second = run(make=compute(calls=calls)), run(make=compute(calls=calls))
    assert len(calls) == 1
    assert (first.reused, second.reused) == (False, True)
    assert first.path == second.path


@pytest.mark.parametrize(("kind", "tells"), [(FileLock, False), (SoftFileLock, True)])
def test_what_to_do_about_a_marker_is_said_where_the_file_system_has_no_locks(tmp_path, kind, tells):
    marker = tmp_path / store.LOCK
    assert (f"delete {marker}" in store.explain_marker(kind(marker))) == tells


def test_looking_a_result_up_tells_its_folder_and_computes_nothing():
    calls = []
    planned = store.plan_only(run, make=compute(calls=calls))
    assert not calls
    assert not planned.is_stored
    assert not planned.path.exists()
    assert run().path == planned.path
    assert store.plan_only(run).is_stored


def test_what_a_block_loads_or_makes_is_listed_once_it_has_ended():
    with store.track_loaded() as outer:
        first = run()
        with store.track_loaded() as loaded:
            assert (run().reused, run({"a": 2}).reused) == (True, False)
            store.plan_only(run, {"a": 3})
    assert loaded == {run().path, run({"a": 2}).path}
    assert outer == {first.path}


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes UTF-8 alone")
def test_a_folder_whose_name_is_no_utf_8_is_listed_too(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "r\udcff\u2028\ns"))
    with store.track_loaded() as loaded:
        made = run()
    assert loaded == {made.path}


def test_whatever_changes_the_result_changes_the_folder():
    paths = {
        run().path,
        run({"a": 2}).path,
        run(inputs={"file": "0" * 64}).path,
        run(version=2).path,
    }
    assert len(paths) == 4


def test_a_run_that_died_has_no_manifest_and_is_computed_again():
    def die(folder):
        write_text(folder / "out.txt", "half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make=die)
    assert run().file("out.txt").read_text() == "result"


def test_an_altered_file_is_found_out():
    finished = run()
    finished.file("out.txt").write_text("other")
    with pytest.raises(StudyError, match=r"out\.txt is missing or was altered.*delete"):
        run()


DAMAGED = {
    "broken off": "{",
    "empty": "",
    "list": "[]",
    "null": "null",
    "deep": "[" * 100_000,
    "long number": "9" * 10_000,
    "another's": '{"files": {}}',
    "files are a list": '{"stage": "toy", "files": []}',
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_result_with_a_damaged_manifest_is_named_and_made_again(damage, caplog, monkeypatch):
    monkeypatch.delenv("STUDY_PROGRESS")
    run().file(store.MANIFEST).write_text(DAMAGED[damage])
    with store.load_only(), pytest.raises(StudyError, match=r"manifest\.json cannot be read"):
        run()
    assert not store.plan_only(run).is_stored
    again = run()
    assert not again.reused
    assert "manifest.json cannot be read as a manifest. It is made again." in caplog.text
    assert run().reused


def test_a_manifest_in_other_bytes_is_named_and_made_again():
    run().file(store.MANIFEST).write_bytes(b"\xff\xfe\x00")
    assert not run().reused


def test_the_manifest_leaves_itself_out():
    finished = run()
    finished.file("part").mkdir()
    finished.file("part/manifest.json").write_text("another's")
    assert store._list_files(finished.path) == ["out.txt", "part/manifest.json"]


MAKE_SLOWLY = """
import sys, time
from pathlib import Path
from helpers import store
from helpers.files import write_text

def compute(folder):
    Path(sys.argv[1]).open("a").write("computed\\n")
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
    write_text(folder / "out.txt", "result")
    return {"n": 1}

print(store.run_stage("toy", {"a": 1}, {}, 1, compute).reused)
"""


def test_of_two_processes_on_one_store_the_second_waits_says_so_and_loads(tmp_path, runs):
    log, go_on = tmp_path / "log", tmp_path / "go on"
    start = lambda: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", MAKE_SLOWLY, str(log), str(go_on)],
        env=os.environ | {"STUDY_PROGRESS": ""},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    first = start()
    while not log.exists() and first.poll() is None:
        time.sleep(0.01)
    second = start()
    said = second.stderr.readline()
    go_on.touch()
    (made, _), (loaded, _) = first.communicate(), second.communicate()
    assert (made, loaded) == ("False\n", "True\n")
    assert log.read_text() == "computed\n"
    assert "Another process makes" in said
    assert run().reused
    assert set(run().manifest["files"]) == {"out.txt"}


def test_one_of_several_processes_that_cannot_wait_apart_says_so(monkeypatch):
    def run_inside(folder):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(StudyError, match="Another process makes"):
            run()
        monkeypatch.setenv("RANK", "1")
        write_text(folder / "out.txt", "result")
        return {}

    run(make=run_inside)


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
def test_a_number_of_a_launcher_that_is_none_is_one_message(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    with pytest.raises(StudyError, match=f"{name} must be a whole number.*'x' was found. Unset it"):
        run()


def test_the_manifest_tells_where_the_result_comes_from():
    manifest = run(inputs={"seeds": "ab"}).manifest
    assert manifest["inputs"] == {"seeds": "ab"}
    assert {
        "settings",
        "files",
        "commit",
        "machine",
        "versions",
        "seconds",
        "created",
        "facts",
    } <= manifest.keys()


def test_a_full_disk_is_one_message_and_keeps_what_was_finished(runs):
    def fill(folder):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "out.txt"))

    run()
    with pytest.raises(StudyError, match="The disk is full"):
        run({"a": 2}, make=fill)
    assert run().reused


def test_a_folder_that_may_not_be_written_is_one_message(runs):
    def refuse(folder):
        raise OSError(errno.EROFS, "read-only")

    with pytest.raises(StudyError, match=f"{runs}.* cannot be read or written .*STUDY_RUNS"):
        run(make=refuse)


def test_other_disk_errors_are_not_hidden():
    def refuse(folder):
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        run(make=refuse)


def test_within_load_only_nothing_is_computed():
    run()
    with store.load_only():
        assert run().reused
        with pytest.raises(StudyError, match="No stored result"):
            run({"a": 3})


def test_manifests_hold_no_path_of_the_machine(tmp_path):
    text = json.dumps(run().manifest)
    assert str(tmp_path) not in text
