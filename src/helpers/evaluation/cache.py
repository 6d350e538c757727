"""Keys and values with room behind them: a new token is written in place, while `transformers` copies the
whole cache for each new token.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

ROOM = 64  # tokens that fit in before all is copied once more


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer, shape (rows, heads, tokens, head size), as views of larger tensors."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._make_room(keys, values, keys.shape[-2] + ROOM)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values; return all of them."""
        before, after = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        if after > self._rooms[0].shape[-2]:
            self._make_room(self.keys, self.values, after + ROOM)
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., before:after, :] = new
        self._show(after)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows, and the room behind them."""
        self._rooms = [room[indices] for room in self._rooms]
        self._show(self.keys.shape[-2])

    def _make_room(self, keys: torch.Tensor, values: torch.Tensor, n_tokens: int) -> None:
        length = keys.shape[-2]
        self._rooms = [kept.new_empty((*kept.shape[:2], n_tokens, kept.shape[-1])) for kept in (keys, values)]
        for room, kept in zip(self._rooms, (keys, values), strict=True):
            room[..., :length, :] = kept
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (room[..., :length, :] for room in self._rooms)


def make_room(cache: DynamicCache) -> None:
    """Give every plain layer of a cache that holds something room; layers of another kind, such as those that
    see a window, stay.
    """
    cache.layers = [
        RoomyLayer(layer.keys, layer.values)
        if type(layer) is DynamicLayer and layer.is_initialized
        else layer
        for layer in cache.layers
    ]
