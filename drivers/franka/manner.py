"""How an arm is treated, and what it asks of its hand."""

from dataclasses import dataclass
from typing import Protocol

_SET_POINT_RAD = 3e-7  # half a unit of the last place of a float at 3 rad, and a little


class Hand(Protocol):
    """The gripper, which blocks, in a process of its own."""

    def look(self) -> float: ...
    def want(self, opening: float) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Manner:
    """How an arm is treated; the defaults are for a robot on a wire."""

    tolerance_rad: float = _SET_POINT_RAD  # the robot's set-point farther from ours: it was lost
    success_rate_min: float = 0.9  # people are told of less
    patience_ns: int = 0  # a read waits for so long at least: for a robot whose time waits for us
