"""What a vendor's client must do for us, whichever it is: never wait, never decide."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from tandem.drivers.franka.errand import Server
from tandem.runtime.interfaces import Array

Pace = Literal["executor", "arm"]
Control = Literal["position", "velocity", "target"]  # what is written, of the joints
RobotMode = Literal["idle", "move", "reflex", "user_stop", "guiding", "recovery", "other"]


@dataclass(frozen=True, slots=True)
class Report:
    """One state of the robot, as it says. Derivatives of q_d are differences of a millisecond."""

    ticks: int  # ms of the robot's clock
    q: Array  # [7] rad
    dq: Array
    tau: Array
    q_d: Array
    dq_d: Array
    ddq_d: Array
    mode: RobotMode
    errors: list[str]
    success_rate: float  # of the last 100 commands; 0 without a motion


def report(
    ticks: int, rows: Iterable[Array], mode: RobotMode, errors: list[str], success_rate: float
) -> Report:
    """From `rows` q, dq, tau, q_d, dq_d and ddq_d, wherever they were found."""
    q, dq, tau, q_d, dq_d, ddq_d = rows
    return Report(ticks, q, dq, tau, q_d, dq_d, ddq_d, mode, errors, success_rate)


_BY_NUMBER: tuple[RobotMode, ...] = (
    "other", "idle", "move", "guiding", "reflex", "user_stop", "recovery"
)  # fmt: skip
# Where a state of server version 5 keeps what we need: doubles, seven each but for the rate.
FER_STATE_BYTES = 2373
_FER_ROWS_AT = (1184, 1296, 1016, 1240, 1352, 1408)  # q, dq, tau_J, q_d, dq_d, ddq_d
_FER_MODE_AT, _FER_RATE_AT = 2364, 2365


def report_of_bytes(state: bytes) -> Report:
    """From a datagram of server version 5; the errors of a reflex are left out."""
    ticks, number = int.from_bytes(state[:8], "little"), state[_FER_MODE_AT]
    mode = _BY_NUMBER[number] if number < len(_BY_NUMBER) else "other"
    rows = (np.frombuffer(state, "<f8", 7, at) for at in _FER_ROWS_AT)
    return report(ticks, rows, mode, [], float(np.frombuffer(state, "<f8", 1, _FER_RATE_AT)[0]))


_MODES: dict[str, RobotMode] = {
    "Idle": "idle",
    "Move": "move",
    "Reflex": "reflex",
    "UserStopped": "user_stop",
    "Guiding": "guiding",
    "AutomaticErrorRecovery": "recovery",
}


def report_of(state: Any) -> Report:
    """From a RobotState of either library; they name everything alike."""
    mode = _MODES.get(state.robot_mode.name.removeprefix("k"), "other")
    rows = np.array((state.q, state.dq, state.tau_J, state.q_d, state.dq_d, state.ddq_d))
    errors = [] if mode in ("idle", "move") else _causes(state)
    ticks = round(state.time.to_sec() * 1000)
    return report(ticks, rows, mode, errors, state.control_command_success_rate)


def _causes(state: Any) -> list[str]:
    """What stands; or what has ended the motion, where that is over already."""
    return _names(state.current_errors) or _names(state.last_motion_errors)


def _names(errors: Any) -> list[str]:
    """libfranka prints them as ["one", "another"]."""
    return [name for name in str(errors).strip("[]").replace('"', "").split(", ") if name]


class Line(Protocol):
    """A connection through the vendor's library.

    Everything raises DeviceError when the connection is lost, and DeviceTimeoutError when nothing
    came in time. A motion that the robot ends is no error: `moving` turns false.
    """

    server: Server
    paced_by: Pace  # who gives the beat while the arm moves
    control: Control
    moving: bool

    def open(self) -> None: ...
    def read(self, timeout_ns: int) -> Report: ...
    def begin(self) -> None: ...  # a motion
    def write(self, row: Array) -> None: ...  # [7] rad or rad/s, at most once after each read
    def finish(self, row: Array) -> None: ...  # the last one, at rest
    def close(self) -> None: ...  # let go of the robot
    def end(self) -> None: ...  # for good


class TargetLine(Line, Protocol):
    """To a robot that is written targets, which it reaches by itself, at rest."""

    every_ticks: int  # between two of them
    dq_max: Array  # [7] rad/s, that it may use; set before a motion is begun
