"""The public rows: the same training and held-out rows from the mirror as from the
repositories' own files.
"""

import json

import pytest

from helpers.errors import StudyError
from helpers.jsonl import dump_rows, read_rows
from helpers.records import Instruction
from helpers.synthesis import public
from helpers.synthesis.public import HELD_OUT, MIRROR, OTHERS, SORTED, TRAINING, UNSORTED, load_public_rows


def row(n, output="yes"):
    return {
        "instruction": f"Say whether drug {n} is safe.",
        "input": "" if n % 2 else f"drug {n}",
        "output": output,
    }


PLACES = {path: [row(10 * index), row(10 * index + 1)] for index, path in enumerate(SORTED)}
PLACES |= {path: [row(50 + index)] for index, path in enumerate(OTHERS)}
WHISPERER = [row(0), row(50), row(90), row(91, output="")]


@pytest.fixture
def repositories(tmp_path, monkeypatch):
    """Lay the repositories' files out on the disk and let the addresses lead there."""
    for owner, files in (("tasa", PLACES), ("whisperer", {UNSORTED: WHISPERER})):
        for path, rows in files.items():
            file = tmp_path / owner / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(rows))
    addresses = {
        "TASA": f"{(tmp_path / 'tasa').as_uri()}/",
        "Data-Whisperer": f"{(tmp_path / 'whisperer').as_uri()}/",
    }
    monkeypatch.setattr(public, "REPOSITORIES", addresses)


@pytest.fixture
def mirror(tmp_path):
    """Write the mirror of both repositories: every row once, with its sources."""
    sources = {}
    for name, path, found in (
        *(("TASA", path, entry) for path, rows in PLACES.items() for entry in rows),
        *(("Data-Whisperer", UNSORTED, r) for r in WHISPERER),
    ):
        sources.setdefault(json.dumps(found), []).append(f"{name}:{path}")
    (tmp_path / "instruct").mkdir()
    (tmp_path / "instruct" / MIRROR).write_text(
        dump_rows(
            json.loads(text) | {"id": n, "sources": found} for n, (text, found) in enumerate(sources.items())
        )
    )
    return tmp_path


def test_mirror_and_repositories_give_the_same_rows(repositories, mirror):
    fetched, mirrored = load_public_rows(None), load_public_rows(mirror)
    assert all(
        fetched.file(name).read_bytes() == mirrored.file(name).read_bytes() for name in (TRAINING, HELD_OUT)
    )
    training = read_rows(fetched.file(TRAINING), Instruction)
    assert sorted(entry.category for entry in training) == ["gen", "gen", "ie", "ie", "qa", "qa"]
    assert [entry.instruction for entry in read_rows(fetched.file(HELD_OUT), Instruction)] == [
        row(90)["instruction"]
    ]


def test_what_cannot_be_found_says_what_would_do(tmp_path, monkeypatch):
    with pytest.raises(StudyError, match="Leave `data` empty to fetch it"):
        load_public_rows(tmp_path)
    monkeypatch.setattr(
        public, "REPOSITORIES", dict.fromkeys(public.REPOSITORIES, f"{tmp_path.as_uri()}/nothing/")
    )
    with pytest.raises(StudyError, match="Go online, or name a folder"):
        load_public_rows(None)


def test_what_was_fetched_once_is_not_fetched_again(repositories, monkeypatch):
    first = load_public_rows(None)
    monkeypatch.setattr(public, "fetch_rows", lambda: pytest.fail("fetched again"))
    assert load_public_rows(None).path == first.path
