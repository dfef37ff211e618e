"""The Panda/FER through panda-python's binding of libfranka 0.9, whose 1 kHz loop is a callback.

The library wants to call us; the executor wants to call. So the library's loop runs in a thread
that never computes: its callback hands the state over, sleeps until the set-point is there, and
hands that back. The two take turns like coroutines and never run at once.
"""

import threading
from typing import Any

from tandem.drivers.franka.errand import FER_SERVER
from tandem.drivers.franka.line import FER_STATE_BYTES, Report, report_of, report_of_bytes
from tandem.drivers.franka.sockets import Opened, same_scheduling
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import ConfigError, DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import Array

_NO_FILTER_HZ = 1000.0  # libfranka's low-pass is off from here: our set-points are smooth already
_TURN_S = 0.1  # a set-point that takes longer comes too late for any robot
_END_S = 2.0


def _library() -> Any:
    try:
        from panda_py import libfranka
    except ImportError as error:
        raise ConfigError(
            f"the Panda/FER driver needs panda-python, which is not here ({error}); "
            "install it: pip install 'tandem-robot[franka-fer]'"
        ) from error
    return libfranka


class _Turns:
    """One motion: the library's thread and ours, taking turns."""

    def __init__(self, robot: Any, library: Any) -> None:
        self.error: Exception | None = None
        self._library = library
        self._state: Any = None
        self._command: tuple[Array, bool] | None = None
        self._theirs, self._ours = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(robot,), daemon=True)
        self._thread.start()

    def state(self, timeout_s: float) -> Any:
        """The next state; None: none came in time, or the motion has ended."""
        if not self._ours.acquire(timeout=max(timeout_s, 0)):
            return None
        state, self._state = self._state, None
        return state

    def command(self, q: Array, last: bool = False) -> None:
        self._command = (q, last)
        self._theirs.release()

    def over(self, timeout_s: float = 0.0) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, robot: Any) -> None:
        mode = self._library.ControllerMode.kJointImpedance
        try:
            robot.control_joint_position(self._turn, mode, False, _NO_FILTER_HZ)
        except Exception as error:  # panda-python raises RuntimeError for nearly everything
            self.error = error
        self._ours.release()

    def _turn(self, state: Any, _period: Any) -> Any:
        self._state = state
        self._ours.release()
        if not self._theirs.acquire(timeout=_TURN_S) or self._command is None:
            raise RuntimeError("no set-point came")
        q, last = self._command
        target = self._library.JointPositions(q.tolist())
        target.motion_finished = last
        return target


class FerLine:
    """Implements line.Line."""

    server = FER_SERVER

    def __init__(self, host: str) -> None:
        """Raises ConfigError: panda-python is not installed."""
        self.moving = False
        self._library = _library()
        self._host = host
        self._robot: Any = None
        self._turns: _Turns | None = None
        self._opened = Opened()

    def open(self) -> None:
        self._opened = Opened()
        try:
            with self._opened.watching(), same_scheduling():
                self._robot = self._library.Robot(self._host, self._library.RealtimeConfig.kIgnore)
        except Exception as error:
            self.close()
            raise DeviceError(f"libfranka cannot connect to {self._host}: {error}") from error

    def read(self, timeout_ns: int) -> Report:
        if self._turns is not None:
            state = self._turns.state(timeout_ns / NS_PER_S)
            if state is not None:
                return report_of(state)
            if not self._turns.over():
                raise self._silent(timeout_ns)
            self._end_turns()
        if not self._opened.wait(timeout_ns):
            if self._opened.hung_up():
                raise DeviceError(f"the robot at {self._host} has closed the connection")
            raise self._silent(timeout_ns)
        state = self._opened.newest(FER_STATE_BYTES)
        if state is None or len(state) < FER_STATE_BYTES:
            raise self._silent(timeout_ns)
        report = report_of_bytes(state)
        return report if report.mode in ("idle", "move") else self._read_once()

    def _read_once(self) -> Report:
        """The library's own reading, which names the errors. It drops what has arrived and waits
        for the next state, so a beat is lost: where nothing moves, none is missed."""
        try:
            return report_of(self._robot.read_once())
        except Exception as error:
            raise DeviceError(f"the connection to {self._host} is lost: {error}") from error

    def begin(self) -> None:
        self._turns = _Turns(self._robot, self._library)
        self.moving = True

    def write(self, q: Array) -> None:
        if self._turns is not None:
            self._turns.command(q)

    def finish(self, q: Array) -> None:
        if self._turns is not None:
            self._turns.command(q, last=True)
            self._turns.over(_END_S)
            self._end_turns()

    def close(self) -> None:
        if self._turns is not None:
            self._turns.over(_END_S)
        self._turns = self._robot = None
        self.moving = False
        self._opened.close()

    def _end_turns(self) -> None:
        self.moving, self._turns = False, None

    def _silent(self, timeout_ns: int) -> DeviceTimeoutError:
        return DeviceTimeoutError(
            f"no state from the robot at {self._host} for {timeout_ns / NS_PER_MS:.0f} ms"
        )
