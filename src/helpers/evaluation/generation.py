"""Greedy generation in batches: what all prompts share is computed once, and finished rows leave the batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


def generate_greedily(model: PreTrainedModel, prompts: Sequence[list[int]], max_new_tokens: int, end_id: int, batch_size: int) -> list[list[int]]:
    """Return the most likely continuation of every prompt, token by token, up to the end of text or `max_new_tokens`.

    Args:
        model: a causal language model.
        prompts: ids of each prompt.
        max_new_tokens: longest continuation.
        end_id: id of the end-of-text token, which is not part of the result.
        batch_size: prompts at a time.
    """
    import torch

    n_shared = count_shared(prompts)
    results: dict[int, list[int]] = {}
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    with torch.inference_mode():
        shared = _read_shared(model, prompts[0][:n_shared])
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            continued = _continue(model, shared, n_shared, [prompts[index][n_shared:] for index in batch], max_new_tokens, end_id)
            results |= dict(zip(batch, continued, strict=True))
    return [results[index] for index in range(len(prompts))]


def count_shared(sequences: Sequence[list[int]]) -> int:
    """Return how many first tokens all sequences share, leaving each at least one token of its own."""
    shortest = min(map(len, sequences)) - 1
    first = sequences[0]
    return next((n for n in range(shortest) if any(sequence[n] != first[n] for sequence in sequences)), shortest)


def _read_shared(model: PreTrainedModel, shared_ids: list[int]) -> DynamicCache:
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config.get_text_config())
    if shared_ids:
        model.base_model(input_ids=torch.tensor([shared_ids], device=model.device), past_key_values=cache, use_cache=True)
    return cache


def _continue(model: PreTrainedModel, shared: DynamicCache, n_shared: int, suffixes: Sequence[list[int]], max_new_tokens: int, end_id: int) -> list[list[int]]:
    import torch

    longest = max(map(len, suffixes))
    ids = torch.tensor([[end_id] * (longest - len(suffix)) + suffix for suffix in suffixes], device=model.device)
    mask = torch.tensor([[1] * n_shared + [0] * (longest - len(suffix)) + [1] * len(suffix) for suffix in suffixes], device=model.device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, n_shared:]
    cache = copy.deepcopy(shared)
    if n_shared:
        cache.batch_repeat_interleave(len(suffixes))
    results: list[list[int]] = [[] for _ in suffixes]
    rows = torch.arange(len(suffixes))
    for _ in range(max_new_tokens):
        hidden = model.base_model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True).last_hidden_state
        chosen = model.get_output_embeddings()(hidden[:, -1]).argmax(dim=-1)
        going = (chosen != end_id).nonzero()[:, 0]
        if len(going) < len(chosen):
            rows, chosen, mask, positions = rows[going.cpu()], chosen[going], mask[going], positions[going]
            if not len(going):
                break
            cache.batch_select_indices(going)
        for row, token in zip(rows.tolist(), chosen.tolist(), strict=True):
            results[row].append(token)
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return results
