"""The sockets that a vendor's library has opened, so that we can wait where it cannot."""

import contextlib
import os
import select
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from tandem.drivers.franka.errand import PORT
from tandem.runtime.clock import NS_PER_MS

_FDS = Path("/proc/self/fd")


class Opened:
    """The library's sockets: those towards a robot that appeared while `watching`.

    Others appear meanwhile, too: the bus connects again in a thread of its own, whenever it likes.
    One of those taken for the robot's looks like a robot that has hung up, and keeps its place.
    """

    def __init__(self) -> None:
        self._udp: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._poll = select.poll()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        before = _sockets()
        yield
        for fd, _ in _sockets() - before:
            # A duplicate: closing ours leaves the library's alone, whatever it does meanwhile.
            ours = socket.socket(fileno=os.dup(fd))
            if _takes_states(ours) and self._udp is None:
                self._udp = ours
                self._poll.register(ours.fileno(), select.POLLIN)
            elif _leads_to_a_robot(ours) and self._tcp is None:
                self._tcp = ours
                self._poll.register(ours.fileno(), select.POLLRDHUP)
            else:
                ours.close()

    def wait(self, timeout_ns: int) -> bool:
        """True once a datagram is there; False: none came in time, or the stream was closed."""
        found = self._poll.poll(max(timeout_ns, 0) / NS_PER_MS)
        return any(event & select.POLLIN for _, event in found)

    def newest(self, size: int) -> bytes | None:
        """The newest datagram that is there, taken from the library; None: there is none."""
        found = None
        with contextlib.suppress(OSError):
            while self._udp is not None:
                found = self._udp.recv(size, socket.MSG_DONTWAIT)
        return found

    def hung_up(self) -> bool:
        """The other side has closed the stream."""
        if self._tcp is None:
            return False
        try:
            return not self._tcp.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def hang_up(self) -> None:
        """Close the stream for the library, too."""
        if self._tcp is not None:
            with contextlib.suppress(OSError):
                self._tcp.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for ours in (self._udp, self._tcp):
            if ours is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._poll.unregister(ours.fileno())
                ours.close()
        self._udp = self._tcp = None


def _takes_states(ours: socket.socket) -> bool:
    return ours.family == socket.AF_INET and ours.type == socket.SOCK_DGRAM


def _leads_to_a_robot(ours: socket.socket) -> bool:
    if ours.family != socket.AF_INET or ours.type != socket.SOCK_STREAM:
        return False
    with contextlib.suppress(OSError):
        return bool(ours.getpeername()[1] == PORT)
    return False


def _sockets() -> set[tuple[int, int]]:
    """Descriptor and inode of each: a number that was closed is given to the next one."""
    found = set()
    for name in os.listdir(_FDS):
        with contextlib.suppress(OSError):
            status = os.stat(_FDS / name)
            if stat.S_ISSOCK(status.st_mode):
                found.add((int(name), status.st_ino))
    return found


@contextlib.contextmanager
def same_scheduling() -> Iterator[None]:
    """libfranka makes whoever connects SCHED_FIFO 99; what we asked for stays."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, policy, parameters)
