"""What, where and when: from the truth of an episode to its verdict, and from verdicts to figures.

The three questions of LIBERO-Memory, with a threshold of our own for "the same place". Each is
asked only where its sub-task was reached: a can that was never put on the burner says nothing about
where it would have been put back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tandem.drivers.sim import kitchen_scene as cell
from tandem.drivers.sim.kitchen import KitchenTruth
from tandem.tools.evaluate.statistics import Z_95, wilson

Array = np.ndarray
SAME_PLACE_M = 0.025
DONENESS_CAP = 2.0
DONE_WITHIN = 0.25  # doneness that counts as done, for success in everything
CANS = len(cell.CANS)
_ON_M = 0.003  # so near to standing is standing
_SETTLED_S = 0.25


@dataclass
class Heating:
    """One stay of a can on the burner. `put_back_m` [2]: where it stood on the table afterwards."""

    can: int
    t_on_s: float
    t_off_s: float | None = None
    put_back_m: Array | None = None


class Book:
    """Follows an episode moment by moment and keeps what a judge asks for."""

    def __init__(self) -> None:
        self.heatings: list[Heating] = []
        self._standing_s: float | None = None

    def see(self, truth: KitchenTruth) -> None:
        """The next moment, in order of time."""
        last = self.heatings[-1] if self.heatings else None
        if last is not None and last.t_off_s is None:
            if not on_burner(truth, last.can):
                last.t_off_s = truth.t_s
            return
        if last is not None and last.put_back_m is None:
            self._settle(last, truth)
        for can in range(CANS):
            if on_burner(truth, can):
                self.heatings.append(Heating(can, truth.t_s))
                self._standing_s = None

    @property
    def finished(self) -> bool:
        """Every can has had its turn and stands again, or as many wrong turns were taken."""
        back = [heating.put_back_m is not None for heating in self.heatings]
        return len(back) >= CANS and all(back)

    def _settle(self, last: Heating, truth: KitchenTruth) -> None:
        height = truth.cans[last.can, 2]
        stands = abs(height - cell.standing_z_m()) < _ON_M and not truth.in_hand[last.can]
        if not (stands and truth.upright[last.can]):
            self._standing_s = None
        elif self._standing_s is None:
            self._standing_s = truth.t_s
        elif truth.t_s - self._standing_s > _SETTLED_S:
            last.put_back_m = truth.cans[last.can, :2].copy()


def on_burner(truth: KitchenTruth, can: int) -> bool:
    """The can stands on the burner, whether or not a hand is around it."""
    x, y, z = truth.cans[can]
    near = np.hypot(*(np.array([x, y]) - cell.BURNER_M)) < cell.BURNER_HALF_M
    return bool(near and abs(z - cell.standing_z_m(on_burner=True)) < _ON_M)


@dataclass(frozen=True)
class Verdict:
    """One episode. None and missing entries: that sub-task was not reached."""

    what: bool | None  # the second can heated is the other one
    where_m: list[float]  # per can put back: how far from where it stood at first
    doneness: list[float]  # per heating: |t − H| / H, at most DONENESS_CAP

    @property
    def where(self) -> list[bool]:
        return [distance < SAME_PLACE_M for distance in self.where_m]

    @property
    def success(self) -> bool:
        """Both cans heated for the right time, each back in its place."""
        done = len(self.doneness) == CANS and max(self.doneness) <= DONE_WITHIN
        return bool(self.what and done and len(self.where) == CANS and all(self.where))


def judge(heatings: Sequence[Heating], origins_m: Array, seconds: float) -> Verdict:
    """`origins_m` [2, 2]: where the cans stood at first. Later heatings than one a can are not
    looked at.
    """
    heatings = heatings[:CANS]
    return Verdict(
        what=heatings[0].can != heatings[1].can if len(heatings) == CANS else None,
        where_m=[
            float(np.hypot(*(heating.put_back_m - origins_m[heating.can])))
            for heating in heatings
            if heating.put_back_m is not None
        ],
        doneness=[_doneness(heating, seconds) for heating in heatings],
    )


def _doneness(heating: Heating, seconds: float) -> float:
    if heating.t_off_s is None:
        return DONENESS_CAP
    return min(abs(heating.t_off_s - heating.t_on_s - seconds) / seconds, DONENESS_CAP)


@dataclass(frozen=True)
class Figure:
    """A share or a mean over the sub-tasks that were reached, with its 95 % interval."""

    value: float | None  # None: never reached
    ci95: tuple[float, float] | None
    reached: int
    asked: int


@dataclass(frozen=True)
class Figures:
    episodes: int
    what: Figure  # share
    where: Figure  # share
    when: Figure  # mean doneness, 0 is perfect
    success: Figure  # share; every episode counts


def fold(verdicts: Sequence[Verdict]) -> Figures:
    """All episodes of one policy."""
    count = len(verdicts)
    return Figures(
        episodes=count,
        what=_share([v.what for v in verdicts if v.what is not None], count),
        where=_share([kept for v in verdicts for kept in v.where], count * CANS),
        when=_mean([error for v in verdicts for error in v.doneness], count * CANS),
        success=_share([v.success for v in verdicts], count),
    )


def _share(outcomes: list[bool], asked: int) -> Figure:
    if not outcomes:
        return Figure(None, None, 0, asked)
    interval = wilson(sum(outcomes), len(outcomes))
    return Figure(sum(outcomes) / len(outcomes), interval, len(outcomes), asked)


def _mean(values: list[float], asked: int) -> Figure:
    if not values:
        return Figure(None, None, 0, asked)
    mean = float(np.mean(values))
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else DONENESS_CAP
    half = float(Z_95 * spread / np.sqrt(len(values)))
    return Figure(mean, (max(0.0, mean - half), mean + half), len(values), asked)
