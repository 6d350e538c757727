"""What many prompts share is read once: the longest common beginning and its keys and values."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


class SharedPrefix:
    """The beginning that all prompts of a task share, already read by the model.

    Attributes:
        length: shared tokens; every prompt keeps at least one of its own, and a model whose layers see a
            window shares no more than fits into it.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[list[int]]) -> None:
        import torch
        from transformers import DynamicCache

        config = model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        self.length = min(count_shared(prompts), window - 1) if window else count_shared(prompts)
        self._cache = DynamicCache(config=config)
        if self.length:
            ids = torch.tensor([prompts[0][: self.length]], device=model.device)
            model.base_model(input_ids=ids, past_key_values=self._cache, use_cache=True)

    def repeat(self, shifts: Iterable[int]) -> DynamicCache:
        """Return the keys and values for a batch, those of each row moved to the right by its shift; what is
        moved out at the end is left out.

        Args:
            shifts: of each row; the columns that come free on its left hold nothing, and a mask must hide
                them.
        """
        import torch

        cache = copy.deepcopy(self._cache)
        if not self.length:
            return cache
        columns = torch.tensor(
            [[max(column - shift, 0) for column in range(self.length)] for shift in shifts]
        )
        for layer in cache.layers:
            layer.keys, layer.values = (
                kept[0][:, columns.to(kept.device)].transpose(0, 1).contiguous()
                for kept in (layer.keys, layer.values)
            )
        return cache


def count_shared(sequences: Sequence[list[int]]) -> int:
    """Return how many first tokens all sequences share, leaving each at least one token of its own."""
    shortest = min(map(len, sequences)) - 1
    first = sequences[0]
    return next(
        (n for n in range(shortest) if any(sequence[n] != first[n] for sequence in sequences)), shortest
    )
