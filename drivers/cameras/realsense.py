"""RealSense through librealsense: colour, and depth as the colour camera sees it.

One path for a device and for a recording of one (`file`, .db3), so that what is tested on a
recording is what runs on the robot. The pipeline keeps the newest frames only. Its calls may take
seconds and may hang, so it is opened and closed in threads of their own; waiting for frames has a
deadline.

Stamps are the device's: of mid-exposure where it tells, mapped to CLOCK_MONOTONIC (stamps.py).
Where librealsense itself follows the device's clock (global time), its word is taken, as long as it
lies in the second before the frame's arrival.
"""

import time
from typing import Any, NamedTuple

import numpy as np
from tandem.drivers.cameras import realsense_device as device
from tandem.drivers.cameras.opened import Opened
from tandem.drivers.cameras.picture import Fit, put, put_depth
from tandem.drivers.cameras.stamps import DeviceClock
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, ahead_ns
from tandem.runtime.errors import AbsentError, DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import CameraFacts, CameraSpec

_SLICE_NS = 50 * NS_PER_MS  # how long one wait may keep us from seeing that a recording is over
_SILENT_NS = 500 * NS_PER_MS  # then the device is closed and looked for again
_FIRST_NS = 3 * NS_PER_S  # from its opening to its first frame
_BELIEVED_NS = NS_PER_S


class _Taken(NamedTuple):
    """Frames of one moment, in librealsense's own memory."""

    colour: Any
    depth: Any  # None: not asked for
    arrival_ns: int


