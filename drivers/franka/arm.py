"""A Franka arm that the executor drives at the robot's own beat, one set-point a millisecond.

Whatever the executor sends or fails to send, the robot hears a smooth set-point in every
millisecond (`motion`). Nothing in here waits for long but `connect` and `stop`. A reflex, and a
connection that was lost, stay until `recover`, on purpose.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tandem.drivers.franka import envelope, outlook, velocity, words
from tandem.drivers.franka.beat import Beat
from tandem.drivers.franka.connection import Connection
from tandem.drivers.franka.health import Health
from tandem.drivers.franka.line import Line, Report
from tandem.drivers.franka.manner import Hand, Manner
from tandem.drivers.franka.motion import Motion, Pursuit
from tandem.drivers.franka.velocity import VelocityMotion
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock, VirtualClock
from tandem.runtime.errors import DeviceError
from tandem.runtime.interfaces import ArmSpec, ArmState, Knot, Notice

_CONNECT_NS = 10 * NS_PER_S
_STOP_EXTRA_NS = 500 * NS_PER_MS
_UNUSED_NS = 300 * NS_PER_MS  # without a knot for so long, at rest: the motion is ended
_STALE_NS = 40 * NS_PER_MS  # no set-point answers a state so old
_ANOTHER_RAD = 1e-4
_MOTIONS = {"position": Motion, "velocity": VelocityMotion, "target": Pursuit}


class FrankaArm:
    """Implements runtime.interfaces.Arm.

    With a VirtualClock time is the robot's: reading a state moves the clock there.
    """

    spec: ArmSpec

    def __init__(
        self,
        spec: ArmSpec,
        host: str,
        make_line: Callable[[str], Line],
        hand: Hand | None = None,
        clock: Clock | None = None,
        manner: Manner | None = None,
    ) -> None:
        """`spec`: kinematics and what the robot does not tell of itself; see `connect`."""
        self._line = make_line(host)
        self.spec = replace(spec, rate_hz=1000.0, paced_by=self._line.paced_by)
        self._given, self._hand = self.spec, hand
        self._manner = manner or Manner()
        self._clock = clock or MonotonicClock()
        self._connection = Connection(host, self._line, self._clock)
        self._opening = 0  # which connection the motion belongs to
        self._beat = Beat(steady=isinstance(clock, VirtualClock))
        self._health = Health(self._manner.success_rate_min)
        self._motion: Motion | None = None
        self._report: Report | None = None
        self._heard_ns = 0  # of the last knot
        self._arrived_ns = 0  # of the newest report

    # -- connecting --------------------------------------------------------------------------------

    def connect(self, timeout_ns: int = _CONNECT_NS) -> None:
        """Reach the robot, take its limits from itself, and hear its first state.

        Raises:
            DeviceTimeoutError: it did not answer in time.
            DeviceError: it refuses, serves somebody else, speaks another version; or this one is
                connected already.
        """
        if self._motion is not None:
            raise DeviceError("this FrankaArm is connected already; make one client per process")
        self._connection.connect(timeout_ns)
        self.spec = self._own_limits()
        report = self._connection.read(timeout_ns)
        made: type[Motion] = _MOTIONS[self._line.control]
        self._motion = made(self._line, self.spec, report, self._manner.tolerance_rad)
        self._begin_anew(self._motion, report)

    def _own_limits(self) -> ArmSpec:
        """What the robot says of itself, if it does."""
        spec, urdf = self._given, self._connection.urdf
        if urdf is not None:
            spec = envelope.inside(spec, envelope.parse(urdf, len(spec.joint_names)))
        return velocity.inside(spec) if self._line.control == "velocity" else spec

    def _begin_anew(self, motion: Motion, report: Report) -> None:
        self._opening, self._report = self._connection.openings, report
        self._beat.restart()
        motion.restart(report)

    # -- reading -----------------------------------------------------------------------------------

    def read(self, timeout_ns: int) -> ArmState:
        """The robot's next state; first the set-point for the last one, if nobody has sent any.

        Raises:
            DeviceTimeoutError: the robot is silent, or recovering.
            DeviceError: the connection is lost, or there was none.
        """
        motion = self._connected()
        if self._connection.up:
            self._keep_up(motion)
        report = self._connection.read(max(timeout_ns, self._manner.patience_ns))
        if self._connection.openings != self._opening:
            self._refuse_another()
            self._begin_anew(motion, report)
        return self._take(motion, report)

    def _refuse_another(self) -> None:
        now = self._own_limits()
        if (np.abs(now.q_max - self.spec.q_max) > _ANOTHER_RAD).any():
            why = "another robot answers than before; start anew: `tandem run`"
            self._connection.lose(why)
            raise DeviceError(why)

    def _take(self, motion: Motion, report: Report) -> ArmState:
        before, self._report = self._report, report
        heard_ns = self._arrived_ns
        t_ns = self._stamp(report)
        if isinstance(self._clock, VirtualClock) and before is not None:
            self._notice_silence(motion, (report.ticks - before.ticks) * NS_PER_MS)
        else:
            self._notice_silence(motion, self._arrived_ns - heard_ns)
        motion.take(report, before)
        self._health.see(report, self._line.moving)
        self._notice_end(motion, report)
        if motion.astray and self._connection.latched is None:
            self._connection.latched = motion.astray
        unused = t_ns - self._heard_ns > _UNUSED_NS
        if self._line.moving and motion.standing and unused:
            motion.end()
        return self._state(motion, report, t_ns)

    def _notice_silence(self, motion: Motion, away_ns: int) -> None:
        """A motion does not simply go on when robot or executor come back from somewhere."""
        if motion.under_way and away_ns > motion.away_ns:
            away_ms = away_ns // NS_PER_MS
            self._connection.latched = f"nothing was heard of the robot for {away_ms} ms"

    def _notice_end(self, motion: Motion, report: Report) -> None:
        """A motion that the robot has ended stays ended until somebody recovers on purpose."""
        if motion.interrupted:
            motion.under_way = False
            told = words.MODES.get(report.mode, "see its Desk")
            before = self._connection.latched
            self._connection.latched = before or f"the robot ended the motion ({told})"

    def _state(self, motion: Motion, report: Report, t_ns: int) -> ArmState:
        width_m = self._hand.look() if self._hand else 0.0
        latched, rate = self._connection.latched, self._beat.rate
        return outlook.state_of(report, motion.tracker, t_ns, rate, width_m, latched)

    @property
    def counters(self) -> dict[str, int]:
        """Since the start."""
        motion = self._motion
        lost = {"set_points_lost": motion.lost, "motions": motion.begun} if motion else {}
        return {**self._health.counters, **lost}

    @property
    def gauges(self) -> dict[str, float]:
        return {"success_rate": self._health.success_rate}

    def notices(self) -> list[Notice]:
        """What has happened since the last call that a person should hear."""
        return self._health.take()

    # -- commanding --------------------------------------------------------------------------------

    def send(self, knot: Knot) -> None:
        """Take a set-point and let the robot have what follows for its next millisecond.

        Raises:
            DeviceError: not connected, or the connection is lost.
        """
        motion, report = self._connected(), self._report
        if report is None or not self._connection.up or self._connection.latched is not None:
            raise DeviceError("the connection to the robot was lost; `tandem reset` takes it up")
        if report.mode not in outlook.OBEYS:
            return
        self._heard_ns = self._beat.t_ns
        if self._hand is not None and not math.isnan(knot.gripper):
            self._hand.want(knot.gripper)
        try:
            if self._line.moving:
                motion.offer(self._on_the_grid(knot, report), report)
                self._keep_up(motion)
            else:
                motion.begin(report)
        except DeviceError as error:
            self._connection.lose(str(error))
            raise

    def _on_the_grid(self, knot: Knot, report: Report) -> Knot:
        """The same knot in the robot's time, where ticks are milliseconds exactly."""
        rate, ahead = self._beat.rate, round((knot.t_ns - self._beat.t_ns) / NS_PER_MS)
        t_ns = (report.ticks + ahead) * NS_PER_MS
        return replace(knot, t_ns=t_ns, dq=knot.dq * rate, ddq=knot.ddq * rate**2)

    def _keep_up(self, motion: Motion) -> None:
        if self._connection.latched is None:
            motion.keep_up(too_late=self._clock.now_ns() - self._arrived_ns > _STALE_NS)

    def stop(self) -> None:
        """Bring the arm to rest and end its motion; waits for that. Idempotent.

        It must wait: after a client that leaves, the robot stops as hard as it can.
        """
        motion = self._motion
        if motion is None or not self._connection.up or not self._line.moving:
            return
        tracker = motion.tracker
        tracker.brake()
        deadline_ns = self._clock.now_ns() + tracker.brake_ns + _STOP_EXTRA_NS
        with contextlib.suppress(DeviceError):  # a robot that does not answer stops by itself
            while self._line.moving and self._clock.now_ns() < deadline_ns:
                if motion.standing:
                    motion.end()
                else:
                    self.read(50 * NS_PER_MS)

    def recover(self) -> None:
        """Clear a reflex, take a lost connection up again: begun here, done in further `read`s."""
        mode = self._report.mode if self._report else None
        if self._motion is None or (self._connection.up and mode in words.MODES):
            return  # while somebody holds the robot, there is nothing to recover
        self._connection.recover(from_reflex=mode == "reflex")

    def close(self) -> None:
        """Stop, and leave the robot to others."""
        self.stop()
        self._connection.close()
        if self._hand is not None:
            self._hand.close()

    def _connected(self) -> Motion:
        if self._motion is None:
            raise DeviceError("the arm is not connected; call connect() first")
        return self._motion

    def _stamp(self, report: Report) -> int:
        t_ns = self._beat.stamp(report.ticks, self._clock.now_ns())
        if isinstance(self._clock, VirtualClock):
            self._clock.sleep_until(t_ns)
        self._arrived_ns = self._clock.now_ns()
        return t_ns
