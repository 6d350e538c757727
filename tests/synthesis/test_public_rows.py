"""The public rows: the same training and held-out rows from the mirror as from the
repository's own files.
"""

import json
from http.client import IncompleteRead
from io import BytesIO

import pytest

from helpers.errors import StudyError
from helpers.jsonl import dump_rows, read_rows
from helpers.records import Instruction
from helpers.synthesis import public_rows
from helpers.synthesis.public_rows import FILES, HELD_OUT_FILE, MIRROR, TRAINING_FILE, load_public_rows


def row(n, output="yes"):
    return {
        "instruction": f"Say whether drug {n} is safe.",
        "input": "" if n % 2 else f"drug {n}",
        "output": output,
    }


PLACES = {
    path: [row(10 * index), row(10 * index + 1)]
    for index, path in enumerate([*FILES[TRAINING_FILE], *FILES[HELD_OUT_FILE]])
}
PLACES[next(iter(FILES[HELD_OUT_FILE]))] += [row(0), row(99, output="")]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Lay the repository's files out on the disk and let its address lead there."""
    for path, rows in PLACES.items():
        file = tmp_path / "tasa" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(rows))
    monkeypatch.setattr(public_rows, "REPOSITORY", f"{(tmp_path / 'tasa').as_uri()}/")


@pytest.fixture
def mirror(tmp_path):
    """Write the mirror of the repository: every row once, with its sources; and a row of another one."""
    sources = {json.dumps(row(70)): ["Data-Whisperer:data/bioinstruct/test.json"]}
    for path, rows in PLACES.items():
        for entry in rows:
            sources.setdefault(json.dumps(entry), []).append(f"TASA:{path}")
    (tmp_path / "instruct").mkdir()
    (tmp_path / "instruct" / MIRROR).write_text(
        dump_rows(
            json.loads(text) | {"id": n, "sources": found} for n, (text, found) in enumerate(sources.items())
        )
    )
    return tmp_path


def test_mirror_and_repository_give_the_same_rows(repository, mirror):
    fetched, mirrored = load_public_rows(None), load_public_rows(mirror)
    assert all(
        fetched.file(name).read_bytes() == mirrored.file(name).read_bytes()
        for name in (TRAINING_FILE, HELD_OUT_FILE)
    )
    training = read_rows(fetched.file(TRAINING_FILE), Instruction)
    assert sorted(entry.category for entry in training) == ["gen", "gen", "ie", "ie", "qa", "qa"]
    held_out = read_rows(fetched.file(HELD_OUT_FILE), Instruction)
    assert sorted(entry.category for entry in held_out) == ["gen", "gen", "ie", "ie", "qa", "qa"]
    assert not {entry.id for entry in training} & {entry.id for entry in held_out}


def test_rows_that_are_left_out_are_counted(mirror, monkeypatch, caplog):
    monkeypatch.delenv("STUDY_PROGRESS")
    load_public_rows(mirror)
    assert "2 of 14 public rows are left out" in caplog.text


def test_what_cannot_be_found_says_what_would_do(tmp_path, monkeypatch):
    with pytest.raises(StudyError, match="Leave `data` empty to fetch it"):
        load_public_rows(tmp_path)
    monkeypatch.setattr(public_rows, "REPOSITORY", f"{tmp_path.as_uri()}/nothing/")
    with pytest.raises(StudyError, match="Go online, or name a folder"):
        load_public_rows(None)


@pytest.mark.parametrize("content", [b"<html>", b'[{"instruction"', b"\xff", b"[" * 100_000])
def test_what_is_fetched_must_be_json(content, repository, monkeypatch, tmp_path):
    (tmp_path / "tasa" / next(iter(PLACES))).write_bytes(content)
    with pytest.raises(StudyError, match=r"cannot be fetched \(.+\)\. Go online, or name a folder"):
        load_public_rows(None)


def test_a_line_that_breaks_while_rows_are_fetched_is_one_message(monkeypatch):
    def break_off(*_, **__):
        raise IncompleteRead(b"[", 100)

    monkeypatch.setattr(public_rows.json, "load", break_off)
    monkeypatch.setattr(public_rows.urllib.request, "urlopen", lambda *_, **__: BytesIO())
    with pytest.raises(StudyError, match=r"cannot be fetched \(IncompleteRead\(1 bytes read, 100 more"):
        load_public_rows(None)


def test_what_was_fetched_once_is_not_fetched_again(repository, monkeypatch):
    first = load_public_rows(None)
    monkeypatch.setattr(public_rows, "fetch_rows", lambda: pytest.fail("fetched again"))
    assert load_public_rows(None).path == first.path


SOURCES = [f"TASA:{path}" for path in PLACES]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sources": None}, "a list of texts as `sources`"),
        ({"sources": SOURCES[0]}, "a list of texts as `sources`"),
        ({"sources": [1]}, "a list of texts as `sources`"),
        ({"sources": SOURCES, "input": ["a"]}, "must have texts"),
        ({"sources": ["elsewhere:train.json"]}, "names one of the training files"),
        ({"sources": SOURCES[:1]}, "names one of the held_out files"),
    ],
)
def test_a_file_of_another_form_is_refused_before_it_gives_no_rows(changes, told, tmp_path):
    (tmp_path / MIRROR).write_text(dump_rows([row(1) | changes]))
    with pytest.raises(StudyError, match=told):
        load_public_rows(tmp_path)
