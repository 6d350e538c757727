"""Choice tasks by log-likelihood: the prompt goes through the model once, all its options beside each other after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helpers.models import project_logits

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Branches = tuple[list[int], list[list[int]]]


def score_options(model: PreTrainedModel, items: Sequence[Branches], batch_size: int) -> list[list[float]]:
    """Return the mean log-likelihood per token of every option of every item, in nats.

    The options follow the prompt in one sequence; a mask lets each see the prompt and itself alone, and its positions start where the prompt ends, so that
    every option scores as if it stood there alone. Scores do not depend on the batch.

    Args:
        model: a causal language model.
        items: (ids of the prompt, ids of each option) of every item.
        batch_size: items at a time.
    """
    import torch

    scores: dict[int, list[float]] = {}
    order = sorted(range(len(items)), key=lambda index: _length(items[index]), reverse=True)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            for index, values in zip(batch, _score_batch(model, [items[index] for index in batch]), strict=True):
                scores[index] = values
    return [scores[index] for index in range(len(items))]


def _length(item: Branches) -> int:
    return len(item[0]) + sum(map(len, item[1]))


def _score_batch(model: PreTrainedModel, items: Sequence[Branches]) -> list[list[float]]:
    import torch

    layouts = [lay_out(prompt, options, max(map(_length, items))) for prompt, options in items]
    input_ids, positions, visible = (torch.stack(tensors).to(model.device) for tensors in zip(*layouts, strict=True))
    hidden = model.base_model(input_ids=input_ids, position_ids=positions, attention_mask=_masks(model, visible, positions), use_cache=False).last_hidden_state
    values: list[list[float]] = []
    for row, (prompt, options) in enumerate(items):
        means, begin = [], len(prompt)
        for option in options:
            sources = [len(prompt) - 1, *range(begin, begin + len(option) - 1)]
            logits = project_logits(model, hidden[row, sources])
            likelihoods = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(option, device=logits.device)[:, None])
            means.append(likelihoods.mean().item())
            begin += len(option)
        values.append(means)
    return values


def lay_out(prompt: list[int], options: list[list[int]], length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids (length), positions (length) and visibility (length, length; True where row sees column) of a prompt with its options, padded on the right."""
    import torch

    input_ids, positions = torch.zeros(length, dtype=torch.long), torch.zeros(length, dtype=torch.long)
    visible = torch.eye(length, dtype=torch.bool)
    n = len(prompt)
    input_ids[:n], positions[:n] = torch.tensor(prompt), torch.arange(n)
    visible[:n, :n] = torch.ones(n, n).tril().bool()
    begin = n
    for option in options:
        end = begin + len(option)
        input_ids[begin:end], positions[begin:end] = torch.tensor(option), torch.arange(n, n + len(option))
        visible[begin:end, :n] = True
        visible[begin:end, begin:end] = torch.ones(end - begin, end - begin).tril().bool()
        begin = end
    return input_ids, positions, visible


def _masks(model: PreTrainedModel, visible: torch.Tensor, positions: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
    """Return what the model takes for a mask: one tensor, or one for each kind of its layers where some see a window only."""
    import torch

    def additive(seen: torch.Tensor) -> torch.Tensor:
        return torch.zeros(seen.shape, dtype=model.dtype, device=seen.device).masked_fill(~seen, torch.finfo(model.dtype).min)[:, None]

    config = model.config.get_text_config()
    if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
        return additive(visible)
    near = positions[:, :, None] - positions[:, None, :] < config.sliding_window
    return {"full_attention": additive(visible), "sliding_attention": additive(visible & near)}
