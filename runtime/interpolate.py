"""From sparse targets to motion that joints can follow: a path, a follower, and a way to stop.

A chunk's targets become one C2 curve (`Spline`). Ruckig turns what is wanted next into the next
sample inside limits of velocity, acceleration and jerk (`Follower`), and gives the shortest stop
(`Stopper`). Ruckig as measured (0.19): position targets alone lag by 40 ms, so velocity and
acceleration go with them; a position target "here" reverses a moving joint, so stopping is a target
of velocity.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from ruckig import (
    ControlInterface,
    InputParameter,
    Ruckig,
    RuckigError,
    Synchronization,
    Trajectory,
)
from tandem.runtime.errors import LimitError
from tandem.runtime.interfaces import Array

# Ruckig refuses a target on the limit itself as soon as rounding puts it outside.
_INSIDE = 1 - 1e-6
# How far ahead a moving target is met if not at once: long enough to swallow a seam within the jerk
# that motion has, short enough for the target's acceleration to stay what it is.
_MEET_S = 0.02
_ON_TIME = 1 + 1e-6
_REASON_MAX = 100


class Motion:
    """Where the joints are and how they move: `rows` [3, D] are q rad, dq rad/s, ddq rad/s².

    One array, because a tick works on all three at once. Never written to after it is made.
    """

    __slots__ = ("rows",)

    def __init__(self, rows: Array) -> None:
        self.rows = rows

    @classmethod
    def of(cls, q: Array, dq: Array, ddq: Array) -> "Motion":
        return cls(np.array((q, dq, ddq), dtype=float))

    @classmethod
    def rest(cls, q: Array) -> "Motion":
        rows = np.zeros((3, len(q)))
        rows[0] = q
        return cls(rows)

    @property
    def q(self) -> Array:
        q: Array = self.rows[0]
        return q

    @property
    def dq(self) -> Array:
        dq: Array = self.rows[1]
        return dq

    @property
    def ddq(self) -> Array:
        ddq: Array = self.rows[2]
        return ddq

    def is_rest(self, tolerance: float = 1e-6) -> bool:
        return bool(abs(self.rows[1:]).max() <= tolerance)

    def ahead(self, t_s: float) -> "Motion":
        """The same motion `t_s` later if nothing pushed: constant acceleration."""
        return Motion(_coasting(t_s) @ self.rows)


@lru_cache(maxsize=64)  # nearly every tick is as long as the one before
def _coasting(t_s: float) -> Array:
    """[3, 3] that maps q, dq, ddq to what they are `t_s` later at constant acceleration."""
    return np.array(((1, t_s, t_s * t_s / 2), (0, 1, t_s), (0, 0, 1)))


class Dynamics(NamedTuple):
    """Limits of motion, per joint: dq [D] rad/s, ddq [D] rad/s², jerk [D] rad/s³."""

    dq: Array
    ddq: Array
    jerk: Array

    def scaled(self, speed: float, acceleration: float, jerk: float) -> "Dynamics":
        return Dynamics(self.dq * speed, self.ddq * acceleration, self.jerk * jerk)

    def settled(self, motion: Motion) -> Array:
        """Velocity [D] reached if the acceleration is taken back to zero from now on."""
        dq: Array = motion.dq + motion.ddq * abs(motion.ddq) / (2 * self.jerk)
        return dq

    def stop_s(self, dq: Array) -> float:
        """The longest stop over all joints, as promised: |v|/a + a/j."""
        return float((abs(dq) / self.ddq + self.ddq / self.jerk).max())


@lru_cache(maxsize=64)
def _slopes(steps: int) -> Array:
    """[n+1, n+1] that maps (h·start slope, differences between knots) to the knots' h·slopes.

    Row 0 clamps the start, the last row lets the curvature fade at the end (natural), the others
    make neighbouring cubics agree in their second derivative (de Boor, A Practical Guide to
    Splines, ch. 4).
    """
    n = steps
    system = np.diag(np.full(n + 1, 4.0)) + np.diag(np.ones(n), 1) + np.diag(np.ones(n), -1)
    system[0, :2] = 1, 0
    system[n, n - 1 :] = 1, 2
    right = np.zeros((n + 1, n + 1))
    right[0, 0] = 1
    right[n, n] = 3
    for i in range(1, n):
        right[i, i : i + 2] = 3
    solution: Array = np.linalg.solve(system, right)
    return solution


class Spline:
    """C2 cubic through `start_q` at `start_s` and `actions` [H, D] every `step_s` after it.

    Clamped to `start_dq` at the start, without curvature at the end, at rest beyond its ends.
    """

    def __init__(
        self, start_s: float, start_q: Array, start_dq: Array, step_s: float, actions: Array
    ) -> None:
        self.start_s = start_s
        self.step_s = step_s
        self.steps = len(actions)
        self.end_s = start_s + self.steps * step_s
        self.knots_s = start_s + step_s * np.arange(1, self.steps + 1)  # [H]
        self.knots_q = actions  # [H, D]
        points = np.vstack((start_q, actions))
        moves = points[1:] - points[:-1]
        slopes = _slopes(self.steps) @ np.vstack((start_dq * step_s, moves))
        left, right = slopes[:-1], slopes[1:]
        # Per interval: q = c0 + c1·u + c2·u² + c3·u³ with u from 0 to 1.
        cubics = (points[:-1], left, 3 * moves - 2 * left - right, left + right - 2 * moves)
        self._cubics = np.stack(cubics, axis=1)  # [H, 4, D]

    def at(self, s: float) -> Motion:
        """Position and its first and second derivative by s."""
        x = (s - self.start_s) / self.step_s
        if x < 0:
            return Motion.rest(self._cubics[0, 0])
        if x > self.steps:
            return Motion.rest(self.knots_q[-1])
        i = min(int(x), self.steps - 1)
        u, h = x - i, self.step_s
        powers = (
            (1, u, u * u, u * u * u),
            (0, 1 / h, 2 * u / h, 3 * u * u / h),
            (0, 0, 2 / (h * h), 6 * u / (h * h)),
        )
        return Motion(np.array(powers) @ self._cubics[i])

    def positions(self, s: Array) -> Array:
        """[N, D] at the times `s` [N]; beyond the ends, the ends."""
        x = np.minimum(np.maximum((s - self.start_s) / self.step_s, 0), self.steps)
        i = np.minimum(x.astype(int), self.steps - 1)
        u = (x - i)[:, None]
        c = self._cubics[i]
        q: Array = ((c[:, 3] * u + c[:, 2]) * u + c[:, 1]) * u + c[:, 0]
        return q


class Follower:
    """One sample further towards what is wanted, inside `dynamics`. Remembers nothing."""

    def __init__(self, dynamics: Dynamics) -> None:
        self.dynamics = dynamics
        self._otg = Ruckig(len(dynamics.dq))
        self._trajectory = Trajectory(len(dynamics.dq))
        self._position = _parameters(dynamics, ControlInterface.Position)
        self._velocity = _parameters(dynamics, ControlInterface.Velocity)
        self._top, self._push = dynamics.dq * _INSIDE, dynamics.ddq * _INSIDE
        bounds = (self._top, self._push, 2 * dynamics.jerk)
        self._bounds: list[tuple[float, float, float]] = np.array(bounds).T.tolist()

    def track(self, now: Motion, target: Motion, dt_s: float) -> Motion:
        """Where to be in `dt_s`: on `target` if it can be met by then, else on the way to meet it.

        What cannot be met within the tick is met a little later, where it will be if it keeps its
        acceleration. A step of 20 µrad at a seam already takes more jerk than there is; and since a
        target of Ruckig's does not move on, the way to it would lead through standstill and back.

        Raises:
            LimitError: Ruckig found no way (not finite, absurd, or a rare failure on valid input).
        """
        step = self._meet(now, target, dt_s, dt_s)
        if self._trajectory.duration > dt_s * _ON_TIME:
            step = self._meet(now, target.ahead(_MEET_S), dt_s + _MEET_S, dt_s)
        return step

    def _meet(self, now: Motion, target: Motion, in_s: float, dt_s: float) -> Motion:
        inputs, (q, dq, ddq) = self._position, target.rows.tolist()
        if not self._can_meet(dq, ddq):
            dq, ddq = self._tamed(target)
        inputs.target_position = q
        inputs.target_velocity = dq
        inputs.target_acceleration = ddq
        # Arriving sooner than asked would mean running past the target.
        inputs.minimum_duration = in_s
        return self._next(inputs, now, dt_s)

    def drive(self, now: Motion, dq: Array, dt_s: float) -> Motion:
        """Where to be in `dt_s` on the way to the steady velocity `dq` [D] rad/s; 0 stops.

        Raises:
            LimitError: the input is not finite, or Ruckig failed.
        """
        self._velocity.target_velocity = dq.tolist()
        return self._next(self._velocity, now, dt_s)

    def _can_meet(self, dq: list[float], ddq: list[float]) -> bool:
        """Ruckig takes this as a target's motion. False for NaN."""
        return all(
            abs(v) + a * a / twice_jerk <= top and abs(a) <= push
            for v, a, (top, push, twice_jerk) in zip(dq, ddq, self._bounds, strict=True)
        )

    def _tamed(self, target: Motion) -> tuple[list[float], list[float]]:
        """What comes next to the target's dq and ddq, and can be met."""
        limits, top = self.dynamics, self._top
        dq = np.minimum(np.maximum(target.dq, -top), top)
        # Beyond this acceleration the target itself would run through the velocity limit.
        push = np.sqrt(2 * limits.jerk * (limits.dq - abs(dq))) * _INSIDE
        push = np.minimum(self._push, push)
        return dq.tolist(), np.minimum(np.maximum(target.ddq, -push), push).tolist()

    def _next(self, inputs: InputParameter, now: Motion, dt_s: float) -> Motion:
        _calculate(self._otg, inputs, now, self._trajectory)
        return Motion(np.array(self._trajectory.at_time(dt_s)))


