"""Feetech's half-duplex protocol: bytes of instructions, and statuses out of bytes. No I/O here.

Instruction: FF FF id length instruction parameters checksum; status: FF FF id length error data
checksum. The length counts what follows it; the checksum is the complement of the sum of all bytes
between the header and itself (Feetech, "SCS communication protocol").
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

BROADCAST = 0xFE
_HEADER = b"\xff\xff"
_PING, _READ, _WRITE, _SYNC_READ, _SYNC_WRITE = 0x01, 0x02, 0x03, 0x82, 0x83
_SHORTEST = 6  # of a status
_LENGTH_MAX = 0xFA

# Bits of a status' error byte, and what to do about each.
_ERRORS = {
    0x01: "voltage out of its range; check the power supply (7.4 V or 12 V, as the servo says)",
    0x02: "its magnetic encoder fails; the servo has to be replaced",
    0x04: "too hot; let it cool down",
    0x08: "over-current; look for what blocks it",
    0x20: "overload, it has let go; take away what blocks it",
}


class Status(NamedTuple):
    servo: int
    error: int
    data: bytes


def ping(servo: int) -> bytes:
    return _packet(servo, _PING, b"")


def read(servo: int, address: int, size: int) -> bytes:
    return _packet(servo, _READ, bytes((address, size)))


def write(servo: int, address: int, data: bytes) -> bytes:
    return _packet(servo, _WRITE, bytes((address, *data)))


def sync_read(address: int, size: int, servos: Iterable[int]) -> bytes:
    """Every servo answers with its own status, in this order."""
    return _packet(BROADCAST, _SYNC_READ, bytes((address, size, *servos)))


def sync_write(address: int, values: Mapping[int, bytes]) -> bytes:
    """Nobody answers.

    Raises:
        ValueError: values of different sizes.
    """
    sizes = {len(value) for value in values.values()}
    if len(sizes) != 1:
        raise ValueError("a sync write has one size for all servos")
    rows = b"".join(bytes((servo, *value)) for servo, value in values.items())
    return _packet(BROADCAST, _SYNC_WRITE, bytes((address, *sizes)) + rows)


def meaning(error: int) -> str | None:
    """Of a status' error byte, for people; None: nothing is wrong."""
    told = [text for bit, text in _ERRORS.items() if error & bit]
    return "; ".join(told) or None


class Parser:
    """Statuses out of a stream that may begin anywhere and may lie; echoes are passed over."""

    def __init__(self) -> None:
        self.corrupted = 0  # packets whose checksum was wrong
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Status]:
        """Every status that is complete by now."""
        self._buffer += data
        found: list[Status] = []
        while (status := self._next()) is not None:
            if status.servo != BROADCAST:  # our own question, on adapters that echo
                found.append(status)
        return found

    def clear(self) -> None:
        self._buffer.clear()

    def _next(self) -> Status | None:
        buffer = self._buffer
        while True:
            start = buffer.find(_HEADER)
            if start < 0:
                del buffer[: max(len(buffer) - 1, 0)]  # the last byte may begin a header
                return None
            del buffer[:start]
            if len(buffer) < 4:
                return None
            length, end = buffer[3], buffer[3] + 4
            # FF is no id: then the header began one byte later.
            if buffer[2] == 0xFF or not 2 <= length <= _LENGTH_MAX:
                del buffer[:1]
                continue
            if len(buffer) < end:
                return None
            if _checksum(buffer[2 : end - 1]) != buffer[end - 1]:
                self.corrupted += 1
                del buffer[:1]
                continue
            status = Status(buffer[2], buffer[4], bytes(buffer[5 : end - 1]))
            del buffer[:end]
            return status


def status_bytes(size: int) -> int:
    """Length of a status that carries `size` bytes of data."""
    return _SHORTEST + size


def _packet(servo: int, instruction: int, parameters: bytes) -> bytes:
    """
    Raises:
        ValueError: too long for the protocol.
    """
    if len(parameters) + 2 > _LENGTH_MAX:
        raise ValueError(f"{len(parameters)} parameters do not fit into one packet")
    body = bytes((servo, len(parameters) + 2, instruction)) + parameters
    return _HEADER + body + bytes((_checksum(body),))


def _checksum(body: bytes | bytearray) -> int:
    return ~sum(body) & 0xFF
