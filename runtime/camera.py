"""The camera process: capture → shared-memory ring, and an honest word when nothing comes.

A real device paces its own loop, in a thread of its own: a silent one costs the others nothing.
Simulated cameras take turns on a grid, staggered, so that three renderings never come at once.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Beat, Clock
from tandem.runtime.errors import AbsentError, DeviceError, DeviceTimeoutError, TandemError
from tandem.runtime.feed import Feed, feeds, words_of
from tandem.runtime.interfaces import Camera
from tandem.runtime.messages import Level
from tandem.runtime.ports import Bus
from tandem.runtime.telemetry import EventLog, Tap

_RETRY_NS = 200 * NS_PER_MS  # an unplugged device fails at once, every time
_GIVE_UP_NS = 5 * NS_PER_S
_LOOK_UP_NS = 100 * NS_PER_MS  # how long a sleep may keep us from noticing the end
_LEAVE_S = 1.0
_FIRST_NS = 3 * NS_PER_S  # to open a device may take so long, and is no cause for alarm
_LATE_NS = 500 * NS_PER_MS  # nor is a frame that is late by less
_HUNG_NS = 500 * NS_PER_MS  # beyond its time-out, a driver that has not come back is stuck


class CameraLoop:
    """`device_paced`: the cameras' own clocks set the rate, one thread each.

    `frozen_after_ns`: a picture that does not change in a single sampled pixel for so long is not
    a picture; None for the simulator, where nothing moves until something does. Nor is that looked
    at for the cameras in `still`, which are films.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        runtime_dir: Path,
        bus: Bus,
        clock: Clock,
        device_paced: bool = False,
        frozen_after_ns: int | None = None,
        still: Collection[str] = (),
    ) -> None:
        self._clock = clock
        self._device_paced = device_paced
        rate_hz = max(camera.spec.rate_hz for camera in cameras)
        self._tap = Tap(bus.source, rate_hz * len(cameras), bus.publisher(streams.TICK))
        self._log = EventLog(bus.source, bus.publisher(streams.EVENT))
        # The tap, the log and `stopping` are one thread's at a time.
        self._telling = threading.Lock()
        self._over = False
        self._fatal: BaseException | None = None
        patience = {c.spec.name: None if c.spec.name in still else frozen_after_ns for c in cameras}
        self._feeds = feeds(list(cameras), runtime_dir, clock.now_ns(), patience)

    def run(self, stopping: Callable[[], bool]) -> None:
        """Capture until told to stop.

        Raises:
            DeviceError: a camera gave nothing for so long that only a new start can help.
        """
        try:
            if self._device_paced:
                self._apart(stopping)
            while not (self._device_paced or stopping()):
                due_ns = min(feed.due_ns for feed in self._feeds)
                self._clock.sleep_until(min(due_ns, self._clock.now_ns() + _LOOK_UP_NS))
                self.tick(self._clock.now_ns())
        finally:
            for feed in self._feeds:
                feed.camera.close()

    def _apart(self, stopping: Callable[[], bool]) -> None:
        """Each camera in a thread, watched from here: a vendor's call may never come back."""
        threads = [
            threading.Thread(target=self._follow, args=(feed, stopping), daemon=True)
            for feed in self._feeds
        ]
        for thread in threads:
            thread.start()
        over = False
        while not over and self._fatal is None and any(thread.is_alive() for thread in threads):
            threads[0].join(_LOOK_UP_NS / NS_PER_S)
            with self._telling:
                over = stopping()
                self._look_for_hung(self._clock.now_ns())
                self._tap.flush(self._clock.now_ns())
        self._over = True
        for thread in threads:
            thread.join(_LEAVE_S)  # then one that hangs is left behind
        if self._fatal is not None:
            raise self._fatal

    def _follow(self, feed: Feed, stopping: Callable[[], bool]) -> None:
        """One camera's thread."""
        try:
            while not self._is_over(stopping):
                self._clock.sleep_until(min(feed.due_ns, self._clock.now_ns() + _LOOK_UP_NS))
                now_ns = self._clock.now_ns()
                if feed.due_ns <= now_ns:
                    self._turn(feed, now_ns)
                    with self._telling:
                        self._tap.flush(self._clock.now_ns())
        except BaseException as error:
            self._fatal = error

    def _is_over(self, stopping: Callable[[], bool]) -> bool:
        with self._telling:
            return self._over or self._fatal is not None or stopping()

    def _look_for_hung(self, now_ns: int) -> None:
        for feed in self._feeds:
            stuck_ns = feed.stuck_ns(now_ns)
            if stuck_ns > _HUNG_NS:
                text = f"camera {feed.name}: its driver hangs for {stuck_ns / NS_PER_S:.1f} s; "
                text += "look at its cable and power"
                self._log.complain(now_ns, f"camera {feed.name}", text, "error")
                if stuck_ns > _GIVE_UP_NS:
                    self._fatal = DeviceError(f"{text}, then restart")

    def tick(self, now_ns: int) -> None:
        """Capture once from every camera whose turn it is."""
        for feed in self._feeds:
            # The clock anew for each: when all are late, all get their turn.
            now_ns = max(now_ns, self._clock.now_ns())
            if feed.due_ns <= now_ns:
                self._turn(feed, now_ns)
        self._tap.flush(self._clock.now_ns())

    def _turn(self, feed: Feed, now_ns: int) -> None:
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
        with self._telling:
            self._tap.tick(_unpaced(beat) if self._device_paced else beat, work_ns)

    def _capture(self, feed: Feed, now_ns: int) -> None:
        t_capture_ns = feed.fill(now_ns)
        done_ns = self._clock.now_ns()
        feed.publish(t_capture_ns, done_ns)
        with self._telling:
            self._tell(feed, now_ns, done_ns, t_capture_ns)

    def _tell(self, feed: Feed, now_ns: int, done_ns: int, t_capture_ns: int) -> None:
        name = feed.name
        self._tap.count(f"frames {name}")
        self._tap.sample(f"capture to ring {name}", done_ns - t_capture_ns)
        self._tap.sample(f"read {name}", done_ns - now_ns)
        self._log.settle(done_ns, f"camera {name}", f"camera {name} is back")
        facts, new = feed.news()
        if facts is None:
            return
        if facts.clock_error_ns is not None:
            self._tap.gauge(f"clock error ms {name}", facts.clock_error_ns / NS_PER_MS)
        if new:
            level: Level = "warn" if facts.differs else "info"
            self._log.say(done_ns, level, "camera", f"camera {name}: {words_of(facts)}")

    def _failed(self, feed: Feed, error: Exception) -> None:
        now_ns = self._clock.now_ns()
        silent_ns = now_ns - feed.good_ns
        reason = error if isinstance(error, TandemError) else f"{type(error).__name__}: {error}"
        text = f"camera {feed.name} gave no frame for {silent_ns / NS_PER_S:.1f} s: {reason}"
        patience_ns = _FIRST_NS if feed.t_capture_ns < 0 else _LATE_NS
        late = isinstance(error, DeviceTimeoutError) and silent_ns < patience_ns
        with self._telling:
            self._tap.count(f"errors {feed.name}")
            if not late:
                self._log.complain(now_ns, f"camera {feed.name}", text, "error")
        feed.due_ns = now_ns + _RETRY_NS
        if silent_ns > _GIVE_UP_NS and not isinstance(error, AbsentError):
            raise DeviceError(f"{text}; look at its cable and power, then restart") from error


def _unpaced(beat: Beat) -> Beat:
    """Nobody is late on a grid that the device does not keep."""
    return Beat(beat.index, beat.wake_ns, beat.wake_ns, 0)
