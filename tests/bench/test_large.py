"""A large model goes through all steps, and a step that takes too much memory is told."""

import json

import pytest

from helpers.bench import large
from helpers.errors import StudyError


@pytest.fixture
def go(monkeypatch, tmp_path, runs):
    """Return what goes through all steps, each of which takes as much memory as is said."""
    monkeypatch.setattr(large, "write_model", lambda *_: None)
    manifest = runs / "tuning" / "x" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"facts": {"memory_gib": {"total": 15.0}}}))

    def go(**peaks):
        monkeypatch.setattr(
            large,
            "measure",
            lambda name, *_: {"step": name, "seconds": 1, "peak_gib": peaks.get(name.split()[0], 12.0)},
        )
        return large.go_through(tmp_path, "20m")

    return go


def test_all_steps_are_returned_and_each_is_told(go, capsys):
    steps = go(libraries=0.5, resumed=15.6)
    names = ["libraries alone", "killed", "resumed", "scored", "merged", "merged scored"]
    assert [step["step"] for step in steps] == names
    assert capsys.readouterr().out.splitlines()[2] == "resumed: 1 s, 15.6 GiB"


def test_a_step_beyond_the_memory_or_the_estimate_is_refused(go):
    with pytest.raises(StudyError, match=r"No step may take more than 22\.4 GiB"):
        go(libraries=0.5, resumed=15.6, scored=23.0)
    with pytest.raises(StudyError, match=r"estimated to take 15\.00 GiB, but 18\.00 GiB was measured"):
        go(libraries=0.5, resumed=18.5)


def test_an_unknown_shape_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(StudyError, match="`shape` must be one of 7b, 20m, but '8b' was found"):
        large.go_through(tmp_path / "new", "8b")
    assert not (tmp_path / "new").exists()
