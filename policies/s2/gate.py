"""The recache gate of the shipped model: two levels, and narrow."""

from tandem.policies.caches.sdvla import gate
from tandem.policies.s2.config import S2Config

LEVELS = 2
HIDDEN = 128
CHANNELS = 32
MIXED = 32


class Gate(gate.Gate):
    """Patch features now and at the reference, [B, 64, width] each, to logits [B, 2]."""

    def __init__(self, config: S2Config) -> None:
        hidden, mixed = (HIDDEN, CHANNELS), (2 * MIXED, MIXED)
        super().__init__(config.width, config.patches, LEVELS, hidden, mixed)
