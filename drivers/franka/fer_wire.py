"""What the executor and the process of panda-python say to each other, over a socket pair."""

import struct

import numpy as np
from tandem.drivers.franka.line import Control, Report, RobotMode, report
from tandem.runtime.interfaces import Array

OPEN, WRITE, FINISH, CLOSE = b"o", b"w", b"f", b"c"  # to panda-python
BEGIN: dict[Control, bytes] = {"position": b"b", "velocity": b"v"}
REPORT, OPENED, LOST = b"r", b"d", b"l"  # from it
MAX_BYTES = 4096
_MODES: tuple[RobotMode, ...] = (
    "other", "idle", "move", "guiding", "reflex", "user_stop", "recovery"
)  # fmt: skip
_ROWS = 6
_HEAD = struct.Struct("<QdBBI")  # ticks, success rate, mode, moving, motions begun
_ROWS_AT = 1 + _HEAD.size
_ERRORS_AT = _ROWS_AT + _ROWS * 7 * 8


def pack(told: Report, moving: bool, motions: int) -> bytes:
    """`motions`: how many the executor has asked for, as far as the sender knows."""
    mode = _MODES.index(told.mode)
    head = _HEAD.pack(told.ticks, told.success_rate, mode, moving, motions)
    rows = (told.q, told.dq, told.tau, told.q_d, told.dq_d, told.ddq_d)
    return REPORT + head + np.array(rows, float).tobytes() + ",".join(told.errors).encode()


def unpack(message: bytes) -> tuple[Report, bool, int]:
    ticks, rate, mode, moving, motions = _HEAD.unpack_from(message, 1)
    rows = np.frombuffer(message, float, _ROWS * 7, _ROWS_AT).reshape(_ROWS, 7)
    errors = [name for name in message[_ERRORS_AT:].decode().split(",") if name]
    return report(ticks, rows, _MODES[mode], errors, rate), bool(moving), motions


def pack_row(kind: bytes, row: Array) -> bytes:
    return kind + row.tobytes()


def unpack_row(message: bytes) -> list[float]:
    row: list[float] = np.frombuffer(message, float, 7, 1).tolist()
    return row
