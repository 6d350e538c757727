"""The dataset folder."""

import json
import os
from types import SimpleNamespace

import pytest
from huggingface_hub.utils import filter_repo_objects

from helpers.errors import StudyError
from helpers.redaction import hide_secrets
from helpers.store import LOCK
from helpers.synthesis.export import (
    CARD,
    COLUMNS,
    CROISSANT,
    JSON_LINES,
    PARQUET,
    export_dataset,
    name_size,
    push_dataset,
)
from helpers.synthesis.pipeline import synthesize
from helpers.synthesis.settings import SynthesisSettings


@pytest.fixture
def exported():
    return export_dataset(synthesize(SynthesisSettings(n_requests=3)))


def test_the_datasets_library_opens_the_folder_as_it_is(exported, tmp_path):
    from datasets import load_dataset

    rows = load_dataset(str(exported.path), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == list(COLUMNS)
    assert len(rows) == exported.manifest["facts"]["n_rows"]
    assert (
        json.loads(exported.file(JSON_LINES).read_text().splitlines()[0])["instruction"]
        == rows[0]["instruction"]
    )


def test_the_same_rows_give_the_same_bytes(exported, monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "other"))
    again = export_dataset(synthesize(SynthesisSettings(n_requests=3)))
    assert again.manifest["files"] == exported.manifest["files"]


def test_the_card_says_what_the_rows_are_and_are_not(exported):
    card = exported.file(CARD).read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "Not for clinical use" in card
    assert "NOT the rows that the paper's authors published" in card


@pytest.mark.parametrize(
    ("n_rows", "size"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (99_999, "10K<n<100K"),
        (100_000, "100K<n<1M"),
        (1_000_000, "1M<n<10M"),
    ],
)
def test_the_size_of_a_dataset_is_named_as_the_hub_does(n_rows, size):
    assert name_size(n_rows) == size


def test_the_croissant_description_is_valid_and_reads_the_rows(exported):
    croissant = pytest.importorskip("mlcroissant")
    dataset = croissant.Dataset(jsonld=exported.file(CROISSANT))
    assert not dataset.metadata.ctx.issues.errors
    first = next(iter(dataset.records("instructions")))
    assert first["instructions/category"].decode() in ("qa", "ie", "gen", "other")


def test_pushing_names_what_is_missing(exported, tmp_path, monkeypatch):
    with pytest.raises(StudyError, match=f"{PARQUET}, {CARD}, {CROISSANT} is missing"):
        push_dataset(tmp_path, "me/rows")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(StudyError, match="HF_TOKEN is not set"):
        push_dataset(exported.path, "me/rows")


@pytest.mark.parametrize("end", ["\n", "\r", " "])
def test_a_token_with_an_end_of_line_is_sent_without_it_and_never_shown(exported, monkeypatch, end):
    sent = []

    class WeakLine:
        def __init__(self, token):
            sent.append(token)

        def create_repo(self, *_asked, **_given):
            raise ValueError(f"Illegal header value {f'Bearer {sent[0]}'.encode()!r}")

    monkeypatch.setenv("HF_TOKEN", f"a-token-of-the-hub{end}")
    monkeypatch.setattr("huggingface_hub.HfApi", WeakLine)
    with pytest.raises(StudyError, match="Illegal header value b'Bearer [*]{3}") as caught:
        push_dataset(exported.path, "me/rows")
    assert sent == ["a-token-of-the-hub"]
    assert "a-token" not in str(caught.value)
    plainly = f"Illegal header value {os.environ['HF_TOKEN'].encode()!r}"
    assert "a-token" not in hide_secrets(plainly)


def test_rows_are_not_pushed_where_everybody_sees_them_unless_asked(exported, monkeypatch):
    uploaded, sent = [], []

    class PublicHub:
        def __init__(self, **_given):
            pass

        def create_repo(self, repo_id, **_given):
            return f"https://huggingface.co/datasets/{repo_id}"

        def dataset_info(self, _repo_id):
            return SimpleNamespace(private=False)

        def upload_folder(self, repo_id, folder_path, ignore_patterns, **_given):
            uploaded.append(repo_id)
            names = [path.relative_to(folder_path).as_posix() for path in folder_path.rglob("*")]
            sent.extend(filter_repo_objects(names, ignore_patterns=ignore_patterns))

    monkeypatch.setenv("HF_TOKEN", "a-token")
    monkeypatch.setattr("huggingface_hub.HfApi", PublicHub)
    with pytest.raises(StudyError, match="everybody sees it. Pass `--public`"):
        push_dataset(exported.path, "me/rows")
    assert uploaded == []
    assert push_dataset(exported.path, "me/rows", is_public=True).endswith("/me/rows")
    assert uploaded == ["me/rows"]
    there = {path.name for path in exported.path.iterdir()}
    assert there - set(sent) == {"manifest.json", LOCK}


def test_a_token_that_cannot_be_sent_and_a_login_in_the_hubs_address_are_refused(exported, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh\nijklmnopqrst")
    with pytest.raises(StudyError, match="HF_TOKEN must be made of ASCII") as caught:
        push_dataset(exported.path, "me/rows")
    assert not any(part in str(caught.value) for part in ("abcdefgh", "ijklmnop"))
    monkeypatch.setenv("HF_TOKEN", "a-token")
    monkeypatch.setenv("HF_ENDPOINT", "http://user:hunter22@host")
    with pytest.raises(StudyError, match="HF_ENDPOINT must be an address without") as caught:
        push_dataset(exported.path, "me/rows")
    assert "hunter22" not in str(caught.value)
