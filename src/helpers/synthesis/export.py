"""The instruction data as a dataset for elsewhere: JSONL, Parquet, a card and Croissant metadata."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.files import sha256_file, write_text
from helpers.jsonl import read_json_lines
from helpers.models.hub import check_hub_address
from helpers.paths import shown
from helpers.provider.text_cleaning import name_source, quote_line
from helpers.records import CATEGORIES
from helpers.store import Run, run_stage
from helpers.synthesis.pipeline import INSTRUCTIONS
from helpers.synthesis.settings import RECORDED

if TYPE_CHECKING:
    import pandas as pd

NAME = "bioinstruct-open"
COLUMNS = (
    "id",
    "category",
    "instruction",
    "input",
    "output",
    "request",
    "seed_ids",
    "source",
    "prompt_sha256",
    "input_tokens",
    "output_tokens",
)
JSON_LINES, PARQUET, CARD, CROISSANT = "train.jsonl", "train.parquet", "README.md", "croissant.json"
VERSION = 4


_CROISSANT_TERMS = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes "
    "isLiveDataset jsonPath key md5 parentField path recordSet "
    "references regex repeated replace samplingRate separator source subField transform"
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
} | {term: f"cr:{term}" for term in _CROISSANT_TERMS.split()}


@dataclasses.dataclass(frozen=True)
class Licence:
    """Under which terms the rows may be used, and why."""

    id: str
    url: str
    note: str


OURS = Licence(
    "apache-2.0",
    "https://www.apache.org/licenses/LICENSE-2.0",
    "Written for this project, under its licence.",
)
OF_PROVIDER = Licence(
    "other",
    "https://openai.com/policies/",
    "Written by the teacher named in `source`; the terms of its provider apply.",
)
OF_MAKER = Licence(
    "other",
    "https://spdx.org/licenses/",
    "Written by the model named in `source`; the licence that its maker gave it applies.",
)


def export_dataset(synthesis: Run) -> Run:
    """Write the instructions of a synthesis run as a dataset folder that `datasets.load_dataset` opens and a
    hub takes as it is.

    Returns:
        A run with `train.jsonl`, `train.parquet`, `README.md` (the card) and `croissant.json` (Croissant
        1.0).
    """
    settings = synthesis.manifest["settings"]

    def compute(folder: Path) -> dict[str, Any]:
        table = tabulate_rows(read_json_lines(synthesis.file(INSTRUCTIONS)))
        table.to_json(folder / JSON_LINES, orient="records", lines=True, force_ascii=False)
        table.to_parquet(folder / PARQUET, index=False)
        licence = (
            OURS if settings["teacher"] == RECORDED else OF_MAKER if settings["teacher_url"] else OF_PROVIDER
        )
        write_text(folder / CARD, compose_card(table, settings, licence, synthesis.fingerprint))
        write_text(folder / CROISSANT, json.dumps(describe_croissant(folder, licence), indent=1) + "\n")
        return {"n_rows": len(table)}

    return run_stage("dataset", {}, {"synthesis": synthesis.fingerprint}, VERSION, compute)


def tabulate_rows(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return instruction rows as one flat table; tokens are those of the whole request, missing where no
    server billed any.
    """
    import pandas as pd

    flat = [
        row | {name: (row["usage"] or {}).get(name) for name in ("input_tokens", "output_tokens")}
        for row in rows
    ]
    return pd.DataFrame(flat, columns=list(COLUMNS)).astype(
        {"input_tokens": "Int64", "output_tokens": "Int64"}
    )


def compose_card(table: pd.DataFrame, settings: dict[str, Any], licence: Licence, fingerprint: str) -> str:
    """Return the dataset card: what it is, how it was made, what it is not for."""
    counts = Counter(table["category"])
    lines = "\n".join(f"| {name} | {counts[name]} |" for name in CATEGORIES)
    told = settings | {"teacher": name_source(settings["teacher"])}  # of a path no more than its end
    made = "\n".join(f"| {name} | `{value}` |" for name, value in told.items() if name != "teacher_url")
    return f"""---
license: {licence.id}
language: [en]
pretty_name: {NAME}
size_categories: ["{name_size(len(table))}"]
task_categories: [question-answering, text-generation, token-classification]
tags: [biomedical, synthetic, instruction-tuning]
configs:
- config_name: default
  data_files: {PARQUET}
---

# {NAME}

{len(table):,} biomedical instructions with input, output and category, made by the method of BioInstruct
(Tran et al., JAMIA 2024) from 80 seed tasks. They are NOT the rows that the paper's authors published.

| category | rows |
|---|---|
{lines}

**How they were made.** A teacher saw three seed tasks a request and wrote seventeen more; what was malformed,
too long, not for text, identifying, taken from the benchmark or too like an earlier instruction was rejected.
The run's fingerprint is `{fingerprint}`; its settings:

| setting | value |
|---|---|
{made}

**Columns.** `id`, `category`, `instruction`, `input`, `output`; then where each row comes from: `request`,
`seed_ids` (the seeds it showed), `source` (who wrote the reply), `prompt_sha256`, `input_tokens` and
`output_tokens` (of the whole request, where a server billed them).

**Licence.** {licence.note}

**Limits.** Synthetic text, not checked by physicians; facts may be wrong, people are invented. Names that are
invented cannot be told from real ones by a filter. **Not for clinical use.**
"""


