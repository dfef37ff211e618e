"""A Franka arm that the executor drives at the robot's own beat, one set-point a millisecond.

Whatever the executor sends or fails to send, the robot hears a smooth set-point in every
millisecond: knots become segments, and where they end the set-point brakes (`Follower`). Packets
that the robot has lost show in its next state, as its set-point is elsewhere then: the motion goes
on from there, never from where it should have been.

Nothing in here waits for long but `connect` and `stop`. A reflex, and a connection that was lost,
stay until `recover`, on purpose.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from tandem.drivers.franka import envelope, words
from tandem.drivers.franka.beat import Beat
from tandem.drivers.franka.connection import Connection
from tandem.drivers.franka.line import Line, Report
from tandem.drivers.sim.follow import Follower, SetPoint
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock, VirtualClock
from tandem.runtime.errors import DeviceError
from tandem.runtime.interfaces import ArmSpec, ArmState, Array, Knot

_CONNECT_NS = 10 * NS_PER_S
_STOP_EXTRA_NS = 500 * NS_PER_MS
_UNUSED_NS = 300 * NS_PER_MS  # without a knot for so long, at rest: the motion is ended
_STALE_NS = 40 * NS_PER_MS  # no set-point answers a state so old
_AWAY_NS = 50 * NS_PER_MS  # the robot has given up by then: 20 set-points are missing
_TICK_S = 1e-3
_SET_POINT_RAD = 3e-7  # half a unit of the last place of a float at 3 rad, and a little
_ELSEWHERE_RAD = 1e-4  # without a motion: it was moved, not rounded
_STILL_RAD_S = 0.01


class Hand(Protocol):
    """The gripper, which blocks, in a process of its own."""

    def look(self) -> float: ...
    def want(self, opening: float) -> None: ...
    def close(self) -> None: ...


class _Tracker(Follower):
    """A follower in robot time, whose set-point may be put where the robot's went."""

    @property
    def t_ns(self) -> int:
        return self._t_ns

    @property
    def brake_ns(self) -> int:
        """The longest that the brake under way can take."""
        return round(self._brake.duration_s * NS_PER_S)

    def elsewhere(self, point: SetPoint, t_ns: int) -> None:
        self._segments.clear()
        self._t_ns = t_ns
        self._brake_from(point, t_ns)


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
        tolerance_rad: float = _SET_POINT_RAD,
    ) -> None:
        """`spec`: kinematics and what the robot does not tell of itself; see `connect`."""
        self.spec = replace(spec, rate_hz=1000.0, paced_by="arm")
        self.lost_set_points = 0  # milliseconds in which the robot went on without ours
        self.motions = 0
        self._given, self._hand = self.spec, hand
        self._clock = clock or MonotonicClock()
        self._line = make_line(host)
        self._connection = Connection(host, self._line, self._clock)
        self._opening = 0  # which connection the tracker belongs to
        self._tolerance_rad = tolerance_rad
        self._beat = Beat(steady=isinstance(clock, VirtualClock))
        self._tracker: _Tracker | None = None
        self._report: Report | None = None
        self._answered = True  # the newest report
        self._in_motion = False  # that we began and have not ended
        self._expected: Array | None = None  # where the robot's set-point must be next
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
        if self._tracker is not None:
            raise DeviceError("this FrankaArm is connected already; make one client per process")
        self._connection.connect(timeout_ns)
        self.spec = self._own_limits()
        report = self._connection.read(NS_PER_S)
        self._tracker = _Tracker(self.spec, report.q_d, report.ticks * NS_PER_MS)
        self._begin_anew(self._tracker, report)

    def _own_limits(self) -> ArmSpec:
        """What the robot says of itself, if it does."""
        urdf = self._connection.urdf
        if urdf is None:
            return self._given
        return envelope.inside(self._given, envelope.parse(urdf, len(self._given.joint_names)))

    def _begin_anew(self, tracker: _Tracker, report: Report) -> None:
        """Another connection: nothing of the one before counts."""
        self._opening = self._connection.openings
        self._beat.restart()
        self._report, self._expected, self._answered = report, None, True
        self._in_motion = False
        tracker.restart(report.q_d, report.ticks * NS_PER_MS, tracker.now.gripper)

    # -- reading -----------------------------------------------------------------------------------

    def read(self, timeout_ns: int) -> ArmState:
        """The robot's next state; first the set-point for the last one, if nobody has sent any.

        Raises:
            DeviceTimeoutError: the robot is silent, or recovering.
            DeviceError: the connection is lost, or there was none.
        """
        tracker = self._connected()
        if self._connection.up:
            self._keep_up(tracker)
        report = self._connection.read(timeout_ns)
        if self._connection.openings != self._opening:
            self._refuse_another()
            self._begin_anew(tracker, report)
        return self._take(tracker, report)

    def _refuse_another(self) -> None:
        now = self._own_limits()
        if (np.abs(now.q_max - self.spec.q_max) > _ELSEWHERE_RAD).any():
            why = "another robot answers than before; start anew: `tandem run`"
            self._connection.lose(why)
            raise DeviceError(why)

    def _take(self, tracker: _Tracker, report: Report) -> ArmState:
        before, self._report = self._report, report
        heard_ns = self._arrived_ns
        t_ns = self._stamp(report)
        if isinstance(self._clock, VirtualClock) and before is not None:
            self._notice_silence((report.ticks - before.ticks) * NS_PER_MS)
        else:
            self._notice_silence(self._arrived_ns - heard_ns)
        tracker.advance(max(report.ticks * NS_PER_MS, tracker.t_ns))
        self._compare(tracker, report, before)
        self._answered = False
        self._notice_end(report)
        if self._line.moving and tracker.standing and t_ns - self._heard_ns > _UNUSED_NS:
            self._end_motion(tracker)
        return self._state(tracker, report, t_ns)

    def _notice_silence(self, away_ns: int) -> None:
        """A motion does not simply go on when robot or executor come back from somewhere."""
        if self._in_motion and away_ns > _AWAY_NS:
            away_ms = away_ns // NS_PER_MS
            self._connection.latched = f"nothing was heard of the robot for {away_ms} ms"

    def _notice_end(self, report: Report) -> None:
        """A motion that the robot has ended stays ended until somebody recovers on purpose."""
        if self._in_motion and not self._line.moving:
            self._in_motion = False
            told = words.MODES.get(report.mode, "see its Desk")
            before = self._connection.latched
            self._connection.latched = before or f"the robot ended the motion ({told})"

    def _compare(self, tracker: _Tracker, report: Report, before: Report | None) -> None:
        """Follow the robot to where its set-point went without us."""
        if self._expected is None or not self._line.moving:
            self._expected = None
            if np.abs(report.q_d - tracker.now.q).max() > _ELSEWHERE_RAD:
                tracker.restart(report.q_d, tracker.t_ns, tracker.now.gripper)
            return
        if np.abs(report.q_d - self._expected).max() <= self._tolerance_rad:
            return
        self.lost_set_points += max(report.ticks - before.ticks, 1) if before else 1
        # The robot's derivatives are differences: of the millisecond that has just passed.
        dq = report.dq_d + report.ddq_d * (_TICK_S / 2)
        point = SetPoint(report.q_d, dq, report.ddq_d, tracker.now.gripper)
        tracker.elsewhere(point, report.ticks * NS_PER_MS)

    def _state(self, tracker: _Tracker, report: Report, t_ns: int) -> ArmState:
        point, rate = tracker.now, self._beat.rate
        status, error = self._status(report)
        return ArmState(
            t_ns=t_ns,
            q=report.q,
            dq=report.dq,
            tau=report.tau,
            q_d=point.q.copy(),
            dq_d=point.dq / rate,
            ddq_d=point.ddq / rate**2,
            width_m=self._hand.look() if self._hand else 0.0,
            status=status,  # type: ignore[arg-type]
            error=error,
            underruns=tracker.underruns,
            coasting=tracker.coasting,
        )

    def _status(self, report: Report) -> tuple[str, str | None]:
        if report.mode == "reflex":
            return "reflex", words.of_errors(report.errors)
        if report.mode not in ("idle", "move"):
            return "user_stop", words.MODES[report.mode]
        if self._connection.latched is not None:
            return "reflex", words.of_interruption(self._connection.latched)
        moves = np.abs(report.dq).max() > _STILL_RAD_S
        return ("moving" if moves else "idle"), None

    # -- commanding --------------------------------------------------------------------------------

    def send(self, knot: Knot) -> None:
        """Take a set-point and let the robot have what follows for its next millisecond.

        Raises:
            DeviceError: not connected, or the connection is lost.
        """
        tracker, report = self._connected(), self._report
        if report is None or not self._connection.up or self._connection.latched is not None:
            raise DeviceError("the connection to the robot was lost; `tandem reset` takes it up")
        if report.mode not in ("idle", "move"):
            return
        self._heard_ns = self._beat.t_ns
        if self._hand is not None and not math.isnan(knot.gripper):
            self._hand.want(knot.gripper)
        try:
            if self._line.moving:
                tracker.offer(self._on_the_grid(knot, report), report.ticks * NS_PER_MS)
                self._keep_up(tracker)
            else:
                self._begin_motion(tracker, report)
        except DeviceError as error:
            self._connection.lose(str(error))
            raise

    def _on_the_grid(self, knot: Knot, report: Report) -> Knot:
        """The same knot in the robot's time, where ticks are milliseconds exactly."""
        rate, ahead = self._beat.rate, round((knot.t_ns - self._beat.t_ns) / NS_PER_MS)
        t_ns = (report.ticks + ahead) * NS_PER_MS
        return replace(knot, t_ns=t_ns, dq=knot.dq * rate, ddq=knot.ddq * rate**2)

    def _begin_motion(self, tracker: _Tracker, report: Report) -> None:
        """A motion starts at the robot's own set-point, at rest."""
        if tracker.standing:
            self._line.begin()
        if self._line.moving:
            self.motions += 1
            self._in_motion = True
            tracker.restart(report.q_d, tracker.t_ns, tracker.now.gripper)
            self._answered, self._expected = True, report.q_d

    def _keep_up(self, tracker: _Tracker) -> None:
        """Write the set-point for the millisecond after the newest state, once."""
        if self._answered or not self._line.moving or self._connection.latched is not None:
            return
        self._answered = True
        if self._clock.now_ns() - self._arrived_ns > _STALE_NS:
            return  # nobody was here for so long: the robot has gone on alone
        q = tracker.advance(tracker.t_ns + NS_PER_MS).q
        self._line.write(q)
        self._expected = q

    def stop(self) -> None:
        """Bring the arm to rest and end its motion; waits for that. Idempotent.

        It must wait: after a client that leaves, the robot stops as hard as it can.
        """
        tracker = self._tracker
        if tracker is None or not self._connection.up or not self._line.moving:
            return
        tracker.brake()
        deadline_ns = self._clock.now_ns() + tracker.brake_ns + _STOP_EXTRA_NS
        with contextlib.suppress(DeviceError):  # a robot that does not answer stops by itself
            while self._line.moving and self._clock.now_ns() < deadline_ns:
                if tracker.standing:
                    self._end_motion(tracker)
                else:
                    self.read(50 * NS_PER_MS)

    def _end_motion(self, tracker: _Tracker) -> None:
        self._in_motion = False
        self._line.finish(tracker.now.q)
        self._answered, self._expected = True, None

    def recover(self) -> None:
        """Clear a reflex, take a lost connection up again: begun here, done in further `read`s."""
        mode = self._report.mode if self._report is not None else None
        if self._tracker is None or (self._connection.up and mode in words.MODES):
            return  # while somebody holds the robot, there is nothing to recover
        self._connection.recover(from_reflex=mode == "reflex")

    def close(self) -> None:
        """Stop, and leave the robot to others."""
        self.stop()
        self._connection.close()
        if self._hand is not None:
            self._hand.close()

    # -- inside ------------------------------------------------------------------------------------

    def _connected(self) -> _Tracker:
        if self._tracker is None:
            raise DeviceError("the arm is not connected; call connect() first")
        return self._tracker

    def _stamp(self, report: Report) -> int:
        t_ns = self._beat.stamp(report.ticks, self._clock.now_ns())
        if isinstance(self._clock, VirtualClock):
            self._clock.sleep_until(t_ns)
        self._arrived_ns = self._clock.now_ns()
        return t_ns
