"""The wire: instructions in, statuses out, and everything that can go wrong on the way."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tandem.tools.feetech_emulator.servo import Servo

_ALL = 254
_PING, _READ, _WRITE, _LATER, _ACTION = 1, 2, 3, 4, 5
_SYNC_READ, _SYNC_WRITE = 0x82, 0x83
_LONGEST_STEP_S = 0.002
_FIRST_WRITES = 20  # while a client is still starting


@dataclass
class Faults:
    """Per packet: the share that is damaged, that is lost; and who says nothing at all."""

    corrupt: float = 0.0
    lose: float = 0.0
    silent: set[int] = field(default_factory=set)
    hold_back_s: float = 0.0  # every answer comes so much later


@dataclass
class Counts:
    instructions: int = 0
    damaged: int = 0  # instructions with a wrong checksum
    sync_reads: int = 0
    sync_writes: int = 0
    statuses: int = 0
    longest_gap_us: int = 0  # between two sync writes


class Wire:
    """`take` bytes, get the answer's; the servos move by the clock that it is given."""

    def __init__(self, servos: list[Servo], seed: int = 0) -> None:
        self.servos = {servo.number: servo for servo in servos}
        self.faults, self.counts = Faults(), Counts()
        self._random = random.Random(seed)
        self._buffer = bytearray()
        self._later: list[tuple[int, bytes]] = []
        self._t_s = time.monotonic()
        self._written_s = 0.0

    def start(self, t_s: float) -> None:
        """Count time from here, on another clock than the machine's."""
        self._t_s = t_s

    def take(self, data: bytes) -> bytes:
        self._buffer += data
        return b"".join(self._answer(*instruction) for instruction in self._instructions())

    def advance(self, t_s: float) -> None:
        """Let the motors run until `t_s`."""
        while self._t_s < t_s:
            dt_s = min(t_s - self._t_s, _LONGEST_STEP_S)
            for servo in self.servos.values():
                servo.advance(dt_s)
            self._t_s += dt_s

    def _instructions(self) -> Iterator[tuple[int, int, bytes]]:
        buffer = self._buffer
        while len(buffer) >= 6:
            if buffer[0] != 0xFF or buffer[1] != 0xFF or buffer[2] == 0xFF:
                del buffer[0]
                continue
            end = buffer[3] + 4
            if len(buffer) < end:
                return
            number, code = buffer[2], buffer[4]
            parameters, told = bytes(buffer[5 : end - 1]), buffer[end - 1]
            right = (255 - sum(buffer[2 : end - 1])) & 255
            if told != right:
                self.counts.damaged += 1
                del buffer[0]
                continue
            del buffer[:end]
            self.counts.instructions += 1
            yield number, code, parameters

    def _answer(self, number: int, code: int, parameters: bytes) -> bytes:
        if code == _SYNC_READ:
            self.counts.sync_reads += 1
            address, size, *asked = parameters
            return b"".join(
                self._status(n, self.servos[n].read(address, size))
                for n in asked
                if n in self.servos
            )
        if code == _SYNC_WRITE:
            self.counts.sync_writes += 1
            if self.counts.sync_writes > _FIRST_WRITES:
                gap_us = round(1e6 * (self._t_s - self._written_s))
                self.counts.longest_gap_us = max(self.counts.longest_gap_us, gap_us)
            self._written_s = self._t_s
            self._write_all(parameters)
            return b""
        if code == _ACTION:
            waiting, self._later = self._later, []
            for n, row in waiting:
                self.servos[n].write(row[0], row[1:])
        addressed = sorted(self.servos) if number == _ALL else [number]
        return b"".join(self._single(n, code, parameters, number == _ALL) for n in addressed)

    def _single(self, number: int, code: int, parameters: bytes, to_all: bool) -> bytes:
        servo = self.servos.get(number)
        if servo is None or number in self.faults.silent:
            return b""
        if code == _READ and len(parameters) == 2 and not to_all:
            return self._status(number, servo.read(*parameters))
        if code == _WRITE:
            servo.write(parameters[0], parameters[1:])
            if servo.number != number:  # it was given another id
                self.servos[servo.number] = self.servos.pop(number)
        elif code == _LATER:
            self._later.append((number, parameters))
        elif code == _PING:
            return self._status(number, b"")
        talkative = servo.memory[8] == 1 and not to_all
        return self._status(servo.number, b"") if talkative else b""

    def _write_all(self, parameters: bytes) -> None:
        address, size = parameters[:2]
        for start in range(2, len(parameters), size + 1):
            number, data = parameters[start], parameters[start + 1 : start + 1 + size]
            if number in self.servos and number not in self.faults.silent:
                self.servos[number].write(address, data)

    def _status(self, number: int, data: bytes) -> bytes:
        faults = self.faults
        if number in faults.silent or self._random.random() < faults.lose:
            return b""
        body = bytes((number, len(data) + 2, self.servos[number].error)) + data
        packet = bytearray((0xFF, 0xFF, *body, (255 - sum(body)) & 255))
        if self._random.random() < faults.corrupt:
            packet[self._random.randrange(2, len(packet))] ^= self._random.randrange(1, 256)
        self.counts.statuses += 1
        return bytes(packet)