class RealSense:
    """Implements runtime.interfaces.DepthCamera and TellingCamera."""

    spec: CameraSpec

    def __init__(
        self,
        spec: CameraSpec,
        latency_ns: int | None,
        serial: str = "",
        sensor_size: tuple[int, int] | None = None,
        depth: bool = False,
        exposure_us: float | None = None,
        settings: dict[str, float] | None = None,
        file: str = "",
        loop: bool = True,
        fit: Fit = "crop",
    ) -> None:
        """Raises ConfigError: pyrealsense2 is not installed."""
        self._rs = device.library()
        self._context: Any = None
        self.spec = spec
        self._latency_ns, self._fit, self._loop = latency_ns, fit, loop
        size = sensor_size or (spec.width, spec.height)
        self._wish = device.Wish(
            serial, size, round(spec.rate_hz), depth, exposure_us, settings or {}, file
        )
        self._opened = Opened(self._wish.name, self._make, device.Stream.stop)
        self._clock = DeviceClock()
        self._taken: _Taken | None = None
        self._facts: CameraFacts | None = None
        self._stamped = 0.0  # of the newest frame given, ms of the device's clock
        self._t_capture_ns = self._heard_ns = 0
        self._ended = False

    def read(self, out: np.ndarray, timeout_ns: int) -> int:
        """Wait for a frame newer than the last, put it into `out` [H, W, 3] uint8; t_capture_ns.

        Raises:
            DeviceTimeoutError: no frame within `timeout_ns`, or the device is still being opened.
            AbsentError: it is not plugged in, or the recording is over.
            DeviceError: it refuses what was asked for.
        """
        deadline_ns = time.monotonic_ns() + timeout_ns
        if self._ended:
            raise AbsentError(f"{self._wish.file} is over; loop: true would play it again")
        self._taken = None  # librealsense has few of them
        try:
            stream, taken = self._wait(self._opened.get(deadline_ns), deadline_ns)
            put(np.asanyarray(taken.colour.get_data()), out, self._fit, stream.order)
            self._taken = taken
            return self._t_capture(stream, taken)
        except RuntimeError as error:  # librealsense's own, when its device is gone
            self._opened.drop()
            raise DeviceError(f"{self._wish.name}: {error}; look at its cable") from error

    def depth_mm(self, out: np.ndarray) -> None:
        """[H, W] uint16 of the frame that `read` gave last.

        Raises:
            DeviceError: there is none, or it was not asked for.
        """
        if self._taken is None or self._taken.depth is None:
            raise DeviceError(f"{self._wish.name} gave no depth; `depth: true` asks for it")
        depth = self._taken.depth
        put_depth(np.asanyarray(depth.get_data()), out, self._fit, depth.get_units() * 1000)

    def facts(self) -> CameraFacts | None:
        return self._facts

    def close(self) -> None:
        self._taken, self._facts = None, None
        self._ended = False
        self._opened.close()

    def _make(self) -> device.Stream:
        context = self._context or self._rs.context()
        self._context = None  # one that has once met a file that is none trips over it for ever
        stream = device.start(self._rs, context, self._wish)
        self._context = context
        self._heard_ns, self._stamped, self._clock = time.monotonic_ns(), -1.0, DeviceClock()
        return stream

    def _wait(self, stream: device.Stream, deadline_ns: int) -> tuple[device.Stream, _Taken]:
        while True:
            now_ns = time.monotonic_ns()
            wait_ns = min(max(deadline_ns - now_ns, 0), _SLICE_NS)
            arrived, frames = stream.pipeline.try_wait_for_frames(wait_ns // NS_PER_MS)
            arrival_ns = time.monotonic_ns()
            taken = self._new(stream, frames, arrival_ns) if arrived else None
            if taken is not None:
                self._heard_ns = arrival_ns
                return stream, taken
            if not arrived and stream.is_over():
                self._again()
                stream = self._opened.get(deadline_ns)
            elif arrival_ns >= deadline_ns:
                raise self._silent(arrival_ns)

    def _new(self, stream: device.Stream, frames: Any, arrival_ns: int) -> _Taken | None:
        """None: one stream is missing, or its picture is the one that we had."""
        colour = frames.get_color_frame()
        if not colour or colour.get_timestamp() == self._stamped:
            return None
        depth = None
        if stream.align is not None:
            raw = frames.get_depth_frame()
            if not raw or not stream.belongs(raw, colour):
                return None
            depth = stream.align.process(frames).get_depth_frame()
        self._stamped = colour.get_timestamp()
        return _Taken(colour, depth, arrival_ns)

    def _again(self) -> None:
        self._opened.drop()
        self._ended = not self._loop
        if self._ended:
            raise AbsentError(f"{self._wish.file} is over; loop: true would play it again")

    def _silent(self, now_ns: int) -> DeviceTimeoutError:
        silent_ns = now_ns - self._heard_ns
        if silent_ns > (_FIRST_NS if self._stamped < 0 else _SILENT_NS):
            self._opened.drop()
        return DeviceTimeoutError(
            f"{self._wish.name} sends nothing for {silent_ns / NS_PER_S:.1f} s; "
            "look at its cable, and at its USB port"
        )

    def _t_capture(self, stream: device.Stream, taken: _Taken) -> int:
        device_ns = round(
            (taken.colour.get_timestamp() - stream.after_exposure_ms(taken.colour)) * 1e6
        )
        mapped_ns, words = self._clock.mapped(device_ns, taken.arrival_ns), "the camera's clock"
        default_ns = self.spec.latency_ns
        if stream.is_global(taken.colour):
            told_ns = device_ns - ahead_ns(time.CLOCK_REALTIME)  # its stamps are in UTC
            if 0 <= taken.arrival_ns - told_ns < _BELIEVED_NS:
                mapped_ns, words, default_ns = told_ns, "librealsense's global time", 0
        latency_ns = default_ns if self._latency_ns is None else self._latency_ns
        # An offset that was just found to be smaller must not make time stand still.
        t_capture_ns = max(min(mapped_ns, taken.arrival_ns) - latency_ns, self._t_capture_ns + 1)
        self._t_capture_ns = t_capture_ns
        words += f" less {latency_ns / NS_PER_MS:.1f} ms"
        self._facts = CameraFacts(stream.text, stream.differs, words, self._clock.error_ns)
        return t_capture_ns
