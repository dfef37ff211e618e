"""What the robot hears: a smooth set-point in every millisecond, whoever sends knots or fails to.

Knots become segments, and where they end the set-point brakes (`Follower`). Packets that the robot
has lost show in its next state, as its set-point is elsewhere then: the motion goes on from there,
never from where it should have been.
"""

import numpy as np
from tandem.drivers.follow import SetPoint
from tandem.drivers.franka.line import Line, Report, TargetLine
from tandem.drivers.franka.tracker import Tracker
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.interfaces import ArmSpec, Array, Knot

_TICK_S = 1e-3
_FAR_BEHIND_RAD = 0.3  # at half of its speed a robot is a tenth of that behind
_ELSEWHERE_RAD = 1e-4  # without a motion: it was moved, not rounded


class Motion:
    """The set-points of one robot. `under_way`: we began a motion, and have not ended it."""

    away_ns = 50 * NS_PER_MS  # the robot has given up by then: 20 set-points are missing

    def __init__(self, line: Line, spec: ArmSpec, report: Report, tolerance_rad: float) -> None:
        self.tracker = Tracker(spec, report.q_d, report.ticks * NS_PER_MS)
        self.lost = 0  # milliseconds in which the robot went on without ours
        self.begun = 0
        self.under_way = False
        self._line, self._tolerance_rad = line, tolerance_rad
        self._answered = True  # the newest report
        self._expected: Array | None = None  # where the robot's set-point must be next

    def restart(self, report: Report) -> None:
        """Another connection: nothing of the one before counts."""
        self._answered, self._expected, self.under_way = True, None, False
        tracker = self.tracker
        tracker.restart(report.q_d, report.ticks * NS_PER_MS, tracker.now.gripper)

    def take(self, report: Report, before: Report | None) -> None:
        """A new state of the robot: follow it."""
        tracker = self.tracker
        tracker.advance(max(report.ticks * NS_PER_MS, tracker.t_ns))
        self._compare(report, before)
        self._answered = False

    def _compare(self, report: Report, before: Report | None) -> None:
        """Follow the robot to where its set-point went without us."""
        tracker = self.tracker
        if self._expected is None or not self._line.moving:
            self._expected = None
            if np.abs(report.q_d - tracker.now.q).max() > _ELSEWHERE_RAD:
                tracker.restart(report.q_d, tracker.t_ns, tracker.now.gripper)
            return
        # A missed state was not answered, and a robot that turned back may be here all the same.
        missed = before is not None and report.ticks - before.ticks > 1
        moves = np.abs(report.dq_d).max() * _TICK_S > self._tolerance_rad
        near = np.abs(report.q_d - self._expected).max() <= self._tolerance_rad
        if near and not (missed and moves):
            return
        self.lost += max(report.ticks - before.ticks, 1) if before else 1
        # The robot's derivatives are differences: of the millisecond that has just passed.
        dq = report.dq_d + report.ddq_d * (_TICK_S / 2)
        point = SetPoint(report.q_d, dq, report.ddq_d, tracker.now.gripper)
        tracker.elsewhere(point, report.ticks * NS_PER_MS)

    @property
    def interrupted(self) -> bool:
        """The robot has ended what we began."""
        return self.under_way and not self._line.moving

    @property
    def standing(self) -> bool:
        """What the robot hears is at rest, and will stay so until a knot comes."""
        return self.tracker.standing

    @property
    def astray(self) -> str | None:
        """Why the robot does not do what it is told, as far as its set-points show."""
        return None

    def begin(self, report: Report) -> None:
        """A motion starts at the robot's own set-point, at rest."""
        tracker = self.tracker
        if tracker.standing:
            self._line.begin()
        if self._line.moving:
            self.begun += 1
            self.under_way = True
            tracker.restart(report.q_d, tracker.t_ns, tracker.now.gripper)
            self._answered, self._expected = True, report.q_d

    def offer(self, knot: Knot, report: Report) -> None:
        """A knot in the robot's time."""
        self.tracker.offer(knot, report.ticks * NS_PER_MS)

    def keep_up(self, too_late: bool) -> None:
        """Write the set-point for the millisecond after the newest state, once.

        `too_late`: nobody was here for so long that the robot has gone on alone.
        """
        if self._answered or not self._line.moving:
            return
        self._answered = True
        if not too_late:
            self._write()

    def _write(self) -> None:
        q = self.tracker.advance(self.tracker.t_ns + NS_PER_MS).q
        self._line.write(q)
        self._expected = q

    def _finish(self) -> None:
        self._line.finish(self.tracker.now.q)

    def end(self) -> None:
        """At rest: the robot is told that this was the last one."""
        self.under_way = False
        self._finish()
        self._answered, self._expected = True, None


class Pursuit(Motion):
    """For a robot that finds its own way: it is given a target now and then, and lags behind."""

    away_ns = 500 * NS_PER_MS  # it rests at its last target meanwhile

    def __init__(
        self, line: TargetLine, spec: ArmSpec, report: Report, tolerance_rad: float
    ) -> None:
        super().__init__(line, spec, report, tolerance_rad)
        line.dq_max = spec.dq_max
        self._every_ticks = line.every_ticks
        self._ticks = 0  # of the robot, as it was given the last target
        self._now = report.ticks
        self._behind_rad = 0.0

    def take(self, report: Report, before: Report | None) -> None:
        super().take(report, before)
        self._now = report.ticks

    def _compare(self, report: Report, before: Report | None) -> None:
        if self._line.moving:
            self._behind_rad = float(np.abs(report.q_d - self.tracker.now.q).max())
        else:
            self._behind_rad, self._expected = 0.0, None
            super()._compare(report, before)

    @property
    def astray(self) -> str | None:
        if self._behind_rad <= _FAR_BEHIND_RAD:
            return None
        return f"the robot is {self._behind_rad:.2f} rad behind its targets: does anything hold it?"

    def keep_up(self, too_late: bool) -> None:
        if self._answered or not self._line.moving:
            return
        self._answered = True
        if self._now - self._ticks >= self._every_ticks:
            self._ticks = self._now
            self._line.write(self.tracker.now.q)