def name_size(n_rows: int) -> str:
    """Return the hub's class for a dataset's number of rows, such as '1K<n<10K'."""
    bounds = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    place = len(str(n_rows)) - 3  # of the upper bound, since each is ten times the one before
    return f"{bounds[place - 1]}<n<{bounds[place]}" if place > 0 else f"n<{bounds[0]}"


def describe_croissant(folder: Path, licence: Licence) -> dict[str, Any]:
    """Return the Croissant 1.0 description of a dataset folder, whose Parquet file is there already."""
    fields = [_describe_field(name) for name in COLUMNS]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": NAME,
        "description": "Biomedical instructions made by the method of BioInstruct (Tran et al., JAMIA 2024). "
        "Not for clinical use.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": licence.url,
        "citeAs": "Tran et al. BioInstruct: instruction tuning of large language models for biomedical "
        "natural language processing. JAMIA, 2024.",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": PARQUET,
                "name": PARQUET,
                "contentUrl": PARQUET,
                "encodingFormat": "application/x-parquet",
                "sha256": sha256_file(folder / PARQUET),
            }
        ],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "instructions", "name": "instructions", "field": fields}
        ],
    }


def _describe_field(name: str) -> dict[str, Any]:
    field = {
        "@type": "cr:Field",
        "@id": f"instructions/{name}",
        "name": name,
        "dataType": "sc:Integer" if name in ("request", "input_tokens", "output_tokens") else "sc:Text",
        "source": {"fileObject": {"@id": PARQUET}, "extract": {"column": name}},
    }
    return field | ({"repeated": True} if name == "seed_ids" else {})


def push_dataset(folder: Path, repo_id: str, is_public: bool = False) -> str:
    """Upload a dataset folder to the Hugging Face hub, private unless asked otherwise; returns its address.

    The token comes from the environment (`HF_TOKEN`).

    Raises:
        StudyError: the folder is not a dataset, no token is set, the hub refuses, or everybody sees what the
            repository holds where that was not asked for.
    """
    from huggingface_hub import HfApi

    missing = [name for name in (PARQUET, CARD, CROISSANT) if not (folder / name).is_file()]
    if missing:
        raise StudyError(
            f"{shown(folder)} is not a dataset: {', '.join(missing)} is missing. Name the folder that `study "
            "synthesize` prints."
        )
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise StudyError(
            "HF_TOKEN is not set. Make a token with the right to write at huggingface.co/settings/tokens and "
            "set it in the environment."
        )
    if not re.fullmatch(r"[!-~]+", token):
        raise StudyError(
            "HF_TOKEN must be made of ASCII letters, digits and signs, but something else was found in it. "
            "Copy the token again."
        )
    check_hub_address()
    api = HfApi(token=token)
    try:
        address = api.create_repo(repo_id, repo_type="dataset", private=not is_public, exist_ok=True)
        if not is_public and not api.dataset_info(repo_id).private:
            raise StudyError(
                f"{repo_id!r} is on the hub already, and everybody sees it. Pass `--public`, or name another."
            )
        api.upload_folder(
            repo_id=repo_id, repo_type="dataset", folder_path=folder, ignore_patterns=["manifest.json", ".*"]
        )
    except StudyError:
        raise
    except Exception as error:  # of the hub, of the library that speaks HTTP for it, of the files
        raise StudyError(
            f"The hub did not take {repo_id!r}: {quote_line(str(error))}. Check the name, the token's right "
            "to write there, and the network; what it has already is not sent again."
        ) from None
    return str(address)
