"""One place holds the exact versions; the others follow it."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import chain

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from helpers.paths import ROOT

NAMED_OTHERWISE = {"sklearn", "yaml"}  # scikit-learn, PyYAML
WITH_JUPYTER_BOOK = {"sphinx", "docutils", "pybtex"}


def normalize(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock():
    lines = (ROOT / "requirements.lock").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", line) for line in lines)
    return {normalize(name): version for name, version in (line.split("==") for line in lines)}


def read_hashes(text):
    """Return the entries of a lock with hashes: name to requirement and number of hashes."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    entries = [line.split(" --hash=sha256:") for line in lines]
    wanted = [(Requirement(entry[0]), len(entry) - 1) for entry in entries]
    return {normalize(need.name): (need, n_hashes) for need, n_hashes in wanted}


def test_the_project_gives_ranges_and_the_lock_holds_a_version_in_each():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        Requirement(line)
        for line in [*project["dependencies"], *extras["book"], *extras["setup"], *extras["test"]]
    ]
    assert not [str(need) for need in wanted if "==" in str(need) or "<" not in str(need)]
    lock = read_lock()
    assert not [str(need) for need in wanted if not need.specifier.contains(lock[normalize(need.name)])]


def test_every_pin_takes_the_oldest_python_that_the_project_takes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    installed = {normalize(found.metadata["Name"]): found for found in metadata.distributions()}
    pinned = {
        name: installed[name] for name, version in read_lock().items() if is_at(installed, name, version)
    }
    assert len(pinned) > 200
    assert not [
        f"{name} asks for Python {found.metadata['Requires-Python']}"
        for name, found in pinned.items()
        if not SpecifierSet(found.metadata["Requires-Python"] or "").contains(oldest)
    ]


def is_at(installed, name, version):
    return name in installed and installed[name].version.split("+")[0] == version


def test_what_the_code_imports_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = chain(project["dependencies"], *project["optional-dependencies"].values())
    declared = {normalize(Requirement(line).name) for line in needed} | NAMED_OTHERWISE | WITH_JUPYTER_BOOK
    imported = {
        normalize(name.split(".")[0])
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    known = {normalize(name) for name in sys.stdlib_module_names} | {"helpers"}
    assert not imported - known - declared


def test_the_conda_environment_takes_its_pins_from_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    [pip] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert [name for name in conda if "=" in name] == ["python=3.11"]
    assert "-r requirements.lock" in pip
    assert not any("==" in line for line in pip)


def test_jupyter_book_stays_below_version_two():
    assert read_lock()["jupyter-book"].startswith("1.")


def test_the_readme_names_the_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)) <= targets


def test_printing_without_a_browser_is_refused_before_the_book_is_made(tmp_path):
    make = ["make", "--silent", "pdf", "CHROMIUM=", "PYTHON=false", f"VENV={tmp_path}"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode
    assert done.stderr.startswith("No browser was found to print with.")


def test_a_machine_that_has_jupyter_keeps_its_own():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not [pin for pin in project["dependencies"] if pin.startswith(("jupyter", "ipykernel"))]


def test_setting_up_takes_pytorch_and_uv_at_their_pins(tmp_path):
    make = ["make", "--dry-run", "--silent", "ALONE=yes", "setup", f"VENV={tmp_path}"]
    commands = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lock = read_lock()
    assert f"'torch=={lock['torch']}+cpu'" in commands
    [uv] = re.findall(r"--require-hashes --requirement (<\(sed .*?\))", commands)
    assert list(read_hashes(read_in_bash(uv))) == ["uv"]
    assert (
        f"|| {tmp_path}/bin/python -m pip install --quiet --no-deps --require-hashes --requirement <("
        in commands
    )


def test_an_index_that_builds_packages_anew_is_used_without_hashes():
    [words] = re.findall(r"`make (setup HASHED[^`]*)`", (ROOT / "book/reproduce.md").read_text())
    make = ["make", "--dry-run", "--always-make", "--silent", "ALONE=yes", *words.split()]
    commands = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "python -m pip install --quiet --requirement requirements.lock" in commands


def read_in_bash(substitution):
    shown = subprocess.run(["bash", "-c", f"cat {substitution}"], cwd=ROOT, capture_output=True, check=True)
    return shown.stdout.decode()


def test_the_lock_with_hashes_has_every_pin_of_the_lock_without():
    hashed = read_hashes((ROOT / "hashes.lock").read_text())
    assert not [name for name, (_, n_hashes) in hashed.items() if not n_hashes]
    versions = {name: need.specifier for name, (need, _) in hashed.items()}
    assert not [
        name for name, version in read_lock().items() if versions.get(name) != SpecifierSet(f"=={version}")
    ]


def test_pytorch_without_cuda_leaves_cuda_out_and_nothing_else(tmp_path):
    make = ["make", "--dry-run", "--silent", "ALONE=yes", "setup", f"VENV={tmp_path}"]
    commands = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    chosen, again = re.findall(r"--requirement (<\(compgen .*?hashes\.lock\)|hashes\.lock)", commands)
    assert chosen == again
    assert read_in_bash(chosen) == (ROOT / "hashes.lock").read_text()
    (tmp_path / "lib/python3.11/site-packages/torch-2.0+cpu.dist-info").mkdir(parents=True)
    machine = {
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "python_version": "3.11",
        "python_full_version": "3.11.0",
    }
    needs = [need for need, _ in read_hashes(read_in_bash(chosen)).values()]
    installed = {normalize(n.name) for n in needs if n.marker is None or n.marker.evaluate(machine)}
    assert installed == {*read_lock(), "setuptools", "wheel"}
