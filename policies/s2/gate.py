"""The recache gate: has this level of the scene changed since it was last refreshed?

A mixer over patches (SD-VLA §3.3): a position-wise network on [LN f_t, LN f_t − LN f_ref],
transposed, a channel-wise network, then one linear head a level; all else is shared by the levels.
A level compares with the frame at which *that level* was last refreshed.
"""

import torch
from tandem.policies.s2.config import S2Config
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 2
HIDDEN = 64
CHANNELS = 32
MIXED = 16


def _gelu(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


class Gate(nn.Module):
    """Patch features now and at the reference, [B, 64, width] each, to logits per level."""

    def __init__(self, config: S2Config) -> None:
        super().__init__()
        self.width = config.width
        self.value = nn.Linear(config.width, HIDDEN)
        self.difference = nn.Linear(config.width, HIDDEN, bias=False)
        self.channel = nn.Linear(HIDDEN, CHANNELS)
        self.mix_in = nn.Linear(config.patches, 2 * MIXED)
        self.mix_out = nn.Linear(2 * MIXED, MIXED)
        self.heads = nn.Linear(CHANNELS * MIXED, LEVELS)

    def forward(self, features: Tensor, reference: Tensor) -> Tensor:
        """Logits [B, 2], L1 then L2, both against the same reference."""
        return self.mix(self.now(features) - self.before(reference))

    def now(self, features: Tensor) -> Tensor:
        """The current frame's share of the first layer [B, 64, hidden]."""
        weight = self.value.weight + self.difference.weight
        return functional.linear(self._normed(features), weight, self.value.bias)

    def before(self, reference: Tensor) -> Tensor:
        """The reference's share: it depends on nothing new and is kept until the next refresh."""
        return self.difference(self._normed(reference))

    def mix(self, hidden: Tensor) -> Tensor:
        """First layer [B, 64, hidden] to logits [B, 2]."""
        x = _gelu(self.channel(_gelu(hidden))).transpose(1, 2)
        x = _gelu(self.mix_out(_gelu(self.mix_in(x))))
        return self.heads(x.flatten(1))

    def _normed(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (self.width,))


def scores(logits: Tensor) -> list[float]:
    """Logits of [L1 against its reference, L2 against its reference] to scores 0 … 1."""
    values: list[float] = torch.sigmoid(logits).tolist()
    return values
