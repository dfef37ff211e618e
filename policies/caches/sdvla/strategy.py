"""SD-VLA as one strategy among others, for comparison in one `Session`.

The same gate, partition, history and masks as a `Stream`, told as a `Plan`: which rows, made of
which features. Features of the frames held are kept, so that a refresh computes them anew without
the vision tower.
"""

import torch
from tandem.policies.caches.layout import flat
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.decision import Decision
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.caches.sdvla.geometry import Geometry
from tandem.policies.caches.sdvla.history import Keep, Last, Window
from tandem.policies.caches.sdvla.partition import IndexPartition
from tandem.policies.caches.strategy import Attention, Image, Plan
from tandem.runtime.errors import ConfigError
from torch import Tensor


class StaticDynamic:
    """The vision tower always runs whole: gate and dynamic tokens need it."""

    def __init__(
        self,
        geometry: Geometry,
        partition: IndexPartition,
        gate: Gate,
        recache: Recache,
        keep: Keep | None = None,
        period_s: float = 0.1,
    ) -> None:
        """period_s: time between frames, for `keep`.

        Raises:
            ConfigError: history is kept by `append_causal`, whose keys a plan cannot move.
        """
        if geometry.mode == "append_causal":
            raise ConfigError("a plan cannot move keys as append_causal does; use frame_isolated")
        self.geometry, self.layout, self.partition = geometry, geometry.layout, partition
        self.decision = Decision(gate, recache)
        self._keep, self._period_s = keep or Last(), period_s
        self.reset()

    def reset(self) -> None:
        self.decision.reset()
        self._frame = 0
        self._window = Window(self.layout.frames, self._keep, self.geometry.ordered)

    def patches(self, image: Image) -> Tensor | None:
        return None

    @torch.no_grad()
    def plan(self, image: Image, features: Tensor) -> Plan:
        if self.partition.observe(features[None]):
            self._window.frames.clear()
            self.decision.force()
        verdict = self.decision.on(features[None])
        levels = range(len(self.layout.levels))[verdict.top :] if verdict.top is not None else []
        everything = verdict.top is not None or self.geometry.mode == "recompute_window"
        self._window.admit(self._group(features, len(self.layout.levels)), self._now_s())
        frames = self._window.by_slot() if everything else self._window.frames[-1:]
        rows = [self.layout.level_rows(level) for level in levels]
        rows += [self.layout.frame_rows(frame.slot) for frame in frames]
        parts = [*(self._group(features, level) for level in levels), *(f.tokens for f in frames)]
        return Plan(
            torch.tensor(flat(rows)),
            torch.cat(parts),
            seen=self.geometry.seen(len(self._window.frames)),
            positions=self.geometry.positions,
            macs=verdict.macs,
        )

    def learn(self, attention: Attention) -> None:
        """Nothing was watched."""

    def _group(self, features: Tensor, group: int) -> Tensor:
        return self.partition(features[None], group)[0]

    def _now_s(self) -> float:
        self._frame += 1
        return (self._frame - 1) * self._period_s
