"""The packages of the code: which may import which is written in pyproject.toml."""

import importlib
import os
import re
import subprocess
import sys
import tomllib

import pytest

from helpers.paths import ROOT

CODE = ROOT / "src" / "helpers"


def lint(config):
    main = "from importlinter.cli import lint_imports_command as main; main()"
    return subprocess.run(
        [sys.executable, "-c", main, "--no-cache", "--config", str(config)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_package_imports_from_the_packages_below_it_and_nothing_goes_in_a_circle():
    found = lint(ROOT / "pyproject.toml")
    assert found.returncode == 0, found.stdout


def test_an_import_from_above_is_found(tmp_path):
    text = (ROOT / "pyproject.toml").read_text()
    layers = tomllib.loads(text)["tool"]["importlinter"]["contracts"][0]["layers"]
    assert layers.index("study") < layers.index("evaluation")
    turned = text.replace('  "study",\n  "evaluation",\n', '  "evaluation",\n  "study",\n')
    (tmp_path / "pyproject.toml").write_text(turned)
    assert "BROKEN" in lint(tmp_path / "pyproject.toml").stdout


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_map_names_every_package(name):
    packages = {path.name for path in CODE.iterdir() if path.is_dir() and path.name[0] != "_"}
    text = (ROOT / name).read_text()
    assert not {name for name in packages if f"`{name}`" not in text and f"{name}/" not in text}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_map_lists_the_packages_from_the_top_as_the_rule_does(name):
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    places = {package: place for place, layer in enumerate(layers) for package in layer.split(" | ")}
    packages = "|".join(path.name for path in CODE.iterdir() if path.is_dir() and path.name[0] != "_")
    start = {"README.md": "src/helpers/ what", "CONTRIBUTING.md": "From the top:"}[name]
    text = (ROOT / name).read_text().split(start)[1].split("\nbook/")[0].split("Notebooks hold")[0]
    listed = re.findall(rf"^  ({packages})/|`({packages})`", text, re.MULTILINE)
    found = [places["".join(pair)] for pair in listed]
    assert len(found) == packages.count("|") + 1
    assert found == sorted(found)


def test_the_ways_that_contributors_are_told_of_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    ways = text[text.index("## One instruction's way") : text.index("## From issue")]
    names = re.findall(r"`([a-z]+(?:\.\w+)+)`", ways)
    assert len(names) > 20
    for name in names:
        if name.endswith(".jsonl"):
            continue
        module, _, attribute = name.rpartition(".")
        found = importlib.import_module(f"helpers.{module}")
        assert hasattr(found, attribute) or importlib.import_module(f"helpers.{name}")


def test_the_places_that_contributors_are_sent_to_exist():
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Where to add")[1].split("## One")[0]
    places = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?|cli\.py)`", table)
    assert len(places) > 10
    assert not [place for place in places if not any((root / place).exists() for root in (CODE, ROOT))]
