"""What the arm follows between knots: quintic Hermite segments, and its own brake when they end.

Position, velocity and acceleration of the set-point are continuous whatever arrives: a segment
starts where the last one (or the brake) is, and one that would leave the arm's own limits is
refused. So a late, dead or mad sender costs a smooth stop and nothing else.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np
from tandem.drivers.brake import Brake
from tandem.drivers.guard import inside
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.interfaces import ArmSpec, Knot

MAX_AHEAD_NS = 100 * NS_PER_MS  # a knot further ahead is a clock gone wrong
# Rows: coefficients of u⁰ … u⁵ from (q0, h·dq0, h²·ddq0, q1, h·dq1, h²·ddq1).
_HERMITE = np.array(
    [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 0.5, 0, 0, 0],
        [-10, -6, -1.5, 10, -4, 0.5],
        [15, 8, 1.5, -15, 7, -1],
        [-6, -3, -0.5, 6, -3, 0.5],
    ]
)


@dataclass(frozen=True, slots=True)
class SetPoint:
    """Where the set-point is: [D] rad, rad/s, rad/s²; `gripper` 0 closed … 1 open."""

    q: np.ndarray
    dq: np.ndarray
    ddq: np.ndarray
    gripper: float


class Verdict(Enum):
    ACCEPTED = "accepted"
    LATE = "late"  # too late, or planned before the last time the arm braked by itself
    REFUSED = "refused"  # not finite, too far ahead, or it would leave the arm's limits


class Segment:
    """A quintic from one (time, set-point) to the next, exact at both ends."""

    def __init__(self, t0_ns: int, start: SetPoint, t1_ns: int, end: SetPoint) -> None:
        self.t0_ns, self.t1_ns, self.end = t0_ns, t1_ns, end
        self.h_s = h = (t1_ns - t0_ns) / NS_PER_S
        rows = np.array(
            [start.q, h * start.dq, h * h * start.ddq, end.q, h * end.dq, h * h * end.ddq]
        )
        self._coefficients = _HERMITE @ rows  # [6, D]

    def at(self, t_ns: int) -> SetPoint:
        u = (t_ns - self.t0_ns) / (self.t1_ns - self.t0_ns)
        uu, uuu = u * u, u * u * u
        powers = (
            (1.0, u, uu, uuu, uu * uu, uu * uuu),
            (0.0, 1.0, 2 * u, 3 * uu, 4 * uuu, 5 * uu * uu),
            (0.0, 0.0, 2.0, 6 * u, 12 * uu, 20 * uuu),
        )
        q, dq, ddq = np.array(powers) @ self._coefficients
        return SetPoint(q, dq / self.h_s, ddq / self.h_s**2, self.end.gripper)

    def inside(self, spec: ArmSpec) -> bool:
        """Velocity, acceleration and jerk stay in the arm's limits, everywhere."""
        return inside(self._coefficients, self.h_s, spec)


class Follower:
    """Takes knots as they come and says, for ever later times, where the set-point is.

    `underruns` counts how often the arm braked by itself; only knots that carry the newest count
    are accepted, so knots of a sender that does not know yet can never make a step.
    """

    def __init__(self, spec: ArmSpec, q: np.ndarray, t_ns: int, gripper: float = 1.0) -> None:
        self._spec = spec
        self.underruns = 0  # times that the stream ended, or the arm was stopped or put elsewhere
        self.starved = 0  # of those: the stream ended while the arm followed it
        self.late = 0
        self.refused = 0
        self.blocked = False  # in reflex or user stop: every knot is dropped
        self.coasting = False
        self._rest(q, t_ns, gripper)

    @property
    def now(self) -> SetPoint:
        return self._now

    @property
    def standing(self) -> bool:
        """At rest with nothing queued: it will stay so until a knot comes."""
        passed_s = (self._t_ns - self._brake_t_ns) / NS_PER_S
        return not self._segments and passed_s >= self._brake.duration_s

    def offer(self, knot: Knot, now_ns: int) -> Verdict:
        """Take a knot if it fits behind what is already there."""
        verdict = self._judge(knot, now_ns)
        if verdict is Verdict.LATE:
            self.late += 1
        elif verdict is Verdict.REFUSED:
            self.refused += 1
        return verdict

    def advance(self, t_ns: int) -> SetPoint:
        """The set-point at `t_ns`, which may not be before the last one asked for."""
        while self._segments and t_ns > self._segments[0].t1_ns:
            done = self._segments.popleft()
            if not self._segments:
                self.starved += 1
                self._brake_from(done.end, done.t1_ns)
        if self._segments:
            self._now = self._segments[0].at(t_ns)
        else:
            q, dq, ddq = self._brake.at((t_ns - self._brake_t_ns) / NS_PER_S)
            self._now = SetPoint(q, dq, ddq, self._now.gripper)
        self._t_ns = t_ns
        return self._now

    def brake(self) -> None:
        """Brake from where the set-point is now; whoever commands must plan anew."""
        if self._segments:
            self._segments.clear()
            self._brake_from(self._now, self._t_ns)

    def restart(self, q: np.ndarray, t_ns: int, gripper: float) -> None:
        """The arm has been put somewhere else, at rest: knots for the old place must not count."""
        self._rest(q, t_ns, gripper)
        self.underruns += 1
        self.coasting = True

    def _rest(self, q: np.ndarray, t_ns: int, gripper: float) -> None:
        self._segments: deque[Segment] = deque()
        zero = np.zeros(len(q))
        self._now = SetPoint(np.array(q, float), zero, zero, gripper)
        self._t_ns = t_ns
        self._start_brake(self._now, t_ns)

    def _brake_from(self, start: SetPoint, t_ns: int) -> None:
        self.underruns += 1
        self.coasting = True
        self._now = start
        self._start_brake(start, t_ns)

    def _start_brake(self, start: SetPoint, t_ns: int) -> None:
        self._brake_t_ns = t_ns
        self._brake = Brake(
            start.q,
            start.dq,
            start.ddq,
            self._spec.coast_acceleration * self._spec.ddq_max,
            self._spec.coast_jerk * self._spec.jerk_max,
        )

    def _judge(self, knot: Knot, now_ns: int) -> Verdict:
        tail = self._segments[-1] if self._segments else None
        after_ns = tail.t1_ns if tail else self._t_ns
        if self.blocked or knot.underruns != self.underruns or knot.t_ns <= after_ns:
            return Verdict.LATE
        if knot.t_ns > now_ns + MAX_AHEAD_NS or not self._possible(knot):
            return Verdict.REFUSED
        before = tail.end if tail else self._now
        gripper = before.gripper if np.isnan(knot.gripper) else min(max(knot.gripper, 0.0), 1.0)
        end = SetPoint(knot.q.copy(), knot.dq.copy(), knot.ddq.copy(), gripper)
        segment = Segment(after_ns, before, knot.t_ns, end)
        if not segment.inside(self._spec):
            return Verdict.REFUSED
        self._segments.append(segment)
        self.coasting = False
        return Verdict.ACCEPTED

    def _possible(self, knot: Knot) -> bool:
        rows = (knot.q, knot.dq, knot.ddq)
        return bool(
            all(row.shape == self._spec.q_min.shape and np.isfinite(row).all() for row in rows)
            and not np.isinf(knot.gripper)
            and (knot.q >= self._spec.q_min).all()
            and (knot.q <= self._spec.q_max).all()
        )
