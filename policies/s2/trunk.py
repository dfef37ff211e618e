"""The trunk: a small transformer whose rows attend block-causally, whole or a few rows at a time.

`[L1] ← [L2] ← [dynamic frame] ← [text, read-out]`: a row attends to its own block and to blocks
before it, dynamic frames do not see each other (`frame_isolated`). So static keys and values never
depend on what moves, and evicting a frame leaves the others exact. There are no positions in the
keys; how old a frame is enters as a fixed bias per head on the read-out's attention to it.
"""

from collections.abc import Sequence

import torch
from tandem.policies.s2.config import S2Config
from tandem.policies.trunk.kv import Rows
from torch import Tensor, nn
from torch.nn import functional

MLP = 4  # width of a block's hidden layer, in widths
# Logit per frame of age, head by head: some read the present, some the past, some the mean.
_AGE_SLOPES = (-8.0, -1.0, 0.0, 0.0, 1.0, 8.0)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Plain attention of [B, heads, N, d] to [B, heads, M, d]; bias broadcasts to [B, heads, N, M].

    Written out: in batches of this size the fused kernel for CPUs takes longer, forward and back.
    """
    weight = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if bias is not None:
        weight = weight + bias.to(weight.dtype)
    # Out of autocast's sight, which would make float32 copies; the kernel sums in float32 anyway.
    with torch.autocast("cpu", enabled=False):
        weight = weight.softmax(-1)
    return weight @ value


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, width: int, heads: int, mlp: int = MLP) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, mlp * width)
        self.down = nn.Linear(mlp * width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, N, width] to query, key, value, each [B, heads, N, width/heads]."""
        b, n, _ = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(b, n, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return query, key, value

    def join(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        # Squared ReLU: as good as GELU here and a fraction of its cost on a CPU.
        return x + self.down(functional.relu(self.up(self.norm_mlp(x))).square())

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [B, N, width]; bias [heads or 1, N, N] or [B, heads or 1, N, N], −inf hides."""
        return self.join(x, attend(*self.split(x), bias))


class CrossBlock(Block):
    """Queries that read a context instead of each other."""

    def read(self, x: Tensor, context: Tensor) -> Tensor:
        """x [B, N, width] reads context [B, M, width]."""
        query = self.split(x)[0]
        _, key, value = self.split(context)
        return self.join(x, attend(query, key, value))


class Trunk(nn.Module):
    def __init__(self, config: S2Config) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """All rows at once: x [B, N, width], bias as in `Block.forward`."""
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)

    def rows(self, x: Tensor, slots: Tensor, bias: Tensor, cache: Rows) -> Tensor:
        """Some rows x [1, n, width] at `slots` [n]; everything else is read from the cache.

        Writes the rows' keys and values. bias [heads, n, rows of the cache]. Rows that attend to
        each other must be passed together, or in the order of the sequence.
        """
        for layer, block in enumerate(self.blocks):
            query, key, value = block.split(x)
            keys, values = cache.write(layer, slots, key, value)
            attended = functional.scaled_dot_product_attention(
                query, keys, values, attn_mask=bias[None]
            )
            x = block.join(x, attended)
        return self.norm(x)


def age_slopes(heads: int) -> Tensor:
    """Logit per frame of age for each head [heads]."""
    return torch.tensor([_AGE_SLOPES[i * len(_AGE_SLOPES) // heads] for i in range(heads)])


def attention_bias(config: S2Config, ages: Sequence[int | None], questions: int = 1) -> Tensor:
    """Who sees whom: [heads, rows, rows], 0 or the age bias where seen, −inf where hidden.

    `ages[slot]` is the age in frames of the dynamic frame in that slot, None where there is none;
    there are as many slots as ages. Several questions about the same frames stand side by side and
    do not see each other.
    """
    level, part = _blocks(config, len(ages), questions)
    dynamic, asks = level == 2, level == 3
    same_part = part[:, None] == part[None, :]
    row = torch.arange(len(level))
    seen = level[:, None] >= level[None, :]
    seen &= same_part | ~(dynamic[:, None] & dynamic[None, :])
    seen &= (same_part & (row[:, None] >= row[None, :])) | ~(asks[:, None] & asks[None, :])
    bias = torch.zeros(config.heads, len(level), len(level))
    for slot, age in enumerate(ages):
        columns = dynamic & (part == slot)
        if age is None:
            # An empty slot still sees itself: a row that sees nothing would become NaN.
            seen &= ~columns[None, :] | columns[:, None]
        else:
            bias += age_slopes(config.heads)[:, None, None] * age * (asks[:, None] & columns)
    return bias.masked_fill(~seen, float("-inf"))


def _blocks(config: S2Config, frames: int, questions: int) -> tuple[Tensor, Tensor]:
    """Of each row: its level 0 … 3, and which frame or question of that level it belongs to."""
    sizes = [(0, 0, config.registers), (1, 0, config.patches)]
    sizes += [(2, slot, config.changed) for slot in range(frames)]
    sizes += [(3, question, config.question) for question in range(questions)]
    level, part, counts = torch.tensor(sizes).T
    return torch.repeat_interleave(level, counts), torch.repeat_interleave(part, counts)
