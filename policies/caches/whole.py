"""The two ends that every cache lies between: everything anew always, or only now and then."""

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.strategy import Attention, Image, Plan
from tandem.runtime.errors import ConfigError
from torch import Tensor


class Whole:
    """No cache: the reference that all others are measured by."""

    def __init__(self, layout: Layout) -> None:
        self._rows = torch.tensor(layout.visual_rows)

    def reset(self) -> None:
        """There is nothing to forget."""

    def patches(self, image: Image) -> Tensor | None:
        return None

    def plan(self, image: Image, features: Tensor) -> Plan:
        return Plan(self._rows, features)

    def learn(self, attention: Attention) -> None:
        """Nothing was watched."""


class Interval(Whole):
    """Everything every `every` frames and nothing in between: a System 2 that is merely slow.

    What a gate that looks has to beat at the same cost (SD-VLA, arXiv 2602.03983, ablation).
    """

    def __init__(self, layout: Layout, every: int) -> None:
        """
        Raises:
            ConfigError: `every` is less than one frame.
        """
        super().__init__(layout)
        if every < 1:
            raise ConfigError(f"an interval of {every} frames; it must be at least 1")
        self.every = every
        self._nothing = torch.zeros(len(self._rows), dtype=torch.bool)
        self.reset()

    def reset(self) -> None:
        self._frame = -1

    def patches(self, image: Image) -> Tensor | None:
        self._frame += 1
        return None if self._due else self._nothing

    def plan(self, image: Image, features: Tensor) -> Plan:
        return Plan(self._rows, features) if self._due else Plan(self._rows[:0], features[:0])

    @property
    def _due(self) -> bool:
        return self._frame % self.every == 0
