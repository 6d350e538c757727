"""Adapters in folders, own and foreign: read with every check before anything is computed with them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.files import sha256_file, sha256_text
from helpers.models.hub import first_line, split_revision
from helpers.models.load import quiet_peft
from helpers.models.weights import Shapes, check_finite, name_some, read_shapes
from helpers.models.wheels import name_upstream
from helpers.paths import shown
from helpers.progress import tell

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# what goes beside the matrices of plain LoRA; each changes weights of the base itself, or its training
BESIDE_LORA = (
    *("bias", "modules_to_save", "trainable_token_indices", "layer_replication", "use_dora", "lora_bias"),
    *("target_parameters", "megatron_config"),
)
PLAIN_STARTS = (True, False, "gaussian")


def check_folder(folder: Path) -> None:
    """Raise StudyError where a folder does not hold an adapter as `save_pretrained` writes it with
    safetensors.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise StudyError(
            f"An adapter is a folder with {CONFIG} and {WEIGHTS}, but {shown(folder)} lacks {missing[0]}. "
            "Save it with `save_pretrained`."
        )
    read_config(folder)


def identify_adapter(folder: Path | None) -> str:
    """Return what stands for an adapter in a fingerprint: the sha256 of its settings and weights."""
    return (
        sha256_text("".join(sha256_file(folder / name) for name in (CONFIG, WEIGHTS))) if folder else "none"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Return an adapter's configuration.

    Raises:
        StudyError: it is not a JSON object, is of a kind that peft does not know, or has settings that the
            installed peft would leave aside.
    """
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{shown(path)} is not JSON: {first_line(error)}. Save the adapter again.") from None
    if not isinstance(config, dict):
        raise StudyError(f"{shown(path)} must hold a JSON object, but a {type(config).__name__} was found.")
    kinds = {kind.value: made for kind, made in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    kind = config.get("peft_type")
    if not isinstance(kind, str) or kind not in kinds:
        raise StudyError(
            f"`peft_type` in {shown(path)} must be a kind that peft knows, such as 'LORA', but {kind!r} was "
            "found. Update peft, or use another adapter."
        )
    known = {field.name for field in dataclasses.fields(kinds[kind])}
    unknown = [name for name, value in config.items() if name not in known and value]
    if unknown:
        raise StudyError(
            f"{shown(path)} has settings that this version of peft does not know: {name_some(unknown)}. "
            "Without them the adapter would do something else; update peft."
        )
    return config


def is_plain_lora(folder: Path) -> bool:
    """Say whether an adapter is LoRA's matrices and nothing beside them, so that no other weight of the base
    is touched: neither by its settings nor by its file, which may hold embeddings in place of the base's own.
    """
    config = read_config(folder)
    beside = [name for name in BESIDE_LORA if config.get(name) not in (None, False, "none", [], {})]
    start = config.get("init_lora_weights", True)
    if config["peft_type"] != "LORA" or beside or start not in PLAIN_STARTS:
        return False
    return all("lora_" in name for name in read_shapes([folder / WEIGHTS]))


def load_adapter(model: PreTrainedModel, folder: Path, name: str, trainable: bool = False) -> PeftModel:
    """Return a model with an adapter; the model is changed in place, also where the adapter is refused.

    Args:
        model: the base.
        folder: of the adapter.
        name: of the base, for messages.
        trainable: whether training goes on.

    Raises:
        StudyError: the adapter does not fit the model, lacks weights, has others, or holds what is not
            finite.
    """
    from peft import PeftModel
    from safetensors.torch import load_file

    check_folder(folder)
    config, shapes = read_config(folder), read_shapes([folder / WEIGHTS])
    _tell_other_base(config, folder, name)
    _check_rank(folder, config, shapes)
    check_finite(f"The adapter in {shown(folder)}", load_file(folder / WEIGHTS).items())
    _check_vocabulary(model, folder, shapes)
    try:
        with quiet_peft():
            wrapped = PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    except Exception as error:  # peft raises many kinds for what does not fit
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"it lacks {reason}."
        raise StudyError(
            f"The adapter in {shown(folder)} does not fit {name!r}: {reason} Name the model it was tuned on."
        ) from None
    _check_names(wrapped, folder, shapes, name)
    return wrapped


def _tell_other_base(config: Mapping[str, Any], folder: Path, name: str) -> None:
    """Say so where an adapter names another base: on a model of the same shapes it loads without an error."""
    named = config.get("base_model_name_or_path")
    if isinstance(named, str) and named and _last_part(named) != _last_part(name):
        tell(
            f"The adapter in {shown(folder)} names {named!r} as its base, and {name_upstream(name)!r} is "
            "used: on a model other than its own an adapter means nothing."
        )


def _last_part(name: str) -> str:
    """Return what is left of a model's name where owner, revision and folders differ."""
    upstream = split_revision(name_upstream(name))[0]
    try:
        return Path(upstream).resolve().name.lower()
    except (OSError, RuntimeError, ValueError):  # an adapter may name what can be no path
        return upstream.lower()


def _check_rank(folder: Path, config: Mapping[str, Any], shapes: Shapes) -> None:
    patterns = config.get("rank_pattern")
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    widest = max((size for shape in shapes.values() for size in shape), default=0)
    beyond = [rank for rank in ranks if isinstance(rank, int) and rank > widest]
    if beyond:
        raise StudyError(
            f"{shown(folder / CONFIG)} names the rank {beyond[0]}, but no tensor beside it is that large. "
            "Use the configuration that belongs to the weights."
        )


def _check_vocabulary(model: PreTrainedModel, folder: Path, shapes: Shapes) -> None:
    """Raise StudyError where an adapter brings embeddings of another number of tokens."""
    own = {
        key: shape[0]
        for key, shape in shapes.items()
        if len(shape) == 2
        and any(part in key for part in ("embed_tokens", "lm_head", "wte"))
        and not any(part in key for part in ("lora_", "trainable_tokens"))
    }
    tokens = model.get_input_embeddings().weight.shape[0]
    other = {n for n in own.values() if n != tokens}
    if other:
        raise StudyError(
            f"The adapter in {shown(folder)} has embeddings of {max(other)} tokens, but the model has "
            f"{tokens}: it was tuned with a vocabulary of another size. Merge it into its own base first "
            "(plain peft), and name the folder of the merged model."
        )


def _check_names(wrapped: PeftModel, folder: Path, shapes: Shapes, name: str) -> None:
    """Raise StudyError where an adapter's file lacks weights, or has some that belong to nothing."""
    from peft import get_peft_model_state_dict

    wanted = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    missing = sorted(wanted - set(shapes))
    unexpected = sorted(set(shapes) - wanted - set(_name_base(wrapped)))
    wrong = [("lacks", missing)] * bool(missing) + [("has, beside what it should,", unexpected)] * bool(
        unexpected
    )
    if wrong:
        told = "; it ".join(f"{verb} {name_some(names)}" for verb, names in wrong)
        raise StudyError(
            f"The adapter in {shown(folder)} is not whole, or not one of {name!r}: it {told}. Save it again, "
            "or name the model it was tuned on."
        )


def _name_base(wrapped: PeftModel) -> Iterator[str]:
    """Yield the names under which an adapter's file may hold weights of the base itself."""
    for key in wrapped.state_dict():
        if "lora_" not in key and "modules_to_save" not in key:
            yield key
            yield key.replace(".base_layer", "")
