"""USB cameras (UVC, and whatever else is a V4L2 device) through OpenCV.

A camera may give another size, rate or format than it was asked for; `facts` says so. Two buffers:
with one, the camera has nowhere to put the next picture while we decode, and every other one is
lost. A picture that waited in a buffer while a newer one came is thrown away.

The kernel stamps each buffer on CLOCK_MONOTONIC when its transfer begins, which is after its
exposure: `latency_ms` is from mid-exposure to there, by default half a period. A driver whose
stamps lie on another clock is mapped by arrival (stamps.py); one without stamps has the arrival
itself.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tandem.drivers.cameras.opened import Opened
from tandem.drivers.cameras.picture import Fit, put
from tandem.drivers.cameras.stamps import DeviceClock
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from tandem.runtime.errors import AbsentError, DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import CameraFacts, CameraSpec

_BUFFERS = 2
_MANUAL_EXPOSURE = 1  # V4L2_EXPOSURE_MANUAL
_EXPOSURE_UNIT_US = 100
_AT_ONCE_NS = 1  # 0 would be for ever
_SILENT_NS = 500 * NS_PER_MS  # then the device is closed and opened again
_FIRST_NS = 3 * NS_PER_S  # from its opening to its first frame
_BELIEVED_NS = NS_PER_S


class _Stream(NamedTuple):
    """An opened device and what it agreed to."""

    capture: Any
    frame: np.ndarray  # [h, w, 3] BGR, what OpenCV decodes into
    text: str
    differs: str


class _Placed(NamedTuple):
    """A stamp on CLOCK_MONOTONIC, whose it is, its error, and how long after mid-exposure."""

    t_ns: int
    words: str
    error_ns: int
    latency_ns: int


class Uvc:
    """Implements runtime.interfaces.TellingCamera."""

    spec: CameraSpec

    def __init__(
        self,
        spec: CameraSpec,
        latency_ns: int | None,
        device: str | int,
        sensor_size: tuple[int, int] | None = None,
        format: str = "MJPG",
        exposure_us: float | None = None,
        fit: Fit = "crop",
    ) -> None:
        self.spec = spec
        self._node = f"/dev/video{device}" if str(device).isdecimal() else str(device)
        self._latency_ns, self._fit = latency_ns, fit
        self._size = sensor_size or (spec.width, spec.height)
        self._format, self._exposure_us = format, exposure_us
        self._period_ns = round(NS_PER_S / spec.rate_hz)
        self._opened = Opened(self._node, self._make, lambda stream: stream.capture.release())
        self._clock = DeviceClock()
        self._facts: CameraFacts | None = None
        self._heard_ns = self._t_capture_ns = 0
        self._given = False

    def read(self, out: np.ndarray, timeout_ns: int) -> int:
        """Wait for a frame, put it into `out` [H, W, 3] uint8 RGB, return t_capture_ns.

        Raises:
            DeviceTimeoutError: no frame within `timeout_ns`, or the device is still being opened.
            AbsentError: it is not plugged in.
            DeviceError: it cannot be opened, or stopped sending.
        """
        deadline_ns = time.monotonic_ns() + timeout_ns
        stream = self._opened.get(deadline_ns)
        stamp_ns, arrival_ns = self._newest(stream, deadline_ns)
        put(stream.frame, out, self._fit, "bgr")
        return self._t_capture(stream, stamp_ns, arrival_ns)

    def facts(self) -> CameraFacts | None:
        return self._facts

    def close(self) -> None:
        self._facts = None
        self._opened.close()

    def _make(self) -> _Stream:
        if not Path(self._node).exists():
            there = ", ".join(nodes()) or "none"
            raise AbsentError(f"{self._node} is not plugged in (there: {there}); plug it in")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        capture = cv2.VideoCapture(self._node, cv2.CAP_V4L2)
        if not capture.isOpened():
            raise DeviceError(
                f"{self._node} cannot be opened: another program has it (fuser -v {self._node}), "
                "or this user may not (`tandem doctor cameras` says which)"
            )
        stream = self._agreed(capture)
        if not capture.grab():  # the first one starts the device, and may take its time
            capture.release()
            raise DeviceError(f"{self._node} was opened but sends nothing; plug it in again")
        self._heard_ns, self._given, self._clock = time.monotonic_ns(), False, DeviceClock()
        return stream

    def _agreed(self, capture: Any) -> _Stream:
        """Ask, then look at what became of it."""
        width, height = self._size
        if self._format:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._format))
        for key, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, width),
            (cv2.CAP_PROP_FRAME_HEIGHT, height),
            (cv2.CAP_PROP_FPS, self.spec.rate_hz),
            (cv2.CAP_PROP_BUFFERSIZE, _BUFFERS),
        ):
            capture.set(key, value)
        refused = "" if self._exposure_us is None else self._expose(capture, self._exposure_us)
        given_size = tuple(
            round(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        rate_hz = capture.get(cv2.CAP_PROP_FPS) or self.spec.rate_hz
        code = round(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin1")
        gives = _profile(given_size, rate_hz, code)
        wants = _profile(self._size, self.spec.rate_hz, self._format or code)
        instead = f"asked for {wants}, it gives {gives}: `tandem doctor cameras` lists its offers"
        differs = [instead] if gives != wants else []
        differs += [refused] if refused else []
        frame = np.empty((given_size[1], given_size[0], 3), np.uint8)
        return _Stream(capture, frame, f"{self._node}, {gives}", "; ".join(differs))

    def _expose(self, capture: Any, exposure_us: float) -> str:
        manual = capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE)
        taken = capture.set(cv2.CAP_PROP_EXPOSURE, round(exposure_us / _EXPOSURE_UNIT_US))
        return "" if manual and taken else f"it does not take exposure_us: {exposure_us:g}"

    def _newest(self, stream: _Stream, deadline_ns: int) -> tuple[int, int]:
        """Decode into the stream's frame; (the buffer's stamp, its arrival) in ns."""
        while True:
            now_ns = time.monotonic_ns()
            if not self._ready(stream, max(deadline_ns - now_ns, _AT_ONCE_NS)):
                raise self._silent(time.monotonic_ns())
            arrival_ns = time.monotonic_ns()
            decoded, image = stream.capture.retrieve(stream.frame)
            stamp_ns = round(stream.capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            if decoded and image.shape == stream.frame.shape:  # else: cut off on its way
                self._heard_ns, self._given = arrival_ns, True
                waited = arrival_ns - stamp_ns > 3 * self._period_ns // 2
                if not (waited and self._ready(stream, _AT_ONCE_NS)):
                    return stamp_ns, arrival_ns

    def _ready(self, stream: _Stream, timeout_ns: int) -> bool:
        try:
            return bool(cv2.VideoCapture.waitAny([stream.capture], timeout_ns)[0])
        except cv2.error as error:  # the kernel gives ENODEV: it was unplugged, or its hub was
            self._opened.drop()
            if Path(self._node).exists():
                raise DeviceError(f"{self._node} stopped sending; look at its cable") from error
            raise AbsentError(f"{self._node} was unplugged; plug it in again") from error

    def _silent(self, now_ns: int) -> DeviceTimeoutError:
        silent_ns = now_ns - self._heard_ns
        if silent_ns > (_SILENT_NS if self._given else _FIRST_NS):
            self._opened.drop()
        return DeviceTimeoutError(
            f"{self._node} sends nothing for {silent_ns / NS_PER_S:.1f} s; look at its cable"
        )

    def _t_capture(self, stream: _Stream, stamp_ns: int, arrival_ns: int) -> int:
        at = self._placed(stamp_ns, arrival_ns)
        latency_ns = at.latency_ns if self._latency_ns is None else self._latency_ns
        self._t_capture_ns = max(min(at.t_ns, arrival_ns) - latency_ns, self._t_capture_ns + 1)
        words = f"{at.words} less {latency_ns / NS_PER_MS:.1f} ms"
        self._facts = CameraFacts(stream.text, stream.differs, words, at.error_ns)
        return self._t_capture_ns

    def _placed(self, stamp_ns: int, arrival_ns: int) -> _Placed:
        if stamp_ns <= 0:
            return _Placed(arrival_ns, "arrival", self._period_ns, self.spec.latency_ns)
        if 0 <= arrival_ns - stamp_ns < _BELIEVED_NS:
            words = "the kernel's, of the buffer"
            return _Placed(stamp_ns, words, NS_PER_US, self._period_ns // 2)
        mapped_ns = self._clock.mapped(stamp_ns, arrival_ns)
        error_ns = self._clock.error_ns or 0
        return _Placed(mapped_ns, "its driver's clock", error_ns, self.spec.latency_ns)


def nodes() -> list[str]:
    """Devices by names that stay the same when they are plugged in elsewhere; else as they are."""
    stable = sorted(str(path) for path in Path("/dev/v4l/by-id").glob("*"))
    return stable or sorted(str(path) for path in Path("/dev").glob("video*"))


def _profile(size: tuple[int, ...], rate_hz: float, code: str) -> str:
    return f"{size[0]}x{size[1]} {code} at {rate_hz:g} Hz"
