"""Whether a stop was a good one, from the set-points that the plant followed and from nothing else.

Good: at rest in time, no joint turned back on the way, never outside the arm's own limits.
"""

from dataclasses import dataclass

import numpy as np
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.interfaces import ArmSpec
from tandem.runtime.interpolate import Dynamics
from tandem.tools.evaluate.plant import Extremes, differences, extremes

Array = np.ndarray
REST_RAD_S = 1e-4
_REVERSAL_RAD_S = 1e-3


@dataclass(frozen=True)
class Path:
    """Set-points as followed: evenly spaced t_ns [N], q [N, D] rad."""

    t_ns: Array
    q: Array

    def between(self, start_ns: int, end_ns: int) -> "Path":
        inside = (self.t_ns >= start_ns) & (self.t_ns <= end_ns)
        return Path(self.t_ns[inside], self.q[inside])

    def index(self, t_ns: int) -> int:
        return int(np.clip(np.searchsorted(self.t_ns, t_ns), 0, len(self.t_ns) - 4))


@dataclass(frozen=True)
class Stop:
    """One stop. Times in seconds after the fault; `allowed_s` is for braking alone."""

    fastest_rad_s: float  # of all joints when the fault struck
    brake_s: float  # when braking began
    rest_s: float  # when the last joint stood
    allowed_s: float
    reversed_rad_s: float  # fastest that a joint turned back, beyond what its acceleration forces
    extremes: Extremes

    @property
    def braking_s(self) -> float:
        return self.rest_s - self.brake_s


def rest_ns(path: Path, from_ns: int) -> int | None:
    """When the arm came to rest for good after `from_ns`; None: it had not by the end."""
    velocity = differences(path.t_ns, path.q)[0]
    moving = np.flatnonzero(np.abs(velocity).max(axis=1) > REST_RAD_S)
    last = int(moving[-1]) + 1 if moving.size else 0
    if last >= len(velocity):
        return None
    return max(from_ns, int(path.t_ns[last]))


def judge(path: Path, spec: ArmSpec, braking: Dynamics, t_fault_ns: int, t_brake_ns: int) -> Stop:
    """The stop after a fault. `braking`: the least that the robot promises to brake with.

    Raises:
        ValueError: the arm was not at rest by the end of the path, or samples are missing.
    """
    t_rest_ns = rest_ns(path, t_brake_ns)
    if t_rest_ns is None:
        raise ValueError("the arm still moves at the end of the record")
    velocity, acceleration, _ = differences(path.t_ns, path.q)
    struck, begun = path.index(t_fault_ns), path.index(t_brake_ns)
    return Stop(
        float(np.abs(velocity[struck]).max()),
        (t_brake_ns - t_fault_ns) / NS_PER_S,
        (t_rest_ns - t_fault_ns) / NS_PER_S,
        allowed_s(velocity[begun], acceleration[begun], braking),
        _reversed(velocity[begun:], acceleration[begun], braking),
        extremes(path.t_ns, path.q, spec),
    )


def allowed_s(dq: Array, ddq: Array, braking: Dynamics) -> float:
    """Longest stop over the joints from velocity and acceleration [D]: |v|/a + a/j, and what the
    acceleration of the moment costs: |a₀|/j to take it away and what it adds meanwhile."""
    extra_s = np.abs(ddq) / braking.jerk
    added = np.abs(ddq) * extra_s / 2
    return float(((np.abs(dq) + added) / braking.ddq + braking.ddq / braking.jerk + extra_s).max())


def _reversed(velocity: Array, ddq: Array, braking: Dynamics) -> float:
    """Largest speed against the direction in which each joint would have settled.

    A joint near standstill cannot be kept from turning while its acceleration is taken away: a²/2j.
    """
    settled = velocity[0] + ddq * np.abs(ddq) / (2 * braking.jerk)
    back = np.maximum(0.0, -velocity * np.sign(settled)).max(axis=0)
    forced = ddq**2 / (2 * braking.jerk) + _REVERSAL_RAD_S
    return float(np.maximum(0.0, back - forced).max())
