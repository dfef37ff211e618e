"""The Panda/FER through panda-python (libfranka 0.9), which lives in a process of its own.

See `fer_process` for why. Here a set-point costs one message, and no call outlasts its deadline.
"""

import contextlib
import importlib.util
import select
import socket
import subprocess
import sys

import msgspec
from tandem.drivers.franka import fer_wire as wire
from tandem.drivers.franka.errand import FER_SERVER
from tandem.drivers.franka.line import Control, Pace, Report
from tandem.drivers.franka.options import Settings
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock
from tandem.runtime.errors import ConfigError, DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import Array

_OPEN_NS = 2 * NS_PER_S
_START_NS = 30 * NS_PER_S  # a busy machine takes so long to import panda-python
_END_S = 1.0


class FerLine:
    """Implements line.Line."""

    server = FER_SERVER
    paced_by: Pace = "arm"
    control: Control = "position"

    def __init__(self, host: str, settings: Settings | None = None, patience_ns: int = 0) -> None:
        """`settings`: told at every connection. `patience_ns`: how long at least panda-python's
        process waits for a set-point.

        Raises:
            ConfigError: panda-python is not installed.
        """
        if importlib.util.find_spec("panda_py") is None:
            raise ConfigError(
                "the Panda/FER driver needs panda-python, which is not here; "
                "install it: pip install panda-python requests"
            )
        self.moving = False
        self._host, self._settings = host, settings or Settings()
        self._patience_ns = patience_ns
        self._clock: Clock = MonotonicClock()
        self._motions = 0
        self._ours: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        within_ns = _OPEN_NS
        if self._process is None or self._process.poll() is not None:
            self._start()
            within_ns = _START_NS
        self._say(wire.OPEN)
        deadline_ns = self._clock.now_ns() + within_ns
        while (message := self._hear(deadline_ns - self._clock.now_ns()))[:1] != wire.OPENED:
            if message[:1] == wire.LOST:
                raise DeviceError(message[1:].decode(errors="replace"))
        self.moving = False

    def read(self, timeout_ns: int) -> Report:
        deadline_ns = self._clock.now_ns() + timeout_ns
        while True:
            report, moving, motions = self._report(deadline_ns - self._clock.now_ns())
            if not self.moving:
                if not self._waits(0):  # the newest of those that have piled up
                    return report
            elif motions == self._motions:  # else from before the motion: nobody waits for answers
                self.moving = moving
                return report

    def begin(self) -> None:
        self._motions += 1
        self.moving = True
        self._say(wire.BEGIN[self.control])

    def write(self, row: Array) -> None:
        self._say(wire.pack_row(wire.WRITE, row))

    def finish(self, row: Array) -> None:
        self._say(wire.pack_row(wire.FINISH, row))
        self.moving = False

    def close(self) -> None:
        """Let go of the robot. A process that hangs in the library is replaced."""
        moved, self.moving = self.moving, False
        if self._process is None:
            return
        if moved:
            self._start()  # it needs a second; the robot needs longer
        with contextlib.suppress(DeviceError):
            self._say(wire.CLOSE)

    def end(self) -> None:
        """For good. The last set-point may still be with panda-python, so it ends by itself."""
        self.moving = False
        if self._process is not None and self._ours is not None:
            self._ours.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._kill()
        self._process = None

    def _report(self, timeout_ns: int) -> tuple[Report, bool, int]:
        message = self._hear(timeout_ns)
        if message[:1] == wire.LOST:
            why = message[1:].decode(errors="replace")
            raise DeviceError(f"the connection to {self._host} is lost: {why}")
        if message[:1] != wire.REPORT:
            raise self._silent(timeout_ns)
        return wire.unpack(message)

    def _start(self) -> None:
        self._kill()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._motions = 0
        told = msgspec.json.encode(self._settings).decode()
        words = ("tandem.drivers.franka.fer_process", self._host, str(theirs.fileno()))
        words = (*words, told, str(self._patience_ns))
        with theirs:
            self._process = subprocess.Popen(
                (sys.executable, "-m", *words), pass_fds=(theirs.fileno(),)
            )

    def _kill(self) -> None:
        if self._ours is not None:
            self._ours.close()
            self._ours = None
        if self._process is not None:
            self._process.kill()
            self._process.wait(_END_S)

    def _waits(self, timeout_ns: int) -> bool:
        ours = self._ours
        return ours is not None and bool(
            select.select((ours,), (), (), max(timeout_ns, 0) / NS_PER_S)[0]
        )

    def _hear(self, timeout_ns: int) -> bytes:
        if not self._waits(timeout_ns):
            raise self._silent(timeout_ns)
        message = self._ours.recv(wire.MAX_BYTES) if self._ours else b""
        if not message:
            raise DeviceError("the process of panda-python has ended; see the log above")
        return message

    def _say(self, message: bytes) -> None:
        if self._ours is None:
            raise DeviceError("the process of panda-python is not running")
        try:
            self._ours.send(message, socket.MSG_DONTWAIT)
        except OSError as error:
            raise DeviceError(f"the process of panda-python does not listen: {error}") from error

    def _silent(self, timeout_ns: int) -> DeviceTimeoutError:
        return DeviceTimeoutError(
            f"no state from the robot at {self._host} for {timeout_ns / NS_PER_MS:.0f} ms"
        )


class FerVelocityLine(FerLine):
    """As FerLine, by the robot's joint velocity interface: it integrates what it is told."""

    control: Control = "velocity"
