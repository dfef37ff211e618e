"""The cached step: only what changed goes through the trunk.

Without a refresh a frame costs its own 16 dynamic rows and the question's 14; a refresh of L2 adds
the 64 patches and the other frames kept, a refresh of L1 everything. Static encoders run only on a
refresh.
"""

from dataclasses import dataclass

import torch
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.kv_cache import KvCache
from tandem.policies.s2.model import S2Model
from torch import Tensor


@dataclass
class Reading:
    """What the trunk delivered for one frame."""

    readouts: Tensor  # [1, 2, width]
    keys: Tensor  # [1, 80, 64] of the pointer's candidates
    values: Tensor  # [1, 80, 96]


class Engine:
    """Holds the references, the window of frames and the cache of one stream of images."""

    def __init__(self, model: S2Model) -> None:
        self.model = model
        self.config: S2Config = model.config
        self.cache = KvCache(self.config)
        self.references: list[Tensor] = []  # per level: features [1, 64, width] at its refresh
        self.window: list[Tensor] = []  # features [1, 64, width], newest first
        self.static: list[Tensor] = []  # per level refreshed: rows that the next pass brings in
        self._keys = torch.zeros(1, self.config.patches + self.config.changed, self.config.pointer)
        self._values = torch.zeros(1, self._keys.shape[1], self.config.pointed)

    def refresh(self, features: Tensor, top: int) -> None:
        """Makes features [1, 64, width] the reference of level `top` and those below it."""
        if not self.references:
            top = 0
        encoders = (self.model.tokens.l1, self.model.tokens.l2)
        self.references = [*self.references[:top], *(features for _ in encoders[top:])]
        self.static = [encode(features) for encode in encoders[top:]]
        for level in range(top, len(encoders)):
            self.cache.version[level] += 1

    def advance(self, features: Tensor, question: Tensor) -> Reading:
        """Takes in the newest frame; question [1, 14, width]. Call `refresh` before, if due."""
        self.window = [features, *self.window[: self.config.frames - 1]]
        newest = self.cache.admit()
        slots = self.cache.held_slots() if self.static else [newest]
        frames = torch.cat(self.window[: len(slots)])
        reference = self.references[1].expand_as(frames)
        dynamic = self.model.tokens.frame(frames, reference)[0].flatten(0, 1)[None]
        x = torch.cat([*self.static, dynamic, question], 1)
        rows = self._rows(slots)
        seen = self.cache.bias()[:, rows]
        x = self.model.trunk.rows(x, rows, seen, self.cache)
        return self._candidates(x, dynamic.shape[1])

    def _rows(self, slots: list[int]) -> Tensor:
        config = self.config
        levels = (range(config.registers), range(config.registers, config.statics))
        rows = [row for level in levels[len(levels) - len(self.static) :] for row in level]
        rows += [row for slot in slots for row in config.frame_rows(slot)]
        return torch.tensor([*rows, *config.question_rows])

    def _candidates(self, x: Tensor, dynamics: int) -> Reading:
        """Prepares the pointer's candidates: dynamic ones now, static ones only after a refresh."""
        config = self.config
        first = x.shape[1] - config.question - dynamics
        start = max(first - config.patches, 0) if self.static else first
        keys, values = self.model.readout.pointer.candidates(x[:, start : first + config.changed])
        kept = self._keys.shape[1] - keys.shape[1]
        self._keys[:, kept:] = keys
        self._values[:, kept:] = values
        self.static = []
        return Reading(x[:, -config.readouts :], self._keys, self._values)