class Braking:
    """A way to rest, from a motion at time 0."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        self.duration_s: float = trajectory.duration

    def at(self, t_s: float) -> Motion:
        """The sample at `t_s`; at rest after `duration_s`."""
        return Motion(np.array(self._trajectory.at_time(max(t_s, 0.0))))

    @property
    def end_q(self) -> Array:
        """[D] rad, where it comes to rest."""
        return np.array(self._trajectory.at_time(self.duration_s)[0])


class Stopper:
    """The shortest stop from any motion: all joints come to rest together, and none is reversed.

    But for a joint that already decelerates harder than its velocity needs (|v| < a²/2j): whatever
    is done, it runs through zero, by less than a³/6j² (a fraction of a milliradian).
    """

    def __init__(self, dynamics: Dynamics, together: bool = True) -> None:
        """`together=False`: each joint as soon as it can, as arms brake by themselves."""
        self._otg = Ruckig(len(dynamics.dq))
        self._inputs = _parameters(dynamics, ControlInterface.Velocity)
        self._inputs.target_velocity = [0.0] * len(dynamics.dq)
        if not together:
            self._inputs.synchronization = Synchronization.No

    def stop(self, start: Motion) -> Braking:
        """Raises LimitError: `start` is not finite."""
        trajectory = Trajectory(len(start.q))
        _calculate(self._otg, self._inputs, start, trajectory)
        return Braking(trajectory)


def _parameters(dynamics: Dynamics, interface: ControlInterface) -> InputParameter:
    inputs = InputParameter(len(dynamics.dq))
    inputs.control_interface = interface
    # All joints arrive together: unsynchronised, a stop bends the tool's path twice as far.
    inputs.synchronization = Synchronization.Time
    inputs.max_velocity = dynamics.dq.tolist()
    inputs.max_acceleration = dynamics.ddq.tolist()
    inputs.max_jerk = dynamics.jerk.tolist()
    return inputs


def _calculate(otg: Ruckig, inputs: InputParameter, start: Motion, trajectory: Trajectory) -> None:
    q, dq, ddq = start.rows.tolist()
    inputs.current_position = q
    inputs.current_velocity = dq
    inputs.current_acceleration = ddq
    try:
        result = otg.calculate(inputs, trajectory)
    except RuckigError as error:
        reason = " ".join(str(error).split())[:_REASON_MAX]
        raise LimitError(f"no trajectory: {reason}") from error
    if result < 0:
        raise LimitError(f"no trajectory: Ruckig answered {result}")
