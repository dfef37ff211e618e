"""Limits are small objects folded in order: velocity wanted in, velocity allowed and reason out.

Each knows how far the joints or the tool run on while they brake, so it slows motion early instead
of clipping it late: a clipped sample is a step of 1000 rad/s². After them stands the gate, which
trusts nobody: a command passes only if it continues the last one inside the arm's own limits, and
if from there the arm can still stop inside them. Otherwise the braking that was verified one tick
ago goes on.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from tandem.runtime.bounds import Box
from tandem.runtime.errors import LimitError
from tandem.runtime.interfaces import ArmSpec, Array
from tandem.runtime.interpolate import Braking, Dynamics, Motion, Stopper
from tandem.runtime.kinematics import Chain

_ROUNDING = 1e-6
# Share of the acceleration that the stopping-distance laws count on; the rest is their margin.
_BRAKE_SHARE = 0.7
# Speed at which a joint outside its range may come back in.
_INWARD_SHARE = 0.05
_SLIDE_INWARD = 0.02
_INF3 = np.full(3, np.inf)


class Allowed(NamedTuple):
    dq: Array  # [D] rad/s
    why: str | None  # what had to slow it, for people; None: nothing


class Limit(Protocol):
    def __call__(self, dq: Array, at: Motion) -> Allowed:
        """`dq` [D] rad/s is the velocity that motion is heading for, `at` where it is now."""


def fold(limits: Sequence[Limit], dq: Array, at: Motion) -> Allowed:
    """Every limit in order, each on what the one before allowed; the first reason is kept."""
    why = None
    for limit in limits:
        dq, reason = limit(dq, at)
        why = why or reason
    return Allowed(dq, why)


class SpeedLimit:
    """No joint above its velocity: all are slowed alike, so that the direction stays."""

    def __init__(self, dynamics: Dynamics) -> None:
        self._dq_max = dynamics.dq

    def __call__(self, dq: Array, at: Motion) -> Allowed:
        ratio = float((abs(dq) / self._dq_max).max())
        return Allowed(dq, None) if ratio <= 1 + _ROUNDING else Allowed(dq / ratio, "joint speed")


class RangeLimit:
    """No joint beyond its range: towards a bound only as fast as it can still stop before it.

    From v a stop takes v²/2a + v·a/2j, after two ticks of v until it works. Outside the range:
    inward only, slowly.
    """

    def __init__(self, q_min: Array, q_max: Array, dynamics: Dynamics, tick_s: float) -> None:
        """`q_min`, `q_max` [D] rad: the range, margin already taken off."""
        self._q_min, self._q_max = q_min, q_max
        self._range = Box(q_min, q_max)
        self._ddq = _BRAKE_SHARE * dynamics.ddq
        self._lag = self._ddq * (2 * tick_s + self._ddq / (2 * dynamics.jerk))
        self._inward = _INWARD_SHARE * dynamics.dq
        # Further inside than the longest stop there is nothing to do.
        longest = ((dynamics.dq + self._lag) ** 2 - self._lag**2) / (2 * self._ddq)
        self._free = Box(q_min + longest, q_max - longest)

    def __call__(self, dq: Array, at: Motion) -> Allowed:
        q = at.q
        if self._free.holds(q):
            return Allowed(dq, None)
        below, above = q - self._q_min, self._q_max - q
        low = np.where(below < 0, 0.0, -self._stoppable(below))
        high = np.where(above < 0, 0.0, self._stoppable(above))
        low = np.where(above < 0, -self._inward, low)
        high = np.where(below < 0, self._inward, high)
        allowed = np.minimum(np.maximum(dq, low), high)
        changed = (abs(allowed - dq) > _ROUNDING).any()
        return Allowed(allowed, "joint range") if changed else Allowed(dq, None)

    def clip(self, target: Motion) -> Motion:
        """The same target inside the range: on a bound it rests."""
        if self._range.holds(target.q):
            return target
        q = np.minimum(np.maximum(target.q, self._q_min), self._q_max)
        inside = q == target.q
        return Motion.of(q, target.dq * inside, target.ddq * inside)

    def _stoppable(self, room: Array) -> Array:
        """Largest velocity [D] rad/s that stops within `room` [D] rad."""
        room = np.maximum(room, 0.0)
        dq: Array = np.sqrt(self._lag**2 + 2 * self._ddq * room) - self._lag
        return dq


class ToolLimit:
    """Tool speed, and a box (the table is its floor) that the tool does not leave while braking."""

    def __init__(
        self,
        chain: Chain,
        speed_m_s: float,
        dynamics: Dynamics,
        tick_s: float,
        low_m: Array = -_INF3,
        high_m: Array = _INF3,
        margin_m: float = 0.005,
    ) -> None:
        """`low_m`, `high_m` [3]: corners in the base frame; stops are planned `margin_m` inside."""
        self.chain = chain
        self.speed_m_s = speed_m_s
        self._box = Box(np.asarray(low_m, float), np.asarray(high_m, float))
        self._margin_m = margin_m
        self._ddq = _BRAKE_SHARE * dynamics.ddq
        self._settle_s = float((self._ddq / dynamics.jerk).max()) + 2 * (2 * tick_s)
        self.boxed = bool(np.isfinite(low_m).any() or np.isfinite(high_m).any())

    def __call__(self, dq: Array, at: Motion) -> Allowed:
        position, velocity = self.chain.moving(at.q, dq)
        share, why = 1.0, None
        speed = math.hypot(*velocity)
        if speed > self.speed_m_s * (1 + _ROUNDING):
            share, why = self.speed_m_s / speed, "tool speed"
        if self.boxed:
            inside = min(self._shares(position, velocity, dq))
            if inside < share:
                share, why = inside, "edge of the tool's workspace"
        return Allowed(dq * share, why) if why else Allowed(dq, None)

    def outside_at(self, q: Array) -> float:
        """How far outside the box, m, the tool is at `q` [D] rad; 0 inside."""
        if not self.boxed:
            return 0.0
        return self._box.beyond(self.chain.position(q).tolist())

    def slide(self, twist: Array, dq: Array) -> Array:
        """A twist [6] in base axes, of joints at `dq`, without what leads out of the box.

        So a hand on a joystick glides along the table instead of sticking to it. It is led a little
        inward there, because the damped inverse leaks some of the motion along into motion out.
        """
        velocity = twist[:3]
        shares = np.array(self._shares(self.chain.pose[:3, 3].tolist(), velocity.tolist(), dq))
        inward = np.where(shares < 1, _SLIDE_INWARD * np.sqrt(velocity @ velocity), 0.0)
        return np.concatenate((velocity * shares - np.sign(velocity) * inward, twist[3:]))

    def _shares(
        self, position: Sequence[float], velocity: Sequence[float], dq: Array
    ) -> list[float]:
        """Per axis: the share k ≤ 1 of the velocity from which the tool still stops inside.

        Braking from k·dq takes T = k·t + t' (t: the slowest joint's |dq|/a; t': a/j, and twice the
        two ticks until it works) and carries the tool k·velocity·T/2 further; the largest k is the
        root of that quadratic equation.
        """
        brake_s, settle_s = max(float((abs(dq) / self._ddq).max()), _ROUNDING), self._settle_s
        shares = []
        for towards_m, speed in zip(self._box.ahead(position, velocity), velocity, strict=True):
            room_m, away = max(towards_m - self._margin_m, 0.0), max(abs(speed), _ROUNDING)
            root = math.sqrt(settle_s**2 + 8 * brake_s * room_m / away) - settle_s
            shares.append(min(root / (2 * brake_s), 1.0) if away > _ROUNDING else 1.0)
        return shares


class Gate:
    """The last check before the arm; holds a braking that is known to be good, always."""

    def __init__(self, spec: ArmSpec, braking: Dynamics, tool: ToolLimit | None = None) -> None:
        """`braking`: what stops may use; `tool`: its box and speed are checked too, at the stop."""
        self._spec = spec
        self._stopper = Stopper(braking)
        self._range = Box(spec.q_min, spec.q_max)
        self._kick, self._kick_dt_s = np.zeros((3, 1)), 0.0
        self._most = np.array((np.full(len(spec.q_min), np.inf), spec.dq_max, spec.ddq_max))
        self._tool = tool
        self._tool_speed_m_s = 1.25 * tool.speed_m_s if tool else 0.0  # regulated, so it overshoots
        self._brake: Braking | None = None
        self._brake_t_ns = 0
        self._outside_m = 0.0  # where the verified braking ends

    def trust(self, motion: Motion, t_ns: int) -> None:
        """Take a motion as it is: the arm's own set-point, from which everything continues.

        Raises:
            LimitError: it is not finite.
        """
        self._brake, self._brake_t_ns = self._stopper.stop(motion), t_ns
        if self._tool:
            self._outside_m = self._tool.outside_at(self._brake.end_q)

    def admit(
        self, last: Motion, step: Motion, dt_s: float, t_ns: int
    ) -> tuple[Motion, str | None]:
        """`step` if it is good `dt_s` after `last`; else the verified braking's sample, and why."""
        try:
            self._check_continuity(last, step, dt_s)
            brake = self._stopper.stop(step)
            self._check_stop(last, step, brake)
        except LimitError as error:
            return self.braking_at(t_ns), str(error)
        self._brake, self._brake_t_ns = brake, t_ns
        return step, None

    def braking_at(self, t_ns: int) -> Motion:
        """The verified braking at a time."""
        assert self._brake is not None, "trust() comes first"
        return self._brake.at((t_ns - self._brake_t_ns) * 1e-9)

    def _check_continuity(self, last: Motion, step: Motion, dt_s: float) -> None:
        """Raises LimitError unless motion inside the arm's limits leads from `last` to `step`."""
        # Written so that NaN fails too.
        if not (abs(step.rows) <= self._most).all():
            raise LimitError("the command is not finite, or above the arm's own limits")
        if dt_s != self._kick_dt_s:  # nearly every tick is as long as the one before
            jerk, self._kick_dt_s = self._spec.jerk_max, dt_s
            self._kick = np.array((jerk * dt_s**3 / 6, jerk * dt_s**2 / 2, jerk * dt_s)) + _ROUNDING
        if not (abs(step.rows - last.ahead(dt_s).rows) <= self._kick).all():
            raise LimitError("the command jumps")

    def _check_stop(self, last: Motion, step: Motion, brake: Braking) -> None:
        """Raises LimitError unless `brake` ends inside, or no further outside than the arm was."""
        end_q = brake.end_q
        inside = self._range.holds(end_q)
        if not inside and (self._outside(end_q) > self._outside(last.q) + _ROUNDING).any():
            raise LimitError("the arm could not stop inside its joint range")
        if self._tool is None:
            return
        _, velocity = self._tool.chain.moving(step.q, step.dq)
        if math.hypot(*velocity) > self._tool_speed_m_s:
            raise LimitError("the tool is too fast")
        outside_m = self._tool.outside_at(end_q)
        if outside_m > self._outside_m + _ROUNDING:
            raise LimitError("the tool could not stop inside its workspace")
        self._outside_m = outside_m

    def _outside(self, q: Array) -> Array:
        beyond: Array = np.maximum(np.maximum(self._spec.q_min - q, q - self._spec.q_max), 0.0)
        return beyond
