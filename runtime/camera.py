"""The camera process: capture → shared-memory ring, and an honest word when nothing comes.

A real device paces its own loop (one process each); simulated cameras share one process and take
turns on a grid, staggered, so that three renderings never come at once. A frame that cannot be
right (the clock stands still, the picture stands still, the stamp lies in the future) is withheld:
whoever waits for it then sees that it is old.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Beat, Clock
from tandem.runtime.errors import DeviceError, TandemError
from tandem.runtime.images import ImageRing, RingWriter
from tandem.runtime.interfaces import Camera
from tandem.runtime.ports import Bus
from tandem.runtime.telemetry import EventLog, Tap

_RETRY_NS = 200 * NS_PER_MS  # an unplugged device fails at once, every time
_GIVE_UP_NS = 5 * NS_PER_S
_LOOK_UP_NS = 100 * NS_PER_MS  # how long a sleep may keep us from noticing the end


@dataclass
class _Feed:
    """One camera, its ring, and what is known of its last frame."""

    camera: Camera
    writer: RingWriter
    period_ns: int
    due_ns: int
    good_ns: int  # when it last gave a frame
    index: int = 0
    t_capture_ns: int = -1
    picture: int = -1
    changed_ns: int = 0

    @property
    def name(self) -> str:
        return self.camera.spec.name

    @property
    def timeout_ns(self) -> int:
        return 3 * round(NS_PER_S / self.camera.spec.rate_hz) + 100 * NS_PER_MS


class CameraLoop:
    """`device_paced`: the camera's own clock sets the rate (one real device).

    `frozen_after_ns`: a picture that does not change in a single sampled pixel for so long is not
    a picture; None for the simulator, where nothing moves until something does.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        runtime_dir: Path,
        bus: Bus,
        clock: Clock,
        device_paced: bool = False,
        frozen_after_ns: int | None = None,
    ) -> None:
        self._clock = clock
        self._device_paced = device_paced
        self._frozen_after_ns = frozen_after_ns
        rate_hz = max(camera.spec.rate_hz for camera in cameras)
        self._tap = Tap(bus.source, rate_hz * len(cameras), bus.publisher(streams.TICK))
        self._log = EventLog(bus.source, bus.publisher(streams.EVENT))
        now_ns = clock.now_ns()
        self._feeds = [
            _Feed(
                camera,
                ImageRing.of(runtime_dir, camera.spec).writer(),
                period_ns := round(NS_PER_S / camera.spec.rate_hz),
                now_ns + k * period_ns // len(cameras),
                now_ns,
            )
            for k, camera in enumerate(cameras)
        ]

    def run(self, stopping: Callable[[], bool]) -> None:
        """Capture until told to stop.

        Raises:
            DeviceError: a camera gave nothing for so long that only a new start can help.
        """
        try:
            while not stopping():
                due_ns = min(feed.due_ns for feed in self._feeds)
                self._clock.sleep_until(min(due_ns, self._clock.now_ns() + _LOOK_UP_NS))
                self.tick(self._clock.now_ns())
        finally:
            for feed in self._feeds:
                feed.camera.close()

    def tick(self, now_ns: int) -> None:
        """Capture once from every camera whose turn it is."""
        for feed in self._feeds:
            # The clock anew for each: when all are late, all get their turn.
            now_ns = max(now_ns, self._clock.now_ns())
            if feed.due_ns <= now_ns:
                self._turn(feed, now_ns)
        self._tap.flush(self._clock.now_ns())

    def _turn(self, feed: _Feed, now_ns: int) -> None:
        skipped = (now_ns - feed.due_ns) // feed.period_ns
        feed.index += 1 + skipped
        beat = Beat(feed.index, feed.due_ns + skipped * feed.period_ns, now_ns, skipped)
        feed.due_ns = beat.due_ns + feed.period_ns
        try:
            self._capture(feed, now_ns)
        except Exception as error:  # a driver is somebody else's code
            self._failed(feed, error)
        else:
            if self._device_paced:
                feed.due_ns = self._clock.now_ns()  # at once: reading waits for the device
        work_ns = self._clock.now_ns() - now_ns
        self._tap.tick(_unpaced(beat) if self._device_paced else beat, work_ns)

    def _capture(self, feed: _Feed, now_ns: int) -> None:
        slot = feed.writer.slot()
        t_capture_ns = feed.camera.read(slot, feed.timeout_ns)
        done_ns = self._clock.now_ns()
        self._check(feed, slot, t_capture_ns, done_ns)
        feed.writer.commit(t_capture_ns)
        feed.good_ns = done_ns
        self._tap.count(f"frames {feed.name}")
        self._tap.sample(f"capture to ring {feed.name}", done_ns - t_capture_ns)
        self._tap.sample(f"read {feed.name}", done_ns - now_ns)
        self._log.settle(done_ns, f"camera {feed.name}", f"camera {feed.name} is back")

    def _check(self, feed: _Feed, image: np.ndarray, t_capture_ns: int, now_ns: int) -> None:
        if t_capture_ns > now_ns:
            ahead_ms = (t_capture_ns - now_ns) / NS_PER_MS
            raise DeviceError(
                f"its stamps are {ahead_ms:.1f} ms in the future; "
                "the driver must give CLOCK_MONOTONIC of this machine"
            )
        if t_capture_ns <= feed.t_capture_ns:
            raise DeviceError("it hands out the same frame again; replug it or restart its driver")
        feed.t_capture_ns = t_capture_ns
        if self._frozen_after_ns is not None:
            self._check_moving(feed, image, now_ns)

    def _check_moving(self, feed: _Feed, image: np.ndarray, now_ns: int) -> None:
        """A real sensor's noise changes every frame; a stuck driver repeats the last one."""
        picture = zlib.crc32(np.ascontiguousarray(image[::8, ::8]).data)
        if picture != feed.picture:
            feed.picture, feed.changed_ns = picture, now_ns
        elif now_ns - feed.changed_ns > (self._frozen_after_ns or 0):
            still_s = (now_ns - feed.changed_ns) / NS_PER_S
            raise DeviceError(f"its picture is frozen for {still_s:.1f} s; replug it")

    def _failed(self, feed: _Feed, error: Exception) -> None:
        now_ns = self._clock.now_ns()
        silent_ns = now_ns - feed.good_ns
        self._tap.count(f"errors {feed.name}")
        reason = error if isinstance(error, TandemError) else f"{type(error).__name__}: {error}"
        text = f"camera {feed.name} gave no frame for {silent_ns / NS_PER_S:.1f} s: {reason}"
        self._log.complain(now_ns, f"camera {feed.name}", text, "error")
        feed.due_ns = now_ns + _RETRY_NS
        if silent_ns > _GIVE_UP_NS:
            raise DeviceError(f"{text}; look at its cable and power, then restart") from error


def _unpaced(beat: Beat) -> Beat:
    """Nobody is late on a grid that the device does not keep."""
    return Beat(beat.index, beat.wake_ns, beat.wake_ns, 0)
