"""A short visit to the robot before or instead of the vendor's client: ask, recover, leave.

libfranka waits for its answers for ever and with the interpreter locked. So whatever may take long
is done here first, step by step and never waiting: is the robot there, is it ours to command, what
are its limits, and, on purpose only, recover from its errors. Numbers are those of libfranka-common
(Apache-2.0), for server versions 5 and 10.
"""

import contextlib
import errno
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock
from tandem.runtime.errors import DeviceError, DeviceTimeoutError

PORT = 1337
_HEADER = struct.Struct("<III")  # command, id, size with this header
_CONNECT = 0
_MAX_REPLY = 1 << 24
_REFLEX = 4
_POLL_NS = 2 * NS_PER_MS


@dataclass(frozen=True)
class Server:
    """What an errand must know of a server version."""

    version: int
    recover: int  # number of AutomaticErrorRecovery
    model: int | None  # of GetRobotModel
    mode_at: int  # byte of a state datagram that tells the robot's mode
    refusals: tuple[str, ...]  # words for the status of a recovery


_MANUAL = "it needs a person: open its Desk page, clear the error there"
FR3_SERVER = Server(
    10, 10, 11, 1372, ("", "not possible now", "a safety function is active in its Desk", _MANUAL,
    "another reflex came", "its emergency stop is pressed", "it was aborted")
)  # fmt: skip
FER_SERVER = Server(
    5, 12, None, 2364, ("", "not possible now", _MANUAL, "another reflex came",
    "its emergency stop is pressed", "it was aborted")
)  # fmt: skip


class Errand:
    """`step()` as often as there is time; True when it is done. Then `urdf`, if it has one."""

    def __init__(
        self, host: str, server: Server, timeout_ns: int, recover: bool = False,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self.urdf: str | None = None
        self._host, self._server, self.recovers = host, server, recover
        self._clock = clock or MonotonicClock()
        self._timeout_ns = timeout_ns
        self._deadline_ns = self._clock.now_ns() + timeout_ns
        self._doing = "answer the call"
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inbox = bytearray()
        self._ids = 0
        self._talk = self._visit()

    def step(self) -> bool:
        """Go on as far as it goes without waiting.

        Raises:
            DeviceTimeoutError: no answer within the time given.
            DeviceError: it refuses, speaks another version, or serves somebody else.
        """
        try:
            next(self._talk)
        except StopIteration:
            self.close()
            return True
        except OSError as error:
            self.close()
            raise DeviceError(self._unreachable(error)) from error
        except DeviceError:
            self.close()
            raise
        if self._clock.now_ns() > self._deadline_ns:
            self.close()
            raise DeviceTimeoutError(
                f"the robot at {self._host} did not {self._doing} within "
                f"{self._timeout_ns / NS_PER_S:g} s; is it on, are its joints unlocked and FCI "
                "activated in its Desk?"
            )
        return False

    def run(self) -> "Errand":
        """Step until it is done; raises what `step` raises."""
        wait = MonotonicClock()
        while not self.step():
            wait.sleep_until(wait.now_ns() + _POLL_NS)
        return self

    def close(self) -> None:
        self._tcp.close()
        self._udp.close()

    # -- what is said ------------------------------------------------------------------------------

    def _visit(self) -> Iterator[None]:
        yield from self._reach()
        yield from self._greet()
        self._doing = "send its state"
        mode = yield from self._first_mode()
        if self.recovers and mode == _REFLEX:
            self._doing = "recover"
            reply = yield from self._ask(self._server.recover)
            if reply[0] != 0:
                words = dict(enumerate(self._server.refusals))
                raise DeviceError(
                    f"the robot at {self._host} does not recover: "
                    f"{words.get(reply[0], f'status {reply[0]}')}"
                )
        if self._server.model is not None:
            self._doing = "tell its limits"
            reply = yield from self._ask(self._server.model)
            self.urdf = reply[1:].decode(errors="replace").rstrip("\0")

    def _reach(self) -> Iterator[None]:
        self._udp.setblocking(False)
        self._udp.bind(("", 0))
        self._tcp.setblocking(False)
        code = self._tcp.connect_ex((self._host, PORT))
        while code in (errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK):
            if select.select((), (self._tcp,), (), 0)[1]:
                code = self._tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                break
            yield
        if code:
            raise OSError(code, errno.errorcode.get(code, "unreachable"))

    def _greet(self) -> Iterator[None]:
        wanted = self._server.version
        port = self._udp.getsockname()[1]
        reply = yield from self._ask(_CONNECT, struct.pack("<HH", wanted, port))
        status, version = struct.unpack_from("<BH", reply)
        if status or version != wanted:
            other = {5: "franka_fer", 10: "franka_fr3"}.get(version)
            hint = f"use robot.arm.driver: {other}" if other else "update the robot's system"
            raise DeviceError(
                f"the robot at {self._host} speaks server version {version}, this driver speaks "
                f"{wanted}; {hint}"
            )

    def _first_mode(self) -> Iterator[None]:
        while True:
            with contextlib.suppress(BlockingIOError):
                state = self._udp.recv(1 << 12)
                if len(state) > self._server.mode_at:
                    return state[self._server.mode_at]
            self._notice_close()
            yield

    def _ask(self, command: int, payload: bytes = b"") -> Iterator[None]:
        self._ids += 1
        size = _HEADER.size + len(payload)
        self._tcp.sendall(_HEADER.pack(command, self._ids, size) + payload)
        while True:
            self._receive()
            if len(self._inbox) >= _HEADER.size:
                number, request_id, size = _HEADER.unpack_from(self._inbox)
                if not _HEADER.size < size <= _MAX_REPLY:
                    raise DeviceError(f"what answers at {self._host}:{PORT} is no Franka robot")
                if len(self._inbox) >= size:
                    body = bytes(self._inbox[_HEADER.size : size])
                    del self._inbox[:size]
                    if (number, request_id) == (command, self._ids):
                        return body
            yield

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            chunk = self._tcp.recv(1 << 16)
            if not chunk:
                raise DeviceError(self._busy())
            self._inbox += chunk

    def _notice_close(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not self._tcp.recv(1, socket.MSG_PEEK):
                raise DeviceError(self._busy())

    def _busy(self) -> str:
        return (
            f"the robot at {self._host} closed the connection: it serves one client at a time, and "
            "another program commands it; end that one first"
        )

    def _unreachable(self, error: OSError) -> str:
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return self._busy()
        return (
            f"no robot answers at {self._host}:{PORT} ({error.strerror or error}); check "
            "robot.arm.host and the cable, and activate FCI in the robot's Desk"
        )
