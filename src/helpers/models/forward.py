"""How a model is asked for logits: in the fastest way that gives what its own `forward` gives.

A way is tried on one short input before the first number that counts, and compared with the model's own
`forward` on each sequence alone. What differs is not used; a model that cannot be asked with token ids alone
is refused with its name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from helpers.errors import StudyError
from helpers.models.fast_matmul import enable_fast_matmul

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

# how far logits (nats) of two ways may lie apart by rounding: in float32 each one of them, absolute and
# relative to its size; in bfloat16, which has 8 bits, all of them on average, relative to their spread
TOLERANCE, RELATIVE_TOLERANCE, BFLOAT16_TOLERANCE = 1e-4, 1e-5, 0.1
SHORT = 12  # tokens of the input on which ways are compared
WINDOW_KEYS = ("window", "chunk", "local", "block_size", "original_max_position")
# what a model raises that is asked in a way it does not know
CALL_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
_found: WeakKeyDictionary[PreTrainedModel, dict[Any, Any]] = WeakKeyDictionary()


def project_logits(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Return the vocabulary logits of chosen hidden states, shape (..., hidden) to (..., vocabulary), in
    float32.

    Computing them only where they are needed saves most of a small model's time.
    """
    import torch

    logits = model.get_output_embeddings()(hidden).float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits


