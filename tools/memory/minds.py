"""Who decides: an oracle that knows everything, and one that knows everything but the past."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tandem.drivers.sim.kitchen import KitchenTruth
from tandem.policies.memory.subgoals import BURNER, TABLE_PLACES, WAIT, SubGoal
from tandem.tools.memory.hands import NEAR_PLACE_M, place_xy
from tandem.tools.memory.judge import CANS, Book, on_burner

Array = np.ndarray
TICK_S = 0.5  # System 2 decides at 2 Hz
LIFT_OFF_S = 0.3  # from "grasp it" until the can leaves the burner


@dataclass(frozen=True)
class Look:
    """What there is to know at a look; a learned policy is given t_s, free and image() alone."""

    t_s: float
    free: bool  # System 1 has nothing to do, and it is time to decide
    holding: bool
    truth: KitchenTruth
    tool_m: Array  # [3]
    book: Book
    places: tuple[int, int]  # where the cans stood at first
    image: Callable[[], Array]  # [H, W, 3] uint8


class Mind(Protocol):
    def begin(self, seconds: int, rng: np.random.Generator) -> None: ...
    def decide(self, look: Look) -> SubGoal:
        """Asked at every look; the answer counts when `look.free`."""
        ...


class Oracle:
    """Does it right from any state: remembers who was heated, since when, and where all stood."""

    def begin(self, seconds: int, rng: np.random.Generator) -> None:
        self._seconds = seconds
        self._first = int(rng.integers(CANS))  # nothing in the picture says which comes first

    def decide(self, look: Look) -> SubGoal:
        heated = [heating.can for heating in look.book.heatings]
        held = _held(look) if look.holding else None
        burning = _burning(look.truth)
        if held is not None:
            return SubGoal("place", look.places[held] if held in heated else BURNER)
        if burning is not None:
            since = next(h.t_on_s for h in reversed(look.book.heatings) if h.can == burning)
            due = look.t_s - since + LIFT_OFF_S >= self._seconds - TICK_S / 2
            return SubGoal("grasp", BURNER) if due else WAIT
        waiting = [can for can in (self._first, 1 - self._first) if can not in heated]
        return _grasp(look.truth, waiting[0]) if waiting else WAIT


class Memoryless:
    """Knows the present exactly and guesses the rest as well as the present allows."""

    def begin(self, seconds: int, rng: np.random.Generator) -> None:
        self._rng = rng
        # So that a can stays as long on average as it should.
        self._removal = TICK_S / (seconds - LIFT_OFF_S)

    def decide(self, look: Look) -> SubGoal:
        burning = _burning(look.truth)
        if look.holding:
            over_burner = _away(look.truth, _held(look), BURNER) < NEAR_PLACE_M
            return self._put_back(look) if over_burner else SubGoal("place", BURNER)
        if burning is not None:
            return SubGoal("grasp", BURNER) if self._rng.random() < self._removal else WAIT
        return _grasp(look.truth, int(self._rng.integers(CANS)))

    def _put_back(self, look: Look) -> SubGoal:
        other = 1 - _held(look)
        free = [p for p in range(TABLE_PLACES) if _away(look.truth, other, p) > NEAR_PLACE_M]
        return SubGoal("place", int(self._rng.choice(free)))


def _away(truth: KitchenTruth, can: int, place: int) -> float:
    """Sideways distance of a can from a place, m."""
    return float(np.hypot(*(truth.cans[can, :2] - place_xy(place))))


def _held(look: Look) -> int:
    """The can that the hand is around: the higher one, or on the burner the one there."""
    burning = _burning(look.truth)
    return int(look.truth.cans[:, 2].argmax()) if burning is None else burning


def _burning(truth: KitchenTruth) -> int | None:
    return next((can for can in range(CANS) if on_burner(truth, can)), None)


def _grasp(truth: KitchenTruth, can: int) -> SubGoal:
    away = [_away(truth, can, place) for place in range(TABLE_PLACES)]
    return SubGoal("grasp", int(np.argmin(away)))
