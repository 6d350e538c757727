"""Log-likelihoods of answers: the prompt goes through the model once, all its options beside each other after
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.evaluation.partial import PartialResults, plan_batches
from helpers.evaluation.prefix import SharedPrefix
from helpers.models.forward import (
    outputs_match,
    predict_positions,
    probe_length,
    project_logits,
    select_forward_method,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PromptWithOptions = tuple[list[int], list[list[int]]]  # ids of the prompt, ids of each option
PADDING = -1


def score_options(
    model: PreTrainedModel,
    items: Sequence[PromptWithOptions],
    batch_size: int,
    partial: PartialResults | None = None,
) -> list[list[float]]:
    """Return the mean log-likelihood per token of every option of every item, in nats; arguments as of
    `score_tokens`.
    """
    scores = score_tokens(model, items, batch_size, partial)
    return [[check_finite(sum(tokens) / len(tokens)) for tokens in options] for options in scores]


def score_tokens(
    model: PreTrainedModel,
    items: Sequence[PromptWithOptions],
    batch_size: int,
    partial: PartialResults | None = None,
) -> list[list[list[float]]]:
    """Return the log-likelihood of every token of every option of every item, in nats.

    The options follow the prompt in one sequence; a mask lets each see the prompt and itself alone, and its
    positions start where the prompt ends, so that every option scores as if it stood there alone. The last
    token of an option predicts nothing that counts and is left out, so options of one token, such as
    letters, cost no more than the prompt. Scores do not depend on the batch. A model that such a mask does
    not serve reads every option after the prompt by itself.

    Args:
        model: a causal language model.
        items: (ids of the prompt, ids of each option) of every item.
        batch_size: items at a time.
        partial: what an earlier run has scored; takes each batch as it comes.
    """
    import torch

    scores = PartialResults() if partial is None else partial
    batches = plan_batches([_length(item) for item in items], batch_size)
    with torch.inference_mode():
        if not _can_branch(model, items):
            return scores.fill(
                batches, lambda batch: [_score_plainly(model, items[index]) for index in batch]
            )
        shared = SharedPrefix(model, [prompt for prompt, _ in items])
        own = [(prompt[shared.length :], options) for prompt, options in items]
        return scores.fill(
            batches, lambda batch: _score_batch(model, shared, [own[index] for index in batch])
        )


def _can_branch(model: PreTrainedModel, items: Sequence[PromptWithOptions]) -> bool:
    """Say whether options beside each other score as by themselves, tried on the beginning of the longest
    prompt, or on all of it where a window is shorter.
    """
    import torch

    prompt, options = max(items, key=_length)
    length = probe_length(model, len(prompt) + max(map(len, options)))

    def find() -> bool:
        begun = prompt[:length]
        tried = [(begun, [begun[:1], begun[-3:], begun[:5]]), (begun[: max(1, length - 5)], [begun[:4]])]
        plain = [_score_plainly(model, item) for item in tried]

        def score_beside() -> list[float]:
            shared = SharedPrefix(model, [ids for ids, _ in tried])
            own = [(ids[shared.length :], branches) for ids, branches in tried]
            return list(chain(*chain(*_score_batch(model, shared, own))))

        return outputs_match(model, score_beside, torch.tensor(list(chain(*chain(*plain)))))

    return select_forward_method(model, ("branches", length), find)


def _score_plainly(model: PreTrainedModel, item: PromptWithOptions) -> list[list[float]]:
    """Score the options of one item, each read after the prompt by itself."""
    import torch

    prompt, options = item
    rows = [prompt + option[:-1] for option in options]
    input_ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
    wanted = torch.zeros_like(input_ids, dtype=torch.bool)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = torch.tensor(row)
        wanted[number, len(prompt) - 1 : len(row)] = True
    logits = predict_positions(model, input_ids.to(model.device), wanted.to(model.device))
    log_likelihoods = torch.log_softmax(logits, dim=-1).split([len(option) for option in options])
    return [
        part[range(len(option)), option].tolist()
        for part, option in zip(log_likelihoods, options, strict=True)
    ]


def check_finite(log_likelihood: float) -> float:
    """Return the log-likelihood of an option.

    Raises:
        StudyError: it is not a number, so the model's weights cannot be sound.
    """
    if not math.isfinite(log_likelihood):
        raise StudyError(
            f"The model gives an option the log-likelihood {log_likelihood}, which is not finite. Check "
            "the weights of the model and of its adapter, or take `dtype` float32."
        )
    return log_likelihood


def _length(item: PromptWithOptions) -> int:
    return len(item[0]) + sum(len(option) - 1 for option in item[1])


def _score_batch(
    model: PreTrainedModel, shared: SharedPrefix, items: Sequence[PromptWithOptions]
) -> list[list[list[float]]]:
    import torch

    layouts = [flatten_branches(prompt, options, max(map(_length, items))) for prompt, options in items]
    input_ids, positions, branches = (
        torch.tensor(rows, device=model.device) for rows in zip(*layouts, strict=True)
    )
    hidden = model.base_model(
        input_ids=input_ids,
        position_ids=positions + shared.length,
        attention_mask=_masks(model, shared.length, positions, branches),
        past_key_values=shared.repeat([0] * len(items)),
        use_cache=True,
    ).last_hidden_state
    scored = [_token_log_likelihoods(model, hidden[row], *item) for row, item in enumerate(items)]
    values = iter(torch.cat(scored).tolist())  # the one wait for a GPU
    return [[[next(values) for _ in option] for option in options] for _, options in items]


def _token_log_likelihoods(
    model: PreTrainedModel, hidden: torch.Tensor, prompt: list[int], options: list[list[int]]
) -> torch.Tensor:
    """Return the log-likelihoods of the options' tokens, one option after the other, shape (tokens);
    vocabulary logits are computed once for each position that predicts one.
    """
    import torch

    end = _length((prompt, options))
    log_likelihoods = torch.log_softmax(project_logits(model, hidden[len(prompt) - 1 : end]), dim=-1)
    positions, begin = [], 1
    for option in options:
        positions += [0, *range(begin, begin + len(option) - 1)]
        begin += len(option) - 1
    return log_likelihoods[positions, list(chain(*options))]


def flatten_branches(
    prompt: list[int], options: list[list[int]], length: int
) -> tuple[list[int], list[int], list[int]]:
    """Return ids, positions and branches of a prompt with its options beside each other, each padded on the
    right to `length`.

    Branch 0 is the prompt, 1 and above are the options, whose positions start anew and whose last tokens are
    left out; -1 is padding.
    """
    input_ids, positions, branches = [*prompt], [*range(len(prompt))], [0] * len(prompt)
    for number, option in enumerate(options, 1):
        own = option[:-1]
        input_ids += own
        positions += range(len(prompt), len(prompt) + len(own))
        branches += [number] * len(own)
    padding = length - len(input_ids)
    return input_ids + [0] * padding, positions + [0] * padding, branches + [PADDING] * padding


def _masks(
    model: PreTrainedModel, n_shared: int, positions: torch.Tensor, branches: torch.Tensor
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Return what the model takes for a mask: one tensor, or one for each kind of its layers where some see a
    window only.

    A token sees what is not after it in the prompt and in its own branch; what all prompts share stands
    before it.
    """
    import torch

    before = torch.arange(-n_shared, 0, device=positions.device).expand(len(positions), n_shared)
    columns = torch.cat([before, positions], dim=1)
    owners = torch.cat([torch.zeros_like(before), branches], dim=1)
    distance = positions[:, :, None] - columns[:, None, :]
    seen = (distance >= 0) & ((owners[:, None, :] == 0) | (owners[:, None, :] == branches[:, :, None]))

    # owner 0 is the prompt, seen from every branch; added to attention logits, hence 0 or the least number
    def additive(seen: torch.Tensor) -> torch.Tensor:
        return torch.zeros(seen.shape, dtype=model.dtype, device=seen.device).masked_fill(
            ~seen, torch.finfo(model.dtype).min
        )[:, None]

    config = model.config.get_text_config()
    if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
        return additive(seen)
    return {
        "full_attention": additive(seen),
        "sliding_attention": additive(seen & (distance < config.sliding_window)),
    }
