"""Greedy generation in batches: what all prompts share is read once, and finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helpers.evaluation.partial import PartialAnswers, plan_batches
from helpers.evaluation.prefix import SharedPrefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def generate_greedily(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    end_id: int,
    batch_size: int,
    partial: PartialAnswers | None = None,
) -> list[list[int]]:
    """Return the most likely continuation of every prompt, token by token, up to the end of text or
    `max_new_tokens`.

    Args:
        model: a causal language model.
        prompts: ids of each prompt.
        max_new_tokens: longest continuation.
        end_id: id of the end-of-text token, which is not part of the result.
        batch_size: prompts at a time.
        partial: what an earlier run has generated; takes each batch as it comes.
    """
    import torch

    results = PartialAnswers() if partial is None else partial
    batches = plan_batches([len(prompt) for prompt in prompts], batch_size)
    with torch.inference_mode():
        shared = SharedPrefix(model, prompts)
        return results.fill(
            batches,
            lambda batch: _continue(
                model, shared, [prompts[index] for index in batch], max_new_tokens, end_id
            ),
        )


def _continue(
    model: PreTrainedModel,
    shared: SharedPrefix,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    end_id: int,
) -> list[list[int]]:
    """Continue a batch of prompts, which all end in the last column with nothing between their tokens: a
    layer that sees a window sees theirs alone.
    """
    import torch

    longest = max(map(len, prompts))
    width = longest - shared.length
    own = [[end_id] * (width - len(prompt)) + prompt[-width:] for prompt in prompts]
    ids = torch.tensor(own, device=model.device)
    mask = torch.tensor(
        [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device
    )
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, shared.length :]
    # the shared part moves right, up to the row's own tokens: padding between them would use up the window of
    # layers that see one
    cache = shared.repeat(longest - len(prompt) for prompt in prompts)
    results: list[list[int]] = [[] for _ in prompts]
    rows = torch.arange(len(prompts), device=model.device)
    for _ in range(max_new_tokens):
        hidden = model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        chosen = model.get_output_embeddings()(hidden[:, -1]).argmax(dim=-1)
        going = (chosen != end_id).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(chosen):  # finished rows leave the batch: the longest answer is computed alone
            rows, chosen, mask, positions = rows[going], chosen[going], mask[going], positions[going]
            cache.batch_select_indices(going)
        for row, token in zip(rows.tolist(), chosen.tolist(), strict=True):
            results[row].append(token)
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return results
