"""What an executor is told of the robot: its state in our time, and whether it obeys."""

import numpy as np
from tandem.drivers.franka import words
from tandem.drivers.franka.line import Report
from tandem.drivers.franka.tracker import Tracker
from tandem.runtime.interfaces import ArmState

OBEYS = ("idle", "move")
_STILL_RAD_S = 0.01


def state_of(
    report: Report, tracker: Tracker, t_ns: int, rate: float, width_m: float, latched: str | None
) -> ArmState:
    """`rate`: our nanoseconds per robot nanosecond; `latched`: what ended a motion, until reset."""
    point = tracker.now
    status, error = _status(report, latched)
    return ArmState(
        t_ns=t_ns,
        q=report.q,
        dq=report.dq,
        tau=report.tau,
        q_d=point.q.copy(),
        dq_d=point.dq / rate,
        ddq_d=point.ddq / rate**2,
        width_m=width_m,
        status=status,  # type: ignore[arg-type]
        error=error,
        underruns=tracker.underruns,
        coasting=tracker.coasting,
    )


def _status(report: Report, latched: str | None) -> tuple[str, str | None]:
    if report.mode == "reflex":
        return "reflex", words.of_errors(report.errors)
    if report.mode not in OBEYS:
        return "user_stop", words.MODES[report.mode]
    if latched is not None:
        return "reflex", words.of_interruption(latched)
    moves = np.abs(report.dq).max() > _STILL_RAD_S
    return ("moving" if moves else "idle"), None