def predict_positions(model: PreTrainedModel, input_ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return what a model predicts after chosen tokens, each row as if it stood alone.

    Args:
        model: a causal language model.
        input_ids: shape (rows, length), padded on the right.
        wanted: of the same shape, true at the tokens after which a prediction counts; once a row at least.

    Returns:
        Logits in float32, row by row, shape (wanted tokens, vocabulary).

    Raises:
        StudyError: the model cannot be asked with token ids alone, or looks at later tokens.
    """
    return select_forward_method(model, "rows", lambda: _find_row_way(model, input_ids[0]))(
        model, input_ids, wanted
    )


def select_forward_method(model: PreTrainedModel, purpose: Any, find: Callable[[], Any]) -> Any:
    """Return the method by which a model is asked for a purpose; it is found once for each loaded model."""
    ways = _found.setdefault(model, {})
    if purpose not in ways:
        with _undisturbed(model):
            ways[purpose] = find()
    return ways[purpose]


def outputs_match(model: PreTrainedModel, compute: Callable[[], Any], expected: torch.Tensor) -> bool:
    """Say whether a method gives the expected numbers, up to rounding; False where the model does not know
    it.

    Args:
        model: whose number format sets the tolerance.
        compute: returns a tensor, or numbers, as `expected`.
        expected: what the model's own `forward` gives.
    """
    import torch

    try:
        found = torch.as_tensor(compute(), dtype=torch.float32, device=expected.device)
    except CALL_ERRORS:
        return False
    return found.shape == expected.shape and is_close(model, found, expected)


def is_close(model: PreTrainedModel, found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Say whether numbers differ by no more than rounding in a model's number format."""
    import torch

    if is_exact(model):
        return bool(torch.allclose(found, expected, rtol=RELATIVE_TOLERANCE, atol=TOLERANCE))
    distance = (found - expected).square().mean().sqrt()
    return bool(distance <= BFLOAT16_TOLERANCE * expected.std().clamp(min=1.0))


def is_exact(model: PreTrainedModel) -> bool:
    """Say whether a model computes in float32, its matrix products included."""
    import torch

    rounded = model.device.type == "cpu" and enable_fast_matmul() != "float32"
    return model.dtype == torch.float32 and not rounded


def predict_next(model: PreTrainedModel, ids: Sequence[int]) -> torch.Tensor:
    """Return the logits after the last of some tokens by the model's own `forward`, shape (vocabulary)."""
    import torch

    return _forward(model, torch.tensor([list(ids)], device=model.device))[0, -1]


def probe_length(model: PreTrainedModel, longest: int) -> int:
    """Return how many tokens an input must have that shows whether two ways agree: few, or all of the longest
    where the configuration names a window or the like that is shorter.
    """
    windows = list_windows(model.config.get_text_config().to_dict())
    return longest if any(window < longest for window in windows) else min(SHORT, longest)


def list_windows(settings: Mapping[str, Any]) -> Iterator[int]:
    """Yield the lengths of windows, chunks and the like that a configuration names, at any depth."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from list_windows(value)
        elif type(value) is int and value > 0 and any(part in name for part in WINDOW_KEYS):
            yield value


def count_positions(config: PretrainedConfig) -> int | None:
    """Return how many tokens a model was made for; None where its configuration names no number.

    With LongRoPE (Ding et al., 2024) one longer text changes the rotary factors of all texts in its batch, so
    the number is that of the short factors.
    """
    text = config.get_text_config()
    named = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    rope = getattr(text, "rope_parameters", None) or {}
    known = [number for number in named if type(number) is int and number > 0][:1]
    if rope.get("rope_type") == "longrope":
        known.append(rope["original_max_position_embeddings"])
    return min(known, default=None)


def check_lengths(config: PretrainedConfig, lengths: Iterable[int], what: str) -> None:
    """Raise StudyError where a sequence has more tokens than a model has positions.

    Args:
        config: of the model.
        lengths: tokens of each sequence, with those that are to be written.
        what: names the sequences in the message.
    """
    positions, lengths = count_positions(config), list(lengths)
    beyond = [length for length in lengths if positions and length > positions]
    if beyond:
        raise StudyError(
            f"{len(beyond)} of {len(lengths)} {what} are longer than the model's {positions} positions (the "
            f"longest has {max(beyond)} tokens). Leave these out, or take a model with more positions."
        )


def _find_row_way(model: PreTrainedModel, ids: torch.Tensor) -> Callable[..., torch.Tensor]:
    import torch

    short = ids[:SHORT]
    length = len(short)
    input_ids = torch.stack([short, short.roll(1)])
    wanted = torch.zeros_like(input_ids, dtype=torch.bool)
    wanted[0, length // 3 :] = True
    wanted[1, : max(1, length - 3)] = True  # the last ones of the second row stand for padding
    try:
        expected = _read_alone(model, input_ids, wanted)
        whole = _forward(model, input_ids[:1])[0][wanted[0]]
        begun = _forward(model, input_ids[:1, : length // 3 + 1])[0, -1]
    except CALL_ERRORS as error:
        reason = (str(error).splitlines() or [""])[0]
        raise StudyError(
            f"{_name(model)} cannot be asked with token ids alone: {type(error).__name__} {reason}. Take a "
            "causal language model of text."
        ) from None
    if not torch.isfinite(expected).all():
        raise StudyError(f"{_name(model)} gives logits that are not finite. Check its weights.")
    if not is_close(model, whole[0], begun):
        raise StudyError(
            f"{_name(model)} looks at later tokens, so it cannot continue a text. Take a causal "
            "language model, not an encoder."
        )
    ways = (_read_heads, _read_padded)
    return next(
        (way for way in ways if outputs_match(model, partial(way, model, input_ids, wanted), expected)),
        _read_alone,
    )


def _read_heads(model: PreTrainedModel, input_ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Read rows without a mask, since no token sees padding on its right, so the attention kernel need
    not read one; compute logits where they are wanted alone.
    """
    hidden = model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
    return project_logits(model, hidden[wanted])


def _read_padded(model: PreTrainedModel, input_ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Read rows by the model's own `forward`."""
    first = int(wanted.any(dim=0).int().argmax())
    keep = input_ids.shape[1] - first
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return _forward(model, input_ids, logits_to_keep=keep)[:, -keep:][wanted[:, first:]]
    return _forward(model, input_ids)[wanted]


def _read_alone(model: PreTrainedModel, input_ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Read one row at a time by the model's own `forward`, without its padding."""
    import torch

    parts = []
    for ids, mask in zip(input_ids, wanted, strict=True):
        end = int(mask.nonzero()[-1]) + 1
        parts.append(_forward(model, ids[None, :end])[0][mask[:end]])
    return torch.cat(parts)


def _forward(model: PreTrainedModel, input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
    known = inspect.signature(model.forward).parameters
    if "use_cache" in known:
        options["use_cache"] = False
    return model(input_ids=input_ids, **options).logits.float()


def _name(model: PreTrainedModel) -> str:
    return f"The model ({type(model).__name__}, {model.config.name_or_path or 'made here'})"


@contextmanager
def _undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, no gradients and no dropout."""
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
