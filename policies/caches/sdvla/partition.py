"""Which tokens are static and which dynamic: groups 0 … L−1 are the levels, group L is dynamic.

A partition computes one group at a time, so that a level that is kept costs nothing, not even its
projection. All take features [B, N, width] of the vision tower and give [B, n, width].
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from tandem.runtime.errors import ConfigError
from torch import Tensor, nn
from torch.nn import functional


def _spans(sizes: Sequence[int]) -> list[range]:
    return [range(a, b) for a, b in pairwise(accumulate(sizes, initial=0))]


class IndexPartition(nn.Module):
    """A fixed permutation of the patches, cut into groups (SD-VLA §3.1).

    *Where* a token stands is fixed; *what* it carries is learned: the vision tower's own attention
    moves what lasts to the static places when it is trained with the contrastive loss.
    """

    order: Tensor

    def __init__(self, sizes: Sequence[int], order: Tensor | None = None) -> None:
        """sizes of all groups; order int64 [sum(sizes)], a permutation (none: as they come)."""
        super().__init__()
        self.spans = _spans(sizes)
        order = torch.arange(sum(sizes)) if order is None else order
        _check_permutation(order, sum(sizes))
        self.register_buffer("order", order)

    def observe(self, features: Tensor) -> bool:
        """Nothing to learn from a frame; see MotionPartition."""
        return False

    def about(self) -> dict[str, Any]:
        """What `storage` must know to build it again."""
        return {"kind": "index"}

    def indices(self, group: int) -> Tensor:
        """Patches of the group, in the order of its rows."""
        span = self.spans[group]
        return self.order[span.start : span.stop]

    def forward(self, features: Tensor, group: int) -> Tensor:
        return features[:, self.indices(group)]


class MotionPartition(IndexPartition):
    """The training-free control: what has moved most is dynamic, what moved least is level 0.

    The variance of each patch over time is tracked with a memory of `memory` frames; every
    `every` frames the patches are sorted anew. A new order invalidates all that is cached. Belongs
    to one stream.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, sizes: Sequence[int], every: int = 50, memory: int = 50) -> None:
        super().__init__(sizes)
        self.every, self.memory = every, memory
        self.seen_frames = 0
        self.register_buffer("mean", torch.zeros(0), persistent=False)
        self.register_buffer("variance", torch.zeros(sum(sizes)), persistent=False)

    def about(self) -> dict[str, Any]:
        return {"kind": "motion", "every": self.every, "memory": self.memory}

    def observe(self, features: Tensor) -> bool:
        """Takes in one frame [1, N, width]; True if the groups are others from now on."""
        frame = features[0].float()
        if not self.seen_frames:
            self.mean, self.variance = frame.clone(), torch.zeros_like(frame[:, 0])
        self.seen_frames += 1
        rate = 1 / min(self.seen_frames, self.memory)
        away = frame - self.mean
        self.mean = self.mean + rate * away
        self.variance = (1 - rate) * (self.variance + rate * away.square().mean(-1))
        return self.seen_frames % self.every == 0 and self._sort()

    def _sort(self) -> bool:
        by_motion = torch.argsort(self.variance, stable=True)
        groups = [by_motion[span.start : span.stop].sort().values for span in self.spans]
        order = torch.cat(groups)
        changed = not torch.equal(order, self.order)
        self.order = order
        return changed


class QueryPartition(nn.Module):
    """Learned queries that read the patches, a disjoint set of them for each group.

    Queries do not see each other, so no group depends on another. Dynamic queries die silently
    where nothing in the training pairs has moved since the static tokens were taken.
    """

    def __init__(self, sizes: Sequence[int], width: int, heads: int, layers: int = 2) -> None:
        super().__init__()
        self.spans = _spans(sizes)
        self.queries = nn.Parameter(torch.randn(sum(sizes), width) * 0.02)
        self.layers = nn.ModuleList(_Reader(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self._about = {"kind": "queries", "width": width, "heads": heads, "layers": layers}

    def about(self) -> dict[str, Any]:
        return dict(self._about)

    def observe(self, features: Tensor) -> bool:
        """Nothing to learn from a frame at run time."""
        return False

    def forward(self, features: Tensor, group: int) -> Tensor:
        span = self.spans[group]
        x = self.queries[span.start : span.stop].expand(len(features), -1, -1)
        for layer in self.layers:
            x = layer(x, features)
        return self.norm(x)


Partition = IndexPartition | QueryPartition


def build(about: dict[str, Any], sizes: Sequence[int]) -> Partition:
    """The partition that `about` tells of, untrained. Raises ConfigError for an unknown kind."""
    options = {key: value for key, value in about.items() if key != "kind"}
    match about.get("kind"):
        case "index":
            return IndexPartition(sizes)
        case "motion":
            return MotionPartition(sizes, **options)
        case "queries":
            return QueryPartition(sizes, **options)
    raise ConfigError(f"no partition {about.get('kind')!r}; there are index, motion, queries")


class _Reader(nn.Module):
    """Cross-attention and an MLP, pre-norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_context = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        query = self._split(self.query(self.norm_query(x)))
        key, value = self.key_value(self.norm_context(context)).chunk(2, -1)
        read = functional.scaled_dot_product_attention(query, self._split(key), self._split(value))
        x = x + self.out(read.transpose(1, 2).flatten(2))
        return x + self.mlp(x)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _check_permutation(order: Tensor, count: int) -> None:
    if not torch.equal(order.sort().values.cpu(), torch.arange(count)):
        raise ConfigError(f"the order of {count} patches must name each of them exactly once")
