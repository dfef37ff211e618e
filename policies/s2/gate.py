"""The recache gate of the shipped model: two levels, and narrow."""

import torch
from tandem.policies.caches.sdvla import gate
from tandem.policies.s2.config import S2Config
from torch import Tensor

LEVELS = 2
HIDDEN = 64
CHANNELS = 32
MIXED = 16


class Gate(gate.Gate):
    """Patch features now and at the reference, [B, 64, width] each, to logits [B, 2]."""

    def __init__(self, config: S2Config) -> None:
        hidden, mixed = (HIDDEN, CHANNELS), (2 * MIXED, MIXED)
        super().__init__(config.width, config.patches, LEVELS, hidden, mixed)


def scores(logits: Tensor) -> list[float]:
    """Logits of [L1 against its reference, L2 against its reference] to scores 0 … 1."""
    values: list[float] = torch.sigmoid(logits).tolist()
    return values
