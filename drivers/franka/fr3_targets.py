"""The FR3 through its own position handler: targets now and then, and the robot finds its way.

For machines without a real-time kernel: no set-point is due in any millisecond, and a client that
falls silent leaves the robot at rest at its last target. The executor ticks on its own grid, 200 Hz
are plenty. pylibfranka calls it experimental.
"""

from typing import Any

import numpy as np
from tandem.drivers.franka.fr3 import Fr3Line
from tandem.drivers.franka.line import Control, Pace, Report
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import DeviceError
from tandem.runtime.interfaces import Array

_STATE_BYTES = 1377
_NEXT_NS = 3 * NS_PER_MS
_GOAL_RAD = 1e-3
_SLOWEST_RAD_S = 0.1
_BEGUN_READS = 20  # a motion shows in the robot's states a few milliseconds after it was begun


class Fr3TargetLine(Fr3Line):
    """As Fr3Line, but what is written are targets, and what is read is the newest state."""

    paced_by: Pace = "executor"
    control: Control = "target"
    every_ticks = 20  # between two targets: the vendor advises 50 Hz

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.dq_max: Array = np.full(7, _SLOWEST_RAD_S)  # [7] rad/s, that the robot may use
        self._reads = 0  # since the motion was begun

    def begin(self) -> None:
        kind = self._franka.AsyncPositionControlHandler
        wish = kind.Configuration(
            maximum_joint_velocities=self.dq_max.tolist(), goal_tolerance=_GOAL_RAD
        )
        try:
            made = kind.configure(self._robot, wish)
        except (self._franka.CommandException, self._franka.ControlException):
            return  # it does not want to now; its next state says why
        except (self._franka.FrankaException, RuntimeError) as error:
            raise DeviceError(f"no motion could be begun: {error}") from error
        if made.handler is not None:
            self._control, self.moving, self._reads = made.handler, True, 0

    def write(self, row: Array) -> None:
        kind = self._franka.AsyncPositionControlHandler
        try:
            done = self._control.set_joint_position_target(kind.JointPositionTarget(row.tolist()))
            taken = done.was_successful
        except (self._franka.CommandException, self._franka.ControlException):
            taken = False
        except (self._franka.FrankaException, RuntimeError) as error:
            raise DeviceError(f"the connection to {self._host} is lost: {error}") from error
        if taken:
            return
        if self._opened.hung_up():
            raise DeviceError(f"the robot at {self._host} has closed the connection")
        self._let_go()

    def finish(self, row: Array) -> None:
        self.write(row)
        if self._control is not None:
            try:
                self._control.stop_control()
            except (self._franka.FrankaException, RuntimeError) as error:
                raise DeviceError(f"the motion could not be ended: {error}") from error
        self._let_go()

    def _read_motion(self) -> Any:
        return self._robot.read_once()

    def read(self, timeout_ns: int) -> Report:
        self._opened.newest(_STATE_BYTES)  # those that have piled up are old; the next is soon here
        report = super().read(max(timeout_ns, _NEXT_NS))
        self._reads += 1
        if self.moving and report.mode != "move" and self._reads > _BEGUN_READS:
            self._let_go()
        return report

    def _let_go(self) -> None:
        """The motion is over; while its handler lives, the library begins no other."""
        self.moving, self._control = False, None
