"""Keys and values that survive frames: allocated once, refreshed from a level downward.

Rows are those of `S2Config`: static rows, then a ring of dynamic frames, then text and read-out.
Which physical slot holds which frame is kept here; attention takes its order from ages, so nothing
is ever moved.
"""

from functools import lru_cache

from tandem.policies.s2.config import S2Config
from tandem.policies.s2.trunk import attention_bias
from tandem.policies.trunk.kv import Rows
from torch import Tensor


class KvCache(Rows):
    """One robot's cache."""

    def __init__(self, config: S2Config) -> None:
        shape = (config.depth, 1, config.heads, config.rows, config.width // config.heads)
        super().__init__(shape)
        self.config = config
        self.version = [0, 0]  # per static level: how often it was refreshed
        self.newest = -1  # slot of the newest frame
        self.filled = 0  # frames held

    def admit(self) -> int:
        """Makes room for a new frame, evicting the oldest; returns its slot."""
        self.newest = (self.newest + 1) % self.config.frames
        self.filled = min(self.filled + 1, self.config.frames)
        return self.newest

    def held_slots(self) -> list[int]:
        """Slots of the frames held, newest first."""
        return [(self.newest - age) % self.config.frames for age in range(self.filled)]

    def bias(self) -> Tensor:
        """Attention bias [heads, rows, rows] for the frames held now."""
        ages: list[int | None] = [None] * self.config.frames
        for age, slot in enumerate(self.held_slots()):
            ages[slot] = age
        return _bias(self.config, tuple(ages))


@lru_cache(maxsize=32)
def _bias(config: S2Config, ages: tuple[int | None, ...]) -> Tensor:
    return attention_bias(config, ages)
