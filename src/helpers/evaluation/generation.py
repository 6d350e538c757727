"""Greedy generation in batches: what all prompts share is read once, and finished rows leave the batch.

A model that this does not serve continues one prompt at a time, by its own `generate` or, where that fails,
by reading the text again for each token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.evaluation.partial import PartialResults, plan_batches
from helpers.evaluation.prefix import SharedPrefix
from helpers.models.fast_matmul import transpose_weight_layout
from helpers.models.forward import (
    CALL_ERRORS,
    is_close,
    predict_next,
    probe_length,
    project_logits,
    select_forward_method,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def generate_greedily(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    ends: Sequence[int],
    batch_size: int,
    partial: PartialResults | None = None,
) -> list[list[int]]:
    """Return the most likely continuation of every prompt, token by token, up to the end of text or
    `max_new_tokens`.

    Args:
        model: a causal language model.
        prompts: ids of each prompt.
        max_new_tokens: longest continuation.
        ends: ids of the tokens that end a text, which are not part of the result; the first one pads.
        batch_size: prompts at a time.
        partial: what an earlier run has generated; takes each batch as it comes.
    """
    import torch

    transpose_weight_layout(model)
    results = PartialResults() if partial is None else partial
    batches = plan_batches([len(prompt) for prompt in prompts], batch_size)
    way = _select_method(model, prompts, max_new_tokens, ends)
    with torch.inference_mode():
        if way is not _continue:
            return results.fill(
                batches, lambda batch: [way(model, prompts[index], max_new_tokens, ends) for index in batch]
            )
        shared = SharedPrefix(model, prompts)
        return results.fill(
            batches,
            lambda batch: _continue_in_parts(
                model, shared, [prompts[index] for index in batch], max_new_tokens, ends
            ),
        )


def _continue_in_parts(
    model: PreTrainedModel,
    shared: SharedPrefix,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    ends: Sequence[int],
) -> list[list[int]]:
    """Continue a batch of prompts, in halves where a GPU's memory is too small for all at a time.

    Raises:
        StudyError: it is too small for a single one.
    """
    import torch

    try:
        return _continue(model, shared, prompts, max_new_tokens, ends)
    except torch.OutOfMemoryError:
        if len(prompts) == 1:
            raise StudyError(
                f"A prompt of {len(prompts[0]):,} tokens and its continuation do not fit into the GPU's "
                "memory. Free some, or take shorter tests or a smaller model."
            ) from None
    torch.cuda.empty_cache()  # after the block above, whose error holds the batch
    halves = prompts[: len(prompts) // 2], prompts[len(prompts) // 2 :]
    return [
        continued
        for half in halves
        for continued in _continue_in_parts(model, shared, half, max_new_tokens, ends)
    ]


def _continue(
    model: PreTrainedModel,
    shared: SharedPrefix,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    ends: Sequence[int],
    observe: Callable[[torch.Tensor], None] | None = None,
) -> list[list[int]]:
    """Continue a batch of prompts, which all end in the last column with nothing between their tokens: a
    layer that sees a window sees theirs alone.
    """
    import torch

    from helpers.evaluation.kv_cache import preallocate

    longest = max(map(len, prompts))
    width = longest - shared.length
    own = [[ends[0]] * (width - len(prompt)) + prompt[-width:] for prompt in prompts]
    ids = torch.tensor(own, device=model.device)
    mask = torch.tensor(
        [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device
    )
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, shared.length :]
    # the shared part moves right, up to the row's own tokens: padding between them would use up the window of
    # layers that see one
    cache = shared.repeat(longest - len(prompt) for prompt in prompts)
    results: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    for step in range(max_new_tokens):
        hidden = model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        if step == 0:
            preallocate(cache)
        logits = project_logits(model, hidden[:, -1])
        if observe:
            observe(logits)
        highest, chosen = logits.max(dim=-1)
        peaks, tokens = torch.stack([highest.double(), chosen.double()]).tolist()  # the one wait for a GPU
        _check_finite(peaks)
        going = [index for index, token in enumerate(tokens) if token not in ends]
        if not going:
            break
        if len(going) < len(tokens):  # finished rows leave the batch: the longest answer is computed alone
            kept = torch.tensor(going, device=model.device)
            rows = [rows[index] for index in going]
            chosen, mask, positions = chosen[kept], mask[kept], positions[kept]
            cache.batch_select_indices(kept)
        for row, index in zip(rows, going, strict=True):
            results[row].append(int(tokens[index]))
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return results


def _select_method(
    model: PreTrainedModel, prompts: Sequence[list[int]], max_new_tokens: int, ends: Sequence[int]
) -> Callable[..., list]:
    """Return the fastest way of generation that gives what the model's own `forward` gives, tried on the
    beginning of the longest prompt, or on all of it where a window is shorter.
    """
    longest = max(prompts, key=len)
    length = probe_length(model, len(longest) + max_new_tokens)
    start = longest[:length]

    def find() -> Callable[..., list]:
        if _agrees_in_batches(model, [start, start[:-3] or start], ends):
            return _continue
        try:
            tokens = _generate_alone(model, start, 3, ends)
        except CALL_ERRORS:
            return _read_again
        return _generate_alone if tokens == _read_again(model, start, 3, ends) else _read_again

    return select_forward_method(model, ("continuations", length), find)


def _agrees_in_batches(model: PreTrainedModel, prompts: Sequence[list[int]], ends: Sequence[int]) -> bool:
    import torch

    seen: list[torch.Tensor] = []
    try:
        tokens = _continue(model, SharedPrefix(model, prompts), prompts, 3, ends, seen.append)
    except CALL_ERRORS:
        return False
    going = list(range(len(prompts)))
    for step, logits in enumerate(seen):
        going = [row for row in going if len(tokens[row]) >= step]
        own = torch.stack([predict_next(model, prompts[row] + tokens[row][:step]) for row in going])
        if not is_close(model, logits, own):
            return False
    return True


def _generate_alone(
    model: PreTrainedModel, prompt: list[int], max_new_tokens: int, ends: Sequence[int]
) -> list[int]:
    """Continue one prompt by the model's own `generate`, without the habits that its settings name, such as
    a penalty for repetitions.
    """
    import torch
    from transformers import GenerationConfig

    kept, model.generation_config = model.generation_config, GenerationConfig()
    try:
        ids = torch.tensor([prompt], device=model.device)
        tokens = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(ends),
            pad_token_id=ends[0],
        )[0, len(prompt) :].tolist()
    finally:
        model.generation_config = kept
    return list(takewhile(lambda token: token not in ends, tokens))


def _read_again(
    model: PreTrainedModel, prompt: list[int], max_new_tokens: int, ends: Sequence[int]
) -> list[int]:
    """Continue one prompt, which is read again from its beginning for each token."""
    tokens: list[int] = []
    while len(tokens) < max_new_tokens:
        highest, chosen = (value.item() for value in predict_next(model, prompt + tokens).max(dim=-1))
        _check_finite([highest])
        if chosen in ends:
            break
        tokens.append(chosen)
    return tokens


def _check_finite(logits: Sequence[float]) -> None:
    for highest in logits:
        if not math.isfinite(highest):
            raise StudyError(
                f"The model's highest logit is {highest}, which is not finite. Check the weights of the "
                "model and of its adapter, or take `dtype` float32."
            )
