"""What a V4L2 device offers, asked of the kernel itself: formats, sizes and rates.

Structures and numbers are those of linux/videodev2.h. Asking disturbs nobody who streams from it.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_DISCRETE = 1
_MOST = 64  # of anything; a driver that never ends its list is broken


def _both_ways(number: int, size: int) -> int:
    return 3 << 30 | size << 16 | ord("V") << 8 | number


_FORMAT, _SIZE, _INTERVAL = (
    struct.Struct("=III32sI16x"),  # index, type, flags, description, pixel format
    struct.Struct("=IIIII24x"),  # index, pixel format, type, width, height
    struct.Struct(
        "=IIIIIII24x"
    ),  # index, pixel format, width, height, type, numerator, denominator
)
_ENUM_FORMATS = _both_ways(2, _FORMAT.size)
_ENUM_SIZES = _both_ways(74, _SIZE.size)
_ENUM_INTERVALS = _both_ways(75, _INTERVAL.size)


def offers(node: str | Path) -> list[str]:
    """ "MJPG 640x480 at 30, 15 Hz", a line each; none where nothing can be captured, or asked."""
    try:
        fd = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        return [line for code in _formats(fd) for line in _of_format(fd, code)]
    finally:
        os.close(fd)


def _of_format(fd: int, code: int) -> Iterator[str]:
    name = code.to_bytes(4, "little").decode("latin1").strip()
    for width, height in _sizes(fd, code):
        rates = ", ".join(f"{rate_hz:g}" for rate_hz in _rates_hz(fd, code, width, height))
        yield f"{name} {width}x{height}" + (f" at {rates} Hz" if rates else "")


def _formats(fd: int) -> Iterator[int]:
    for index in range(_MOST):
        told = _asked(fd, _ENUM_FORMATS, _FORMAT.pack(index, _CAPTURE, 0, b"", 0))
        if told is None:
            return
        yield _FORMAT.unpack(told)[4]


def _sizes(fd: int, code: int) -> Iterator[tuple[int, int]]:
    for index in range(_MOST):
        told = _asked(fd, _ENUM_SIZES, _SIZE.pack(index, code, 0, 0, 0))
        if told is None:
            return
        _, _, kind, width, height = _SIZE.unpack(told)
        if kind != _DISCRETE:
            return  # any size within bounds: nothing to choose from
        yield width, height


def _rates_hz(fd: int, code: int, width: int, height: int) -> Iterator[float]:
    for index in range(_MOST):
        wish = _INTERVAL.pack(index, code, width, height, 0, 0, 0)
        told = _asked(fd, _ENUM_INTERVALS, wish)
        if told is None:
            return
        *_, kind, numerator, denominator = _INTERVAL.unpack(told)
        if kind != _DISCRETE or not numerator:
            return
        yield round(denominator / numerator, 2)


def _asked(fd: int, request: int, wish: bytes) -> bytes | None:
    try:
        return fcntl.ioctl(fd, request, wish)
    except OSError:  # the end of the list
        return None
