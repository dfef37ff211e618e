"""From the mode to the knot: whoever has the helm, one command per tick continues the last one."""

import math

from tandem.runtime.chunks import Grip
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.engage import MAX_START_RAD
from tandem.runtime.interfaces import ArmSpec, ArmState, Knot
from tandem.runtime.messages import Mode
from tandem.runtime.modes import pace_for_age
from tandem.runtime.pilot import Pilot
from tandem.runtime.seat import Seat
from tandem.runtime.setpoint import Setpoint
from tandem.runtime.settings import ExecutorSettings

_OPEN_SHARE = 0.9  # of its width, and a hand that was found counts as open


class Helm:
    """Holds the set-point, and the seats that may move it."""

    def __init__(self, spec: ArmSpec, settings: ExecutorSettings) -> None:
        joints = len(spec.joint_names)
        self.setpoint = Setpoint(spec, settings.motion, 1 / settings.rate_hz)
        self.pilot = Pilot(joints, settings)
        self.seat = Seat(joints, settings.operator_ns, self.setpoint.tool is not None)
        self._operator_ns = settings.operator_ns
        self._silent_ns = min(settings.operator_silent_ns, settings.operator_ns)
        self._open_m = _OPEN_SHARE * settings.gripper_width_m
        self._grip: Grip | None = None
        self._underruns: int | None = None  # of the arm, that the set-point knows of

    @property
    def gripper(self) -> float:
        """The standing command, 0 closed … 1 open."""
        return self._grip.command if self._grip else 0.0

    def steer(self, mode: Mode, state: ArmState, now_ns: int, t_ns: int, seam: bool) -> Knot:
        """The knot for `t_ns`. `seam`: a new chunk has joined the plan in this tick."""
        if self._grip is None:
            self._grip = Grip(1.0 if state.width_m > self._open_m else 0.0)
        if state.coasting or self.has_underrun(state):
            self.setpoint.rejoin(state, t_ns)
        elif mode == "policy":
            self._follow_plan(self._grip, now_ns, t_ns, seam)
        elif mode == "teleop":
            self._follow_operator(self._grip, now_ns, t_ns)
        else:
            self.setpoint.brake(t_ns)
        self._underruns = state.underruns
        # Until somebody has asked, the hand does what our predecessor told it: it may hold a cube.
        gripper = self._grip.command if self._grip.asked else math.nan
        last = self.setpoint.last
        return Knot(t_ns, last.q, last.dq, last.ddq, gripper, state.underruns)

    def has_underrun(self, state: ArmState) -> bool:
        """The arm has run out of knots, or was put elsewhere, and follows itself since."""
        return state.underruns != self._underruns

    def elsewhere(self, state: ArmState) -> str | None:
        """Why nobody may simply go on: the arm is not where it was commanded."""
        if self._underruns is None or not self.has_underrun(state):
            return None
        away_rad = float(abs(state.q_d - self.setpoint.last.q).max())
        return f"the arm was put {away_rad:.2f} rad away" if away_rad > MAX_START_RAD else None

    def _follow_plan(self, grip: Grip, now_ns: int, t_ns: int, seam: bool) -> None:
        pilot, setpoint = self.pilot, self.setpoint
        before, dt_s = setpoint.last, (t_ns - setpoint.t_ns) / NS_PER_S
        setpoint.follow(pilot.next(dt_s, now_ns, before.q), t_ns)
        grip.want(pilot.gripper, t_ns)
        if seam:
            pilot.plan.seams.commanded(before, setpoint.last, dt_s)

    def _follow_operator(self, grip: Grip, now_ns: int, t_ns: int) -> None:
        command = self.seat.command
        if command is None:
            self.setpoint.brake(t_ns)
            return
        # A link that falls silent slows the arm at once, long before it counts as lost.
        age_ns = now_ns - command.t_ns
        velocity = command.velocity * pace_for_age(age_ns, self._silent_ns, self._operator_ns)
        if command.frame == "joint":
            self.setpoint.drive(velocity, t_ns)
        else:
            self.setpoint.drive_tool(velocity, command.frame, t_ns)
        grip.want(command.gripper, t_ns)
