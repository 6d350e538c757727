"""The Makefile, with commands that only say that they ran in place of the real ones."""

import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from helpers.paths import ROOT

READ = ("Makefile", "requirements.lock", "hashes.lock", "pyproject.toml", "_config.yml", "_launch.yml")


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the Makefile, what it reads, and an environment that is set up."""
    if shutil.which("make") is None:
        pytest.skip("there is no make to run")
    for name in READ:
        shutil.copy(ROOT / name, tmp_path / name)
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    (commands / "python").symlink_to(sys.executable)
    for name, said in {"study": "$1 runs", "jupyter-book": "$1 runs", "uv": "installs ${@: -1}"}.items():
        (commands / name).write_text(f'#!/usr/bin/env bash\necho "{name} {said}"\n')
        (commands / name).chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()
    return tmp_path


@pytest.fixture
def env():
    """Return the environment without that of a make that runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


@pytest.mark.parametrize("place", ["", "here", "/another/folder"])
def test_an_environment_of_another_folder_is_not_used(folder, env, place):
    ready = folder / ".venv" / ".ready"
    ready.write_text(f"{folder if place == 'here' else place}\n" if place else "")
    made = subprocess.run(
        ["make", "figures"], check=False, cwd=folder, env=env, capture_output=True, text=True
    )
    is_moved = place.startswith("/")
    assert (made.returncode != 0) == is_moved
    assert ("study figures runs" in made.stdout) != is_moved
    assert ("was made in /another/folder, and runs the code there. Delete it" in made.stderr) == is_moved


def test_an_environment_names_the_folder_that_it_was_made_in(folder, env):
    shutil.rmtree(folder / ".venv")
    command = ["make", "--dry-run", "ALONE=yes", "setup"]
    said = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout
    assert f'echo "{folder}" > .venv/.ready' in said


@pytest.mark.parametrize(("target", "extra"), [("bench", "bench"), ("check-book", "browser")])
def test_what_a_target_needs_is_installed_with_it(folder, env, target, extra):
    env |= {"PATH": f"{folder / '.venv' / 'bin'}:{env['PATH']}"}
    make = subprocess.run(["make", target], check=False, cwd=folder, env=env, capture_output=True, text=True)
    assert f"uv installs .[{extra}]\n" in make.stdout


@pytest.mark.parametrize(
    ("there", "clears"), [((), True), (("pyvenv.cfg",), False), (("pyvenv.cfg", ".begun"), True)]
)
def test_only_an_environment_that_make_itself_began_is_cleared(folder, env, there, clears):
    shutil.rmtree(folder / ".venv")
    for name in there:
        (folder / ".venv").mkdir(exist_ok=True)
        (folder / ".venv" / name).touch()
    command = ["make", "--dry-run", "ALONE=yes", "setup"]
    said = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout
    assert ("rm -rf .venv; mkdir .venv; touch .venv/.begun\n" in said) == clears
    assert "-m venv .venv\n" in said


@pytest.mark.parametrize(
    ("repository", "is_sound"),
    [
        ("https://github.com/owner/a.name", True),
        ("https://secret@github.com/owner/name", False),
        ("https://github.com/owner/name.git", False),
        ("https://github.com/owner/name/", False),
        ("https://github.com/owner", False),
        ("git@github.com:owner/name.git", False),
        ("owner/name", False),
    ],
)
def test_an_address_of_the_repository_that_pages_cannot_show_is_refused(folder, env, repository, is_sound):
    command = ["make", "--dry-run", "config", f"REPOSITORY={repository}"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == is_sound
    assert ("REPOSITORY must be as https://github.com/owner/name" in done.stderr) != is_sound
    assert "secret" not in done.stderr


def test_a_second_set_up_waits_for_the_first_and_then_finds_all_done(folder, env):
    ready = folder / ".venv" / ".ready"
    ready.unlink()
    (folder / "_build").mkdir()
    with (folder / "_build" / ".lock-sets").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make = subprocess.Popen(["make", "setup"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
        assert make.stdout.readline() == "Another make sets up in this folder: waiting for it.\n"
        ready.touch()
    after = make.communicate(timeout=60)[0]
    assert make.returncode == 0
    assert "installs" not in after


def test_a_book_waits_for_another_one_that_is_built_in_its_folder(folder, env):
    (folder / "_build").mkdir()
    with (folder / "_build" / ".lock-builds").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make = subprocess.Popen(["make", "book"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
        before = []
        while "waiting for it" not in (line := make.stdout.readline()):
            assert line, "make has ended and did not wait"
            before.append(line)
    after = make.communicate(timeout=60)[0]
    assert make.returncode == 0
    assert [line for line in before if line.endswith(" runs\n")] == ["study fetch runs\n"]
    ran = [line for line in after.splitlines() if line.endswith(" runs")]
    assert ran == ["study run runs", "study figures runs", "jupyter-book build runs"]
