"""The process that speaks to a Panda/FER through panda-python: `HOST FD SETTINGS PATIENCE_NS`.

The library's 1 kHz loop calls back and holds the interpreter's lock while it waits for the robot,
up to a second: whoever shares the interpreter waits, too. So nobody does; the executor is at the
other end of a socket pair, reads with deadlines, and kills this process when it falls silent.
"""

import os
import select
import signal
import socket
import sys
from typing import Any

import msgspec
from tandem.drivers.franka import fer_wire as wire
from tandem.drivers.franka.line import FER_STATE_BYTES, report_of, report_of_bytes
from tandem.drivers.franka.options import Settings
from tandem.drivers.franka.sockets import Opened
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import DeviceError

_NO_FILTER_HZ = 1000.0  # libfranka's low-pass is off from here: our set-points are smooth already
_TURN_S = 0.1  # a set-point that takes longer comes too late for any robot
_IDLE_S = 0.2


class Speaker:
    """One robot at a time, as the executor wishes."""

    def __init__(
        self, host: str, line: socket.socket, settings: Settings, patience_ns: int
    ) -> None:
        from panda_py import libfranka

        self._settings = settings
        self._turn_s = max(_TURN_S, patience_ns / NS_PER_S)
        self._library, self._host, self._line = libfranka, host, line
        self._robot: Any = None
        self._opened = Opened()
        self._motions = 0
        self._row: Any = None  # the library's class for what is written in this motion
        self._ended = False

    def run(self) -> None:
        """Until the other end closes."""
        while not self._ended:
            if self._robot is not None and self._opened.wait(NS_PER_MS):
                self._tell()
            elif self._robot is not None and self._opened.hung_up():
                self._lose("the robot has closed the connection")
            waits_s = 0.0 if self._robot is not None else _IDLE_S
            if select.select((self._line,), (), (), waits_s)[0]:
                self._obey(self._line.recv(wire.MAX_BYTES))

    def _obey(self, message: bytes) -> None:
        kind = message[:1]
        if not kind:
            self._ended = True
        elif kind == wire.OPEN:
            self._open()
        elif kind in wire.BEGIN.values() and self._robot is not None:
            self._move(kind)
        elif kind == wire.CLOSE:
            self._close()

    def _open(self) -> None:
        self._close()
        self._opened = Opened()
        try:
            with self._opened.watching():
                self._robot = self._library.Robot(self._host, self._library.RealtimeConfig.kIgnore)
            self._settings.tell(self._robot)
        except DeviceError as error:
            self._lose(error)
        except Exception as error:  # panda-python raises RuntimeError for nearly everything
            self._lose(f"libfranka cannot connect to {self._host}: {error}")
        else:
            self._line.send(wire.OPENED)

    def _close(self) -> None:
        self._robot = None
        self._opened.close()

    def _lose(self, error: object) -> None:
        self._close()
        self._line.send(wire.LOST + str(error).encode()[: wire.MAX_BYTES - 1])

    def _tell(self) -> None:
        """The newest state. The library would drop it and wait for the next: a lost beat."""
        state = self._opened.newest(FER_STATE_BYTES)
        if state is None or len(state) < FER_STATE_BYTES:
            return
        report = report_of_bytes(state)
        try:
            if report.mode not in ("idle", "move"):
                report = report_of(self._robot.read_once())  # names the errors
        except Exception as error:
            self._lose(error)
            return
        self._line.send(wire.pack(report, False, self._motions))
        if self._opened.hung_up():
            self._lose("the robot has closed the connection")

    def _move(self, kind: bytes) -> None:
        """The library's loop, until the executor or the robot ends it."""
        self._motions += 1
        mode = self._library.ControllerMode.kJointImpedance
        loop, self._row = {
            wire.BEGIN["position"]: (
                self._robot.control_joint_position,
                self._library.JointPositions,
            ),
            wire.BEGIN["velocity"]: (
                self._robot.control_joint_velocity,
                self._library.JointVelocities,
            ),
        }[kind]
        try:
            loop(self._turn, mode, False, _NO_FILTER_HZ)
        except Exception as error:
            # After a reflex the robot goes on speaking, and says itself what it was.
            if not self._opened.wait(20 * NS_PER_MS):
                self._lose(error)

    def _turn(self, state: Any, _period: Any) -> Any:
        message = self._answer(wire.pack(report_of(state), True, self._motions))
        kind = message[:1]
        if kind not in (wire.WRITE, wire.FINISH):
            raise RuntimeError("the executor has let go")
        target = self._row(wire.unpack_row(message))
        target.motion_finished = kind == wire.FINISH
        return target

    def _answer(self, report: bytes) -> bytes:
        """What the executor makes of a state.

        If it has died, this process dies as well: to end the motion politely would leave an idle
        robot, and the next executor would take it up as if nothing had happened.
        """
        try:
            self._line.send(report)
            if not select.select((self._line,), (), (), self._turn_s)[0]:
                raise RuntimeError("no set-point came")
            if message := self._line.recv(wire.MAX_BYTES):
                return message
        except OSError:
            pass
        os._exit(1)


def main(host: str, fd: str, settings: str, patience_ns: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line, told = socket.socket(fileno=int(fd)), msgspec.json.decode(settings, type=Settings)
    try:
        Speaker(host, line, told, int(patience_ns)).run()
    except (BrokenPipeError, ConnectionResetError):
        return  # the executor is gone, and the robot notices when we are


if __name__ == "__main__":
    main(*sys.argv[1:])
