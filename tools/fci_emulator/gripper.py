"""The hand: its own port, its own small protocol, jobs that take as long as fingers take."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from tandem.tools.fci_emulator.body import OPEN_M
from tandem.tools.fci_emulator.wire import Peer

HEADER = struct.Struct("<HII")  # command, id, size including the header
STATUS = struct.Struct("<H")
STATE = struct.Struct("<IddBH")  # message id, width m, widest m, grasped, °C
VERSION = 3
_CONNECT, _HOMING, _GRASP, _MOVE, _STOP = range(5)
_SUCCESS, _FAIL, _UNSUCCESSFUL, _ABORTED = range(4)
_ARGUMENTS = {
    _CONNECT: struct.Struct("<HH"),
    _HOMING: struct.Struct(""),
    _GRASP: struct.Struct("<5d"),  # width, inner and outer tolerance m, speed m/s, force N
    _MOVE: struct.Struct("<dd"),  # width m, speed m/s
    _STOP: struct.Struct(""),
}
_HOMING_M_S = 0.1
_STILL_M = 1e-4
_SETTLE_TICKS = 100
_TICK_S = 0.001
_STATE_EVERY = 10  # ticks


@dataclass
class _Job:
    """One request that takes time."""

    command: int
    request_id: int
    targets_m: list[float]  # still to visit
    speed_m_s: float
    good_m: tuple[float, float] = (0.0, OPEN_M)  # grasped, if the fingers end in between
    settled: int = 0


class Hand:
    """Serves one client; `wanted_m` is where the fingers are being driven."""

    def __init__(self, width_m: Callable[[], float]) -> None:
        self.wanted_m = OPEN_M
        self.grasped = False
        self.peer: Peer | None = None
        self.requests = 0  # to move: begun, refused or done
        self._width_m = width_m
        self._job: _Job | None = None
        self._before_m = OPEN_M
        self._ticks = 0

    def handle(self, command: int, request_id: int, payload: bytes) -> None:
        """Start what is asked for, or answer at once."""
        layout = _ARGUMENTS.get(command)
        if layout is None or layout.size != len(payload):
            self._answer(command, request_id, _FAIL)
            return
        values = layout.unpack(payload)
        if command == _CONNECT:
            version, port = values
            wrong = version != VERSION
            self._answer(command, request_id, int(wrong), struct.pack("<H", VERSION))
            if self.peer is not None and not wrong:
                self.peer.udp_port = port
        else:
            self.requests += 1
            self._abort()
            self._begin(command, request_id, values)

    @property
    def busy(self) -> bool:
        """What was asked for last is not done yet."""
        return self._job is not None

    def tick(self) -> bytes | None:
        """One millisecond; the state datagram, when one is due."""
        self._ticks += 1
        width_m = self._width_m()
        if self._job is not None:
            self._drive(self._job, width_m)
        self._before_m = width_m
        if self._ticks % _STATE_EVERY:
            return None
        return STATE.pack(self._ticks // _STATE_EVERY, width_m, OPEN_M, self.grasped, 30)

    def leave(self) -> None:
        """The client is gone: what it began is not ended by that, but nobody is told."""
        self.peer = None

    def _begin(self, command: int, request_id: int, values: tuple[float, ...]) -> None:
        if command == _STOP:
            self.wanted_m = self._width_m()
            self._answer(command, request_id, _SUCCESS)
        elif command == _HOMING:
            self._job = _Job(command, request_id, [0.0, OPEN_M], _HOMING_M_S)
        elif command == _GRASP:
            width, inner, outer, speed, _force = values
            self._job = _Job(command, request_id, [0.0], speed, (width - inner, width + outer))
        else:
            self._job = _Job(command, request_id, [min(max(values[0], 0.0), OPEN_M)], values[1])
        if command != _STOP:
            self.grasped = False

    def _drive(self, job: _Job, width_m: float) -> None:
        step_m = max(job.speed_m_s, 1e-3) * _TICK_S
        away_m = job.targets_m[0] - self.wanted_m
        self.wanted_m += min(max(away_m, -step_m), step_m)
        still = abs(width_m - self._before_m) < _STILL_M * _TICK_S * 10
        arrived = abs(self.wanted_m - job.targets_m[0]) < 1e-9
        job.settled = job.settled + 1 if still and arrived else 0
        if job.settled < _SETTLE_TICKS:
            return
        job.targets_m.pop(0)
        job.settled = 0
        if not job.targets_m:
            self._finish(job, width_m)

    def _finish(self, job: _Job, width_m: float) -> None:
        self._job = None
        ok = True
        if job.command == _GRASP:
            low, high = job.good_m
            ok = self.grasped = low < width_m < high and width_m > _STILL_M
        self._answer(job.command, job.request_id, _SUCCESS if ok else _UNSUCCESSFUL)

    def _abort(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            self._answer(job.command, job.request_id, _ABORTED)

    def _answer(self, command: int, request_id: int, status: int, rest: bytes = b"") -> None:
        if self.peer is not None:
            size = HEADER.size + STATUS.size + len(rest)
            self.peer.send(HEADER.pack(command, request_id, size) + STATUS.pack(status) + rest)
