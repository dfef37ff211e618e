"""The recache gate: has this level of the scene changed since it was last refreshed?

A mixer over patches (SD-VLA §3.3): a position-wise network, a transposition, a channel-wise
network, then one linear head a level; all else is shared. It reads the vision tower's output,
normalised, and its difference from the frame at which that level was last refreshed: values alone
hardly tell a change. At OpenVLA's shape (256 patches of 2176) it has 1.2 M parameters and
0.3 G multiply-adds, most of them in the first layer, whose share of the reference is kept.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Gate(nn.Module):
    """Features [B, patches, width] of the frame and of the reference to logits per level."""

    def __init__(
        self,
        width: int,
        patches: int,
        levels: int,
        hidden: tuple[int, int] = (256, 64),
        mixed: tuple[int, int] = (128, 16),
    ) -> None:
        super().__init__()
        self.width, self.patches, self.levels = width, patches, levels
        self.hidden, self.mixed = hidden, mixed
        self.value = nn.Linear(width, hidden[0])
        self.difference = nn.Linear(width, hidden[0], bias=False)
        self.channel = nn.Linear(*hidden)
        self.mix_in = nn.Linear(patches, mixed[0])
        self.mix_out = nn.Linear(*mixed)
        self.heads = nn.Linear(hidden[1] * mixed[1], levels)

    def forward(self, features: Tensor, reference: Tensor) -> Tensor:
        """Logits [B, levels], all levels against the same reference."""
        return self.mix(self.now(features) - self.before(reference))

    def now(self, features: Tensor) -> Tensor:
        """The frame's share of the first layer [B, patches, hidden]."""
        weight = self.value.weight + self.difference.weight
        return functional.linear(self._normed(features), weight, self.value.bias)

    def before(self, reference: Tensor) -> Tensor:
        """The reference's share: it is kept until the next refresh."""
        return self.difference(self._normed(reference))

    def mix(self, hidden: Tensor) -> Tensor:
        """First layer [B, patches, hidden] to logits [B, levels]."""
        x = _gelu(self.channel(_gelu(hidden))).transpose(1, 2)
        x = _gelu(self.mix_out(_gelu(self.mix_in(x))))
        return self.heads(x.flatten(1))

    def scores(self, now: Tensor, before: Sequence[Tensor]) -> Tensor:
        """Scores 0 … 1 [B, levels] of shares of the first layer, each level by its own reference.

        now: `now(features)`. before: for each level `before(reference of that level)`. Levels with
        the same reference are mixed once.
        """
        known: dict[int, Tensor] = {}
        for share in before:
            if id(share) not in known:
                known[id(share)] = self.mix(now - share)
        columns = [known[id(share)][:, level] for level, share in enumerate(before)]
        return torch.stack(columns, 1).float().sigmoid()

    def macs(self, mixes: int, before: bool) -> int:
        """Multiply-adds of one frame that is mixed with so many references and may become one."""
        position, channel = self.value.out_features, self.channel.out_features
        first = self.patches * self.width * position
        mixing = self.patches * (position * channel + channel * self.mix_in.out_features)
        mixing += channel * self.mix_in.out_features * self.mix_out.out_features
        return first * (1 + before) + mixes * (mixing + self.heads.weight.numel())

    def _normed(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (self.width,))


def _gelu(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")
