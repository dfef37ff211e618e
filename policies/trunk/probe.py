"""Attention weights of a few rows in a few layers, beside fused attention that returns none."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Probe:
    """Asks one step for the head-mean attention of some of its rows.

    `weights[layer]` is then [queries, keys] in float32, rows of a softmax over all seen rows of
    the store. Rows that `drop` removes before one of the layers cannot be asked.
    """

    layers: tuple[int, ...]
    queries: Tensor  # indices into the step's n rows
    keys: Tensor | None = None  # rows of the store; None: all
    weights: dict[int, Tensor] = field(default_factory=dict)

    def look(self, layer: int, query: Tensor, keys: Tensor, seen: Tensor) -> None:
        """query [1, heads, q, d] of the asked rows, keys [1, kv_heads, rows, d], seen [q, rows]."""
        _, heads, q, d = query.shape
        folded = query.reshape(1, keys.shape[1], -1, d).float() * d**-0.5
        scores = (folded @ keys.float().transpose(-2, -1)).reshape(heads, q, -1)
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1, torch.float32).mean(0)
        self.weights[layer] = weights if self.keys is None else weights[:, self.keys]
