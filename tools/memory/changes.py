"""Where things are, in taught places, and what of it has changed: the simulator's truth.

A can stands where none stood, or is gone and not in the hand: that is a change, and what a refresh
of the statics is for. What the hand carries is none: it is the dynamic tokens' business.
"""

import numpy as np
from tandem.policies.memory.subgoals import PLACES
from tandem.tools.memory.hands import NEAR_PLACE_M, place_xy

Array = np.ndarray
ELSEWHERE = PLACES  # in the hand, or on the way
WHERES = PLACES + 1
_LOW_M = 0.08  # a standing can has its centre below, a carried one above


def where(position_m: Array) -> int:
    """The place that something stands at or is over and low, or ELSEWHERE."""
    away = [np.hypot(*(position_m[:2] - place_xy(place))) for place in range(PLACES)]
    nearest = int(np.argmin(away))
    return nearest if away[nearest] < NEAR_PLACE_M and position_m[2] < _LOW_M else ELSEWHERE


def standing(wheres: Array) -> Array:
    """[…, cans] wheres to […, PLACES] bool: a can stands there."""
    return (wheres[..., None] == np.arange(PLACES)).any(-2)


def moved(then: Array, now: Array, holding: Array) -> tuple[Array, Array]:
    """Whether cans stand elsewhere, and whether that is certain.

    then, now: [B, PLACES]. holding: [B], now. A can that the hand is about to let go of has as good
    as arrived.
    """
    appeared = (now & ~then).any(-1)
    gone = (then & ~now).any(-1) & ~holding
    return appeared | gone, ~(appeared & holding)
