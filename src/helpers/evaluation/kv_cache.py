"""Keys and values in tensors that are longer than they are: a new token is written in place, while
`transformers` copies the whole cache for each new token.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

SPARE_TOKENS = 64  # tokens that fit in before all is copied once more


class PreallocatedLayer(DynamicLayer):
    """Keys and values of one layer, shape (rows, heads, tokens, head size), as views of larger tensors."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._allocate(keys, values, keys.shape[-2] + SPARE_TOKENS)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values; return all of them."""
        before, after = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        if after > self._buffers[0].shape[-2]:
            self._allocate(self.keys, self.values, after + SPARE_TOKENS)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., before:after, :] = new
        self._view(after)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows, and the space behind them."""
        self._buffers = [buffer[indices] for buffer in self._buffers]
        self._view(self.keys.shape[-2])

    def _allocate(self, keys: torch.Tensor, values: torch.Tensor, n_tokens: int) -> None:
        length = keys.shape[-2]
        self._buffers = [
            kept.new_empty((*kept.shape[:2], n_tokens, kept.shape[-1])) for kept in (keys, values)
        ]
        for buffer, kept in zip(self._buffers, (keys, values), strict=True):
            buffer[..., :length, :] = kept
        self._view(length)

    def _view(self, length: int) -> None:
        self.keys, self.values = (buffer[..., :length, :] for buffer in self._buffers)


def preallocate(cache: DynamicCache) -> None:
    """Give every plain layer of a cache that holds something space for further tokens; layers of another
    kind, such as those that see a window, stay.
    """
    cache.layers = [
        PreallocatedLayer(layer.keys, layer.values)
        if type(layer) is DynamicLayer and layer.is_initialized
        else layer
        for layer in cache.layers
    ]
