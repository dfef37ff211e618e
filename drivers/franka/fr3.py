"""The FR3 through pylibfranka: its external 1 kHz loop, whose calls we make only when they return.

`readOnce` waits a second for a state, with the interpreter locked, so it is called when a state is
in the socket already; starting and ending a motion are answered within milliseconds by a robot that
has just been heard.
"""

import ctypes
from typing import Any

from tandem.drivers.franka.errand import FR3_SERVER
from tandem.drivers.franka.line import Control, Pace, Report, report_of
from tandem.drivers.franka.options import Settings
from tandem.drivers.franka.sockets import Opened, same_scheduling
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import ConfigError, DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import Array


def _library() -> Any:
    try:
        import pylibfranka
    except ImportError as error:
        raise ConfigError(
            "the FR3 driver needs the vendor's library, which is not here "
            f"({error}); install it: pip install pylibfranka"
        ) from error
    return pylibfranka


class Fr3Line:
    """Implements line.Line."""

    server = FR3_SERVER
    paced_by: Pace = "arm"
    control: Control = "position"

    def __init__(self, host: str, settings: Settings | None = None, patience_ns: int = 0) -> None:
        """`settings`: told at every connection. This library waits by itself: no `patience_ns`.

        Raises:
            ConfigError: pylibfranka is not installed.
        """
        self.moving = False
        self._franka = _library()
        self._host, self._settings = host, settings or Settings()
        self._robot: Any = None
        self._control: Any = None
        self._opened = Opened()

    def open(self) -> None:
        self._opened = Opened()
        try:
            with self._opened.watching(), same_scheduling():
                self._robot = self._franka.Robot(self._host, self._franka.RealtimeConfig.kIgnore)
        except (self._franka.FrankaException, RuntimeError) as error:
            self.close()
            raise DeviceError(f"libfranka cannot connect to {self._host}: {error}") from error
        try:
            self._settings.tell(self._robot)
        except DeviceError:
            self.close()
            raise

    def read(self, timeout_ns: int) -> Report:
        if not self._opened.wait(timeout_ns):
            if self._opened.hung_up():
                raise DeviceError(f"the robot at {self._host} has closed the connection")
            raise DeviceTimeoutError(
                f"no state from the robot at {self._host} for {timeout_ns / NS_PER_MS:.0f} ms"
            )
        try:
            return report_of(self._read_motion() if self.moving else self._robot.read_once())
        except (self._franka.FrankaException, RuntimeError) as error:
            raise DeviceError(f"the connection to {self._host} is lost: {error}") from error

    def begin(self) -> None:
        mode = self._franka.ControllerMode.JointImpedance
        try:
            self._control = self._start(mode)
        except (self._franka.CommandException, self._franka.ControlException):
            return  # it does not want to now; its next state says why
        except (self._franka.FrankaException, RuntimeError) as error:
            raise DeviceError(f"no motion could be begun: {error}") from error
        self.moving = True

    def write(self, row: Array) -> None:
        self._write(self._command(row))

    def finish(self, row: Array) -> None:
        last = self._command(row)
        last.motion_finished = True
        self._write(last)
        self.moving, self._control = False, None

    def close(self) -> None:
        if self._control is not None:
            self._abandon()
        self._control = self._robot = None
        self.moving = False
        self._opened.close()

    def end(self) -> None:
        self.close()

    def _start(self, mode: Any) -> Any:
        return self._robot.start_joint_position_control(mode)

    def _command(self, row: Array) -> Any:
        return self._franka.JointPositions(row.tolist())

    def _abandon(self) -> None:
        """Leave a motion on a connection that is lost. The library's destructor would ask the robot
        to stop and wait for its answer for ever, or end this process for want of one: so it never
        runs, and the robot learns from the closed connection."""
        self._opened.hang_up()
        for kept in (self._control, self._robot):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))

    def _write(self, command: Any) -> None:
        try:
            self._control.writeOnce(command)
        except self._franka.ControlException:
            self.moving, self._control = False, None
        except (self._franka.FrankaException, RuntimeError) as error:
            raise DeviceError(f"the connection to {self._host} is lost: {error}") from error

    def _read_motion(self) -> Any:
        try:
            state, _ = self._control.readOnce()
        except self._franka.ControlException:
            self.moving, self._control = False, None
            if not self._opened.wait(20 * NS_PER_MS):
                raise DeviceTimeoutError("the motion has ended, and no state came yet") from None
            return self._robot.read_once()
        return state


class Fr3VelocityLine(Fr3Line):
    """As Fr3Line, by the robot's joint velocity interface: it integrates what it is told."""

    control: Control = "velocity"

    def _start(self, mode: Any) -> Any:
        return self._robot.start_joint_velocity_control(mode)

    def _command(self, row: Array) -> Any:
        return self._franka.JointVelocities(row.tolist())
