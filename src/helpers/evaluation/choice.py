"""Choice tasks by log-likelihood: the prompt goes through the model once, all its options beside each other after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helpers.evaluation.prefix import SharedPrefix
from helpers.models import project_logits

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Branches = tuple[list[int], list[list[int]]]


def score_options(model: PreTrainedModel, items: Sequence[Branches], batch_size: int) -> list[list[float]]:
    """Return the mean log-likelihood per token of every option of every item, in nats.

    The options follow the prompt in one sequence; a mask lets each see the prompt and itself alone, and its positions start where the prompt ends, so that
    every option scores as if it stood there alone. The last token of an option predicts nothing that counts and is left out, so that options of one token,
    such as letters, cost no more than the prompt. Scores do not depend on the batch.

    Args:
        model: a causal language model.
        items: (ids of the prompt, ids of each option) of every item.
        batch_size: items at a time.
    """
    import torch

    scores: dict[int, list[float]] = {}
    order = sorted(range(len(items)), key=lambda index: _length(items[index]), reverse=True)
    with torch.inference_mode():
        shared = SharedPrefix(model, [prompt for prompt, _ in items])
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            own = [(items[index][0][shared.length :], items[index][1]) for index in batch]
            scores |= dict(zip(batch, _score_batch(model, shared, own), strict=True))
    return [scores[index] for index in range(len(items))]


def _length(item: Branches) -> int:
    return len(item[0]) + sum(len(option) - 1 for option in item[1])


def _score_batch(model: PreTrainedModel, shared: SharedPrefix, items: Sequence[Branches]) -> list[list[float]]:
    import torch

    layouts = [lay_out(prompt, options, max(map(_length, items))) for prompt, options in items]
    input_ids, positions, visible = (torch.stack(tensors).to(model.device) for tensors in zip(*layouts, strict=True))
    hidden = model.base_model(
        input_ids=input_ids,
        position_ids=positions + shared.length,
        attention_mask=_masks(model, shared.length, visible, positions),
        past_key_values=shared.repeat(len(items)),
        use_cache=True,
    ).last_hidden_state
    return [_mean_likelihoods(model, hidden[row], prompt, options) for row, (prompt, options) in enumerate(items)]


def _mean_likelihoods(model: PreTrainedModel, hidden: torch.Tensor, prompt: list[int], options: list[list[int]]) -> list[float]:
    """Return the mean log-likelihood of each option's tokens; vocabulary logits are computed once for each place that predicts one."""
    import torch

    end = _length((prompt, options))
    likelihoods = torch.log_softmax(project_logits(model, hidden[len(prompt) - 1 : end]), dim=-1)
    means, begin = [], 1
    for option in options:
        places = [0, *range(begin, begin + len(option) - 1)]
        means.append(likelihoods[places, option].mean().item())
        begin += len(option) - 1
    return means


def lay_out(prompt: list[int], options: list[list[int]], length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids (length), positions (length) and visibility (length, length; True where row sees column) of a prompt with its options.

    The options' last tokens are left out; the rest is padded on the right.
    """
    import torch

    input_ids, positions = torch.zeros(length, dtype=torch.long), torch.zeros(length, dtype=torch.long)
    visible = torch.eye(length, dtype=torch.bool)
    n = len(prompt)
    input_ids[:n], positions[:n] = torch.tensor(prompt), torch.arange(n)
    visible[:n, :n] = torch.ones(n, n).tril().bool()
    begin = n
    for option in options:
        own = option[:-1]
        end = begin + len(own)
        input_ids[begin:end], positions[begin:end] = torch.tensor(own, dtype=torch.long), torch.arange(n, n + len(own))
        visible[begin:end, :n] = True
        visible[begin:end, begin:end] = torch.ones(len(own), len(own)).tril().bool()
        begin = end
    return input_ids, positions, visible


def _masks(model: PreTrainedModel, n_shared: int, visible: torch.Tensor, positions: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
    """Return what the model takes for a mask: one tensor, or one for each kind of its layers where some see a window only."""
    import torch

    seen = torch.cat([visible.new_ones(*visible.shape[:2], n_shared), visible], dim=2)

    def additive(seen: torch.Tensor) -> torch.Tensor:
        return torch.zeros(seen.shape, dtype=model.dtype, device=seen.device).masked_fill(~seen, torch.finfo(model.dtype).min)[:, None]

    config = model.config.get_text_config()
    if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
        return additive(seen)
    before = torch.arange(-n_shared, 0, device=positions.device).expand(len(positions), n_shared)
    columns = torch.cat([before, positions], dim=1)
    near = positions[:, :, None] - columns[:, None, :] < config.sliding_window
    return {"full_attention": additive(seen), "sliding_attention": additive(seen & near)}
