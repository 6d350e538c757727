"""Weights in files of others: what is there, what is missing, and whether it is numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.paths import shown

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

Shapes = dict[str, tuple[int, ...]]
PACKED = 16  # numbers that one stored number may stand for, in weights of few bits


def read_shapes(files: Iterable[Path]) -> Shapes:
    """Return the shape of every tensor of safetensors files by its name, without reading one.

    Raises:
        StudyError: a file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    shapes: Shapes = {}
    for path in files:
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 (safe_open is not a mapping)
                    shapes[name] = tuple(file.get_slice(name).get_shape())
        except (SafetensorError, UnicodeDecodeError) as error:
            raise StudyError(f"{shown(path)} is damaged: {error}. Fetch or save it again.") from None
    return shapes


def check_config(folder: Path, config: PretrainedConfig) -> None:
    """Raise StudyError where a model's configuration asks for more than its files hold, so that it is refused
    before memory is taken for it.

    Args:
        folder: the model's.
        config: its configuration.
    """
    shapes = read_shapes(folder.glob("*.safetensors"))
    if not shapes:
        return  # the loader says what is missing
    text, n_stored = config.get_text_config(), sum(map(prod, shapes.values()))
    hidden = getattr(text, "hidden_size", None)
    layers = getattr(text, "num_hidden_layers", None)
    wide = [
        getattr(text, name, None) for name in ("vocab_size", "intermediate_size", "max_position_embeddings")
    ]
    products = [hidden * width for width in wide[:2] if isinstance(hidden, int) and isinstance(width, int)]
    if max([*products, 0]) > PACKED * n_stored or (isinstance(layers, int) and layers > len(shapes)):
        raise StudyError(
            f"{shown(folder / 'config.json')} asks for {layers} layers, {hidden} hidden numbers and a "
            f"vocabulary of {wide[0]}, but the weights beside it are {len(shapes)} tensors of {n_stored:,} "
            "numbers in all. Use the configuration that belongs to them."
        )


def check_loaded(name: str, info: Mapping[str, Any]) -> None:
    """Raise StudyError where a checkpoint lacks weights that its architecture needs, or has others.

    Args:
        name: of the model.
        info: what `from_pretrained(output_loading_info=True)` returns.
    """
    wrong = {
        "lacks": sorted(info["missing_keys"]),
        "has, beside what the architecture knows,": sorted(info["unexpected_keys"]),
        "has in another shape": sorted(key[0] for key in info["mismatched_keys"]),
    }
    found = [f"{verb} {name_some(keys)}" for verb, keys in wrong.items() if keys]
    if found:
        raise StudyError(
            f"The weights of {name!r} are not those of a causal language model of its architecture: it "
            f"{'; it '.join(found)}. Take a complete checkpoint of a causal language model."
        )


def check_finite(what: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Raise StudyError where a tensor holds what is not finite.

    Args:
        what: names the tensors' owner in the message.
        tensors: names and tensors; whole numbers, such as weights of few bits, are passed over.
    """
    import torch

    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    broken = [name for name, tensor in tensors if tensor.dtype in kinds and not torch.isfinite(tensor).all()]
    if broken:
        raise StudyError(
            f"{what} holds numbers that are not finite, in {name_some(broken)}. Train or fetch it again."
        )


def name_some(names: list[str]) -> str:
    """Return how many names there are, and the first of them."""
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
