"""What a robot hears that integrates velocities: those of the set-point, and a pull back to it.

What the robot makes of them is its own sum of what it accepted. A packet whose loss is too small to
be noticed would leave it beside the path for good, so a little of the distance is taken back in
every millisecond: slowly, bounded in speed and in its own acceleration, out of room that is taken
off the arm's limits beforehand.
"""

from dataclasses import replace

import numpy as np
from tandem.drivers.franka.line import Line, Report
from tandem.drivers.franka.motion import Motion
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.interfaces import ArmSpec, Array

TICK_S = 1e-3
_PULL_HZ = 10.0  # of the distance, a second: e-fold in 100 ms
PULL_RAD_S = 2e-3  # more than losses that are not noticed can make: the tolerance in every tick
_PULL_STEP_RAD_S = 2e-5  # in a tick: 0.02 rad/s²
_ROUNDINGS = 2  # of the robot's set-point before and after, where a position has one


def inside(spec: ArmSpec) -> ArmSpec:
    """`spec` less what the pull may need."""
    return replace(
        spec,
        dq_max=spec.dq_max - PULL_RAD_S,
        ddq_max=spec.ddq_max - _PULL_STEP_RAD_S / TICK_S,
        jerk_max=spec.jerk_max - 2 * _PULL_STEP_RAD_S / TICK_S**2,
    )


class VelocityMotion(Motion):
    """As Motion, of a line that is written velocities. `pull` [7] rad/s."""

    def __init__(self, line: Line, spec: ArmSpec, report: Report, tolerance_rad: float) -> None:
        super().__init__(line, spec, report, _ROUNDINGS * tolerance_rad)
        self.pull: Array = np.zeros(len(report.q))
        self._robot_q = report.q_d

    @property
    def standing(self) -> bool:
        return super().standing and not self.pull.any()

    def restart(self, report: Report) -> None:
        super().restart(report)
        self.pull = np.zeros(len(report.q))

    def begin(self, report: Report) -> None:
        super().begin(report)
        self.pull = np.zeros(len(report.q))

    def _compare(self, report: Report, before: Report | None) -> None:
        lost = self.lost
        super()._compare(report, before)
        self._robot_q = report.q_d
        if self.lost != lost:  # what was pulled with is part of the velocity that we go on from
            self.pull = np.zeros(len(report.q))

    def _write(self) -> None:
        tracker = self.tracker
        here = tracker.now.q
        ahead = tracker.advance(tracker.t_ns + NS_PER_MS).q
        self.pull = self._pulled(here - self._robot_q)
        dq = (ahead - here) / TICK_S + self.pull
        self._line.write(dq)
        self._expected = self._robot_q + dq * TICK_S

    def _pulled(self, behind: Array) -> Array:
        """At rest it is let go: nothing drifts there, and a motion ends at zero velocity."""
        wanted = behind * (0.0 if self.tracker.standing else _PULL_HZ)
        wanted = np.clip(wanted, -PULL_RAD_S, PULL_RAD_S)
        step = np.clip(wanted - self.pull, -_PULL_STEP_RAD_S, _PULL_STEP_RAD_S)
        pulled: Array = self.pull + step
        return pulled

    def _finish(self) -> None:
        self._line.finish(np.zeros(len(self.pull)))
