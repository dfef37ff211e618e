"""The set-point: the last command that was given to the arm, and the only ways to the next one.

Whatever is wanted, from whomever, becomes a command here: through the follower, the limits and the
gate, in this order, always starting at the last command. So no take-over can be a jump.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import LimitError
from tandem.runtime.interfaces import ArmSpec, ArmState, Array
from tandem.runtime.interpolate import Dynamics, Follower, Motion, Stopper
from tandem.runtime.kinematics import Chain
from tandem.runtime.limits import Gate, Limit, RangeLimit, SpeedLimit, ToolLimit, fold

# The quintic that an arm draws between two knots has up to 2.2 times the jerk of the path that was
# sampled: it is the path's jerk projected on parabolas, and the norm of that projection is 2.18.
_KNOT_JERK_SCALE = 1 / 2.2
_NO_BOUND = (None, None, None)
_Corner = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class MotionSettings:
    """How much of the arm's own limits motion may use, and where the tool may be.

    Braking may use more, never less: a stop that is slower than motion could not end inside.
    """

    speed_scale: float = 0.5
    acceleration_scale: float = 0.5
    jerk_scale: float = 0.1
    brake_acceleration_scale: float = 0.8
    brake_jerk_scale: float = 0.2
    range_margin_rad: float = 0.02
    tool_speed_m_s: float = 0.25
    operator_rad_s: float = 1.0  # of any joint: from there every stop fits into 300 ms
    workspace_min_m: _Corner = _NO_BOUND  # robot base frame; None: no bound
    workspace_max_m: _Corner = _NO_BOUND
    table_z_m: float | None = None

    def moving(self, spec: ArmSpec) -> Dynamics:
        own = Dynamics(spec.dq_max, spec.ddq_max, spec.jerk_max)
        jerk = min(self.jerk_scale, _KNOT_JERK_SCALE)
        return own.scaled(self.speed_scale, self.acceleration_scale, jerk)

    def braking(self, spec: ArmSpec) -> Dynamics:
        own = Dynamics(spec.dq_max, spec.ddq_max, spec.jerk_max)
        acceleration = max(self.brake_acceleration_scale, self.acceleration_scale)
        jerk = min(max(self.brake_jerk_scale, self.jerk_scale), _KNOT_JERK_SCALE)
        return own.scaled(1.0, acceleration, jerk)


class Setpoint:
    """`last` is the command for `t_ns`; each method moves both on. `why`: what slowed it, if any.

    `fault` is what the gate stopped; whoever commands must latch it.
    """

    def __init__(self, spec: ArmSpec, settings: MotionSettings, tick_s: float) -> None:
        self.moving, self.stopping = settings.moving(spec), settings.braking(spec)
        own = Dynamics(spec.dq_max, spec.ddq_max, spec.jerk_max)
        coasting = own.scaled(1.0, spec.coast_acceleration, spec.coast_jerk)
        self._stopper = Stopper(self.stopping)
        self._coaster = Stopper(coasting, together=False)
        self.last = Motion.rest(np.zeros(len(spec.joint_names)))
        self.t_ns = 0
        self.why: str | None = None
        self.fault: str | None = None
        self._follower, self._braker = Follower(self.moving), Follower(self.stopping)
        margin = settings.range_margin_rad
        self._range = RangeLimit(spec.q_min + margin, spec.q_max - margin, self.moving, tick_s)
        self.tool = self._tool_limit(spec, settings, tick_s)
        tool = [self.tool] if self.tool else []
        self._track_limits: list[Limit] = [self._range, *tool]
        by_hand = np.minimum(self.moving.dq, settings.operator_rad_s)
        driven = Dynamics(by_hand, self.moving.ddq, self.moving.jerk)
        self._drive_limits: list[Limit] = [SpeedLimit(driven), *self._track_limits]
        self._gate = Gate(spec, self.stopping, self.tool)

    # -- taking over from the arm ------------------------------------------------------------------

    def adopt(self, q: Array, t_ns: int) -> None:
        """Start at the arm's own set-point, which stands still."""
        self._trust(Motion.rest(q), t_ns)

    def rejoin(self, state: ArmState, t_ns: int) -> None:
        """Start on the path that the arm has taken to brake by itself, where it is at `t_ns`."""
        path = self._coaster.stop(Motion.of(state.q_d, state.dq_d, state.ddq_d))
        self._trust(path.at((t_ns - state.t_ns) / NS_PER_S), t_ns)

    # -- going on ----------------------------------------------------------------------------------

    def follow(self, target: Motion, t_ns: int) -> None:
        """On towards `target`, which is where to be at `t_ns`."""
        try:
            step = self._follower.track(self.last, self._range.clip(target), self._dt_s(t_ns))
        except LimitError as error:
            self.brake(t_ns, str(error))
            return
        self._command_within(step, None, t_ns)

    def drive(self, dq: Array, t_ns: int) -> None:
        """On towards the steady joint velocity `dq` [D] rad/s."""
        allowed = fold(self._drive_limits, dq, self.last)
        step = self._heading(self._follower, allowed.dq, t_ns)
        self._command_within(step, allowed.why, t_ns)

    def drive_tool(self, twist: Array, frame: Literal["base", "tool"], t_ns: int) -> None:
        """On towards the steady tool velocity `twist` [6] m/s and rad/s; glides along the box."""
        assert self.tool is not None, "an arm without kinematics has no tool to drive"
        chain = self.tool.chain.update(self.last.q)
        twist = chain.in_base(twist, frame)
        twist = self.tool.slide(twist, chain.joint_velocity(twist))
        self.drive(chain.joint_velocity(twist), t_ns)

    def brake(self, t_ns: int, why: str | None = None) -> None:
        """On towards rest, as fast as stops may; at rest, stay."""
        if self.last.is_rest():
            self.last, self.t_ns, self.why = Motion.rest(self.last.q), t_ns, why
        else:
            step = self._heading(self._braker, np.zeros(len(self.last.q)), t_ns)
            self._command(step, why, t_ns)

    def stop_ahead(self) -> tuple[float, float]:
        """(s, m): how long a stop from here takes, and how far it carries the tool."""
        braking = self._stopper.stop(self.last)
        if self.tool is None:
            return braking.duration_s, 0.0
        position = self.tool.chain.position
        way_m = position(braking.end_q) - position(self.last.q)
        return braking.duration_s, float(np.sqrt(way_m @ way_m))

    # -- inside ------------------------------------------------------------------------------------

    def _dt_s(self, t_ns: int) -> float:
        return (t_ns - self.t_ns) / NS_PER_S

    def _heading(self, follower: Follower, dq: Array, t_ns: int) -> Motion:
        """The next sample on the way to a steady velocity; not finite where there is none."""
        try:
            return follower.drive(self.last, dq, self._dt_s(t_ns))
        except LimitError:
            return Motion.rest(np.full(len(dq), np.nan))  # the gate brakes, and says so

    def _command_within(self, step: Motion, why: str | None, t_ns: int) -> None:
        """Command `step`, or a slower one if what it is heading for cannot be stopped in time."""
        allowed = fold(self._track_limits, self.moving.settled(step), step)
        if allowed.why:
            step = self._heading(self._follower, allowed.dq, t_ns)
        self._command(step, why or allowed.why, t_ns)

    def _command(self, step: Motion, why: str | None, t_ns: int) -> None:
        self.last, fault = self._gate.admit(self.last, step, self._dt_s(t_ns), t_ns)
        self.t_ns, self.why, self.fault = t_ns, why, self.fault or fault

    def _trust(self, motion: Motion, t_ns: int) -> None:
        self._gate.trust(motion, t_ns)
        self.last, self.t_ns, self.why = motion, t_ns, None

    def _tool_limit(
        self, spec: ArmSpec, settings: MotionSettings, tick_s: float
    ) -> ToolLimit | None:
        if not len(spec.mdh):
            return None
        low = [-np.inf if m is None else m for m in settings.workspace_min_m]
        high = [np.inf if m is None else m for m in settings.workspace_max_m]
        if settings.table_z_m is not None:
            low[2] = max(low[2], settings.table_z_m)
        chain = Chain(spec.mdh, spec.pose_tool_in_flange)
        box = np.array(low), np.array(high)
        return ToolLimit(chain, settings.tool_speed_m_s, self.moving, tick_s, *box)
