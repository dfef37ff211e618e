"""Thresholds of the gate from recordings, so that each level is refreshed at the rate wanted.

A refresh changes what later frames are compared with, so recorded scores would not do: the gate and
its state machine are replayed on recorded features for each threshold tried. Levels are set from
the top: what is above never depends on what is below, but takes it along.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from tandem.policies.caches.recache import Recache
from torch import Tensor


class GateLike(Protocol):
    """A gate in its three parts, each a function of whole batches, as `gate.Gate` is."""

    def now(self, features: Tensor) -> Tensor: ...
    def before(self, reference: Tensor) -> Tensor: ...
    def mix(self, hidden: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Shares:
    """One recording, as far as the gate's first layer: it is the same for every threshold."""

    now: Tensor  # [T, N, hidden]
    before: Tensor  # [T, N, hidden]

    @classmethod
    @torch.no_grad()
    def of(cls, gate: GateLike, features: Tensor) -> "Shares":
        """features [T, N, D] of the frames in order of time, as S2 would see them."""
        return cls(gate.now(features), gate.before(features))


@dataclass(frozen=True)
class Replay:
    """What the gate did on one recording."""

    refreshed: Tensor  # bool [T, levels]; the first frame always is
    scores: Tensor  # [T, levels], 1 in the first frame


@torch.no_grad()
def replay(gate: GateLike, shares: Shares, recache: Recache) -> Replay:
    """Runs gate and state machine, which must be new, over one recording."""
    count, levels = len(shares.now), len(recache.thresholds)
    refreshed = torch.zeros(count, levels, dtype=torch.bool)
    scores = torch.ones(count, levels)
    reference = [0] * levels
    for i in range(count):
        if i:
            distinct = sorted(set(reference))
            mixed = gate.mix(shares.now[i] - shares.before[distinct]).float().sigmoid()
            rows = [distinct.index(r) for r in reference]
            scores[i] = mixed[rows, range(levels)].cpu()
        top = recache.decide(scores[i].tolist(), None if i else 0)
        if top is not None:
            refreshed[i, top:] = True
            reference[top:] = [i] * (levels - top)
    return Replay(refreshed, scores)


@dataclass(frozen=True)
class Calibrated:
    """Thresholds, and the share of frames in which each level was refreshed with them."""

    thresholds: tuple[float, ...]
    rates: tuple[float, ...]


@dataclass
class Calibration:
    """Bisects one threshold after the other. All recordings count as one, frame by frame."""

    gate: GateLike
    recordings: Sequence[Shares]
    hysteresis: float = Recache.hysteresis
    max_age_frames: int = Recache.max_age_frames
    rounds: int = 16  # thresholds come out to 2⁻¹⁶
    _tried: dict[tuple[float, ...], tuple[float, ...]] = field(default_factory=dict)

    def rates(self, thresholds: Sequence[float]) -> tuple[float, ...]:
        """Share of frames with a refresh, per level; a recording's first frame is no choice."""
        key = tuple(thresholds)
        if key not in self._tried:
            runs = [self._run(shares, key) for shares in self.recordings]
            later = torch.cat([run.refreshed[1:] for run in runs])
            self._tried[key] = tuple(later.float().mean(0).tolist())
        return self._tried[key]

    def fit(self, targets: Sequence[float]) -> Calibrated:
        """Thresholds whose rates come as close to the targets from below as was found.

        A target may be out of reach: `max_age_frames` and the levels above refresh regardless. Then
        the threshold is 1, and the rate says what that costs.
        """
        thresholds = [1.0] * len(targets)
        for level, target in enumerate(targets):
            low, high, best = 0.0, 1.0, (-1.0, 1.0)
            for _ in range(self.rounds):
                thresholds[level] = (low + high) / 2
                rate = self.rates(thresholds)[level]
                if rate > target:
                    low = thresholds[level]
                else:
                    high = thresholds[level]
                    # A higher threshold may well refresh more often: the best is not the last.
                    best = max(best, (rate, high))
            thresholds[level] = best[1]
        return Calibrated(tuple(thresholds), self.rates(thresholds))

    def _run(self, shares: Shares, thresholds: tuple[float, ...]) -> Replay:
        recache = Recache(thresholds, self.hysteresis, self.max_age_frames)
        return replay(self.gate, shares, recache)
