"""What the gate sees and what follows from it: references, scores, and which levels are due."""

from dataclasses import dataclass

import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.gate import Gate
from torch import Tensor


@dataclass(frozen=True)
class Verdict:
    """On one frame."""

    top: int | None  # topmost level to refresh, with all below it; None for none
    scores: list[float]  # per level; 1 where there was no reference yet
    macs: int  # multiply-adds of the gate


class Decision:
    """Gate, state machine and references of one stream. Each level has a reference of its own."""

    def __init__(self, gate: Gate, recache: Recache) -> None:
        self.gate, self.recache = gate, recache
        self.reset()

    @property
    def levels(self) -> int:
        return len(self.recache.thresholds)

    def reset(self) -> None:
        self._references: list[Tensor] = []  # per level: the gate's share of that frame
        self._force: int | None = 0

    def force(self, top: int = 0) -> None:
        """The next frame refreshes level `top` and all below it."""
        self._force = top if self._force is None else min(top, self._force)

    @torch.no_grad()
    def on(self, features: Tensor) -> Verdict:
        """features [1, N, D] of the frame; it becomes the reference of the levels that are due."""
        now, scores = self.gate.now(features), [1.0] * self.levels
        mixed = len({id(reference) for reference in self._references})
        if self._references:
            scores = self.gate.scores(now, self._references)[0].tolist()
        force, self._force = self._force, None
        top = self.recache.decide(scores, force)
        if top is not None:
            share = self.gate.before(features)
            kept = self._references[:top]
            self._references = [*kept, *([share] * (self.levels - top))]
        return Verdict(top, scores, self.gate.macs(mixed, top is not None))
