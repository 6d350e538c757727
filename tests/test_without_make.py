"""The commands that the lesson plan lists for machines without make are those of the Makefile."""

import os
import re
import shutil
import subprocess

import pytest

from helpers.paths import BOOK, ROOT

TARGETS = ("setup", "model", "pages", "student")
IN_WINDOWS = {"py -m venv": "python3 -m venv", ".venv\\Scripts\\": ".venv/bin/"}


def read_commands():
    page = (BOOK / "teaching.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```powershell\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for written, on_linux in IN_WINDOWS.items():
        block = block.replace(written, on_linux)
    return block.splitlines()


@pytest.fixture(scope="module")
def recipes():
    """Return what make would run for a book and a student edition in a fresh checkout."""
    if shutil.which("make") is None:
        pytest.skip("there is no make to compare with")
    settings = ["ALONE=yes", "PYTHON=python3", "PROFILE=laptop", "PARAMETERS=", "REPOSITORY="]
    command = ["make", "--dry-run", "--always-make", *settings, *TARGETS]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    shown = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    shown = re.sub(r"<\(compgen .*? cat (hashes\.lock)\)", r"\1", shown)  # PyTorch as the index has it
    return shown.replace("--config _build/config.yml", "--config _config.yml")


def test_every_command_listed_is_one_of_the_makefile(recipes):
    commands = read_commands()
    assert len(commands) > 5
    assert not [command for command in commands if command not in recipes]


def test_every_command_of_the_makefile_is_listed(recipes):
    own = re.findall(r"^\.venv/bin/(?:study|jupyter-book|python) .*?$", recipes, re.MULTILINE)
    own = {command.strip() for command in own if " pip " not in command}  # make prefers uv
    assert len(own) >= 5
    assert own <= set(read_commands())


def test_the_settings_of_the_book_are_whole_without_make():
    assert "$" not in (ROOT / "_config.yml").read_text(encoding="utf-8")


def test_git_keeps_the_bytes_of_stored_results_on_every_system():
    lines = (ROOT / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert "* text=auto eol=lf" in lines
