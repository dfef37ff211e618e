"""The Franka hand, seen from the executor: a wish goes in, the newest width comes out.

The vendor's gripper calls take a second and hold the interpreter's lock all the while, so the hand
has a process of its own (`hand_process`); the two speak over a socket pair that neither waits on.
"""

import contextlib
import socket
import struct
import subprocess
import sys

WISH = struct.Struct("<d")  # 0 closed … 1 open
WIDTH = struct.Struct("<d")  # m; NaN: not known
_END_S = 2.0


class FrankaHand:
    """Starts its process at once; a hand that fails leaves the arm alone, with `error` set."""

    def __init__(self, library: str, host: str, speed_m_s: float = 0.1, force_n: float = 20.0):
        """`library`: pylibfranka or panda_py."""
        self.width_m = 0.0
        self._wanted: float | None = None
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        module = "tandem.drivers.franka.hand_process"
        words = (library, host, str(theirs.fileno()), str(speed_m_s), str(force_n))
        with theirs:
            self._process = subprocess.Popen(
                (sys.executable, "-m", module, *words), pass_fds=(theirs.fileno(),)
            )

    @property
    def failed(self) -> bool:
        return self._process.poll() is not None

    def want(self, opening: float) -> None:
        """0 closed … 1 open; only a change is told. Never waits."""
        self._hear()
        if opening != self._wanted:
            with contextlib.suppress(OSError):  # a full socket: the next knot says it again
                self._ours.send(WISH.pack(opening))
                self._wanted = opening

    def look(self) -> float:
        """The newest width, m."""
        self._hear()
        return self.width_m

    def close(self) -> None:
        self._ours.close()  # its process ends when it notices
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _hear(self) -> None:
        with contextlib.suppress(OSError):
            while message := self._ours.recv(WIDTH.size):
                (self.width_m,) = WIDTH.unpack(message)
