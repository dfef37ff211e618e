"""The trunk: whole sequences for training and proofs, a few rows at a time for robots.

`step` computes any rows, in any order, against keys and values that stand in a `KvStore`; what is
computed anew and what is kept is decided elsewhere. Rows, positions and the mask are independent of
each other: a row of the store says where a token is kept, its position how its key is turned, the
mask whom it sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.kv import KvStore
from tandem.policies.trunk.layers import Block, RmsNorm, additive, attend
from tandem.policies.trunk.probe import Probe
from tandem.policies.trunk.rope import Rope, rope
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class _Rows:
    """What is the same in every layer for the rows under way."""

    index: Tensor  # [n] which of the step's rows these are, ascending
    at: Tensor  # [n] their rows in the store
    by: Rope
    seen: Tensor  # [n, rows of the store]
    bias: Tensor  # `seen` as attention takes it

    def take(self, index: Tensor, group: int) -> "_Rows":
        """Only the rows of the step in `index`, all of which must still be under way."""
        among = self.among(index)
        seen = self.seen[among]
        by = (self.by[0][among], self.by[1][among])
        return _Rows(index, self.at[among], by, seen, additive(seen, group, self.bias.dtype))

    def among(self, index: Tensor) -> Tensor:
        """Where the rows of the step in `index` stand among those under way."""
        return torch.searchsorted(self.index, index)


class Trunk(nn.Module):
    """Float32 or bfloat16, on the device of its weights; arguments must be there too."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = RmsNorm(config.width, config.eps, config.norm_offset)
        self.head = None if config.tied else nn.Linear(config.width, config.vocab, bias=False)

    def store(self, rows: int) -> KvStore:
        """An empty store of this trunk's precision, on its device."""
        weight = self.norm.weight
        return KvStore(self.config, rows, weight.dtype, weight.device)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens [N] or [B, N] to [..., N, width], scaled as the family does."""
        # Rounded to the weights' precision first, as the models were trained.
        scale = torch.tensor(self.config.embed_scale, dtype=self.embedding.weight.dtype).item()
        return self.embedding(tokens) * scale

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden [..., width], after the final norm, to [..., vocab]."""
        if self.head is None:
            return functional.linear(hidden, self.embedding.weight)
        return self.head(hidden)

    def forward(self, x: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
        """All rows at once, nothing cached: x [B, N, width] to the hidden [B, N, width].

        positions [N] or [B, N] (M-RoPE: [3, N] or [3, B, N]); seen bool [N, N] or [B, N, N].
        """
        by = rope(self.config, positions, x.dtype)
        bias = additive(seen, self.config.group, x.dtype)
        for block in self.blocks:
            query, key, value = block.split(x, by)
            x = block.join(x, attend(query, key, value, bias))
        return self.norm(x)

    @torch.no_grad()
    def step(
        self,
        x: Tensor,
        rows: Tensor,
        positions: Tensor,
        seen: Tensor,
        kv: KvStore,
        drop: Mapping[int, Tensor] | None = None,
        probe: Probe | None = None,
    ) -> Tensor:
        """Rows x [1, n, width] at `rows` [n] of the store, to their hidden [1, n, width].

        Writes their keys and values and attends to what `seen` [n, kv.rows] allows. Rows that see
        each other must be passed together, or in the order of the sequence. positions [n], or
        [3, n] under M-RoPE.

        drop: before layer l only the rows listed there (indices into n, ascending, a subset of
        those before) go on; the others keep their old keys and values from there on, and return
        as they were then. probe: filled with attention weights, see `Probe`.
        """
        way = self._rows(x, rows, positions, seen, kv)
        hidden = x
        for layer in range(self.config.depth):
            if drop is not None and layer in drop:
                hidden = hidden.index_copy(1, way.index, x)
                x = x[:, way.among(drop[layer])]
                way = way.take(drop[layer], self.config.group)
            x = self._layer(layer, x, way, kv, probe)
        return self.norm(x if drop is None else hidden.index_copy(1, way.index, x))

    def _rows(self, x: Tensor, rows: Tensor, positions: Tensor, seen: Tensor, kv: KvStore) -> _Rows:
        n = len(rows)
        if x.shape[:2] != (1, n) or positions.shape[-1] != n or seen.shape != (n, kv.rows):
            raise ValueError(
                f"{n} rows need x [1, {n}, width], positions [{n}] and seen [{n}, {kv.rows}]; "
                f"given were {[*x.shape]}, {[*positions.shape]} and {[*seen.shape]}"
            )
        bias = additive(seen, self.config.group, x.dtype)
        index = torch.arange(n, device=x.device)
        return _Rows(index, rows, rope(self.config, positions, x.dtype), seen, bias)

    def _layer(self, layer: int, x: Tensor, way: _Rows, kv: KvStore, probe: Probe | None) -> Tensor:
        block = self.blocks[layer]
        query, key, value = block.split(x, way.by)
        keys, values = kv.write(layer, way.at, key, value)
        if probe is not None and layer in probe.layers:
            asked = way.among(probe.queries)
            probe.look(layer, query[:, :, asked], keys, way.seen[asked])
        return block.join(x, attend(query, keys, values, way.bias))
