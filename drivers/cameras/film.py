"""Pictures that were taken before, shown as a camera would: each at its time, one after another.

`t_capture_ns` is when a picture was due, so decoding makes it older, never wrong. Who comes late
misses what was due meanwhile, as with a camera; who pauses finds the film where he left it.
"""

from typing import Protocol

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock
from tandem.runtime.errors import AbsentError, DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import CameraFacts, CameraSpec

_PAUSE_PERIODS = 5


class Film(Protocol):
    """A file of pictures. All but `close` raise a DeviceError that names it and what to do."""

    def open(self) -> str: ...  # from its beginning; what it is, in words
    def advance(self) -> int | None: ...  # ns from its beginning to the next picture; None: the end
    def show(self, out: np.ndarray) -> None: ...  # that picture, [H, W, 3] uint8 RGB
    def close(self) -> None: ...


class FilmCamera:
    """Implements runtime.interfaces.TellingCamera."""

    spec: CameraSpec

    def __init__(
        self,
        spec: CameraSpec,
        film: Film,
        latency_ns: int | None,
        loop: bool,
        clock: Clock | None = None,
    ) -> None:
        """With a declared latency, each picture was taken so long before it is shown."""
        self.spec = spec
        self._film, self._loop = film, loop
        self._latency_ns = latency_ns or 0
        self._clock = clock or MonotonicClock()
        self._period_ns = round(NS_PER_S / spec.rate_hz)
        self._open = self._ended = self._pending = False
        self._text = ""
        self._t0_ns = self._due_ns = 0

    def read(self, out: np.ndarray, timeout_ns: int) -> int:
        """Wait until the next picture is due and put it into `out`; returns t_capture_ns.

        Raises:
            DeviceTimeoutError: it is due later than that.
            AbsentError: the film is over, or its file is not there.
            DeviceError: the file cannot be read on.
        """
        deadline_ns = self._clock.now_ns() + timeout_ns
        if not self._open:
            self._begin(self._clock.now_ns())
        if not self._pending:
            try:
                self._next()
            except DeviceError:
                self._shut()  # from its beginning, when it can be read again
                raise
        if self._due_ns > deadline_ns:
            self._clock.sleep_until(deadline_ns)
            away_ms = (self._due_ns - deadline_ns) / NS_PER_MS
            raise DeviceTimeoutError(f"the next picture is due in {away_ms:.0f} ms; wait for it")
        self._clock.sleep_until(self._due_ns)
        self._pending = False
        self._film.show(out)
        return self._due_ns - self._latency_ns

    def facts(self) -> CameraFacts | None:
        if not self._open:
            return None
        return CameraFacts(self._text, clock="when each picture is due", clock_error_ns=0)

    def close(self) -> None:
        self._shut()
        self._ended = False

    def _shut(self) -> None:
        if self._open:
            self._film.close()
        self._open = self._pending = False

    def _begin(self, t0_ns: int) -> None:
        if self._ended:
            raise AbsentError(f"{self._text} is over; loop: true would show it again")
        self._text = self._film.open()
        self._open, self._pending, self._t0_ns, self._due_ns = True, False, t0_ns, 0

    def _next(self) -> None:
        """The next picture that is not yet over."""
        pause_ns = self._clock.now_ns() - self._due_ns
        if self._due_ns and pause_ns > _PAUSE_PERIODS * self._period_ns:
            self._t0_ns += pause_ns
        again = 0
        while not self._pending:
            t_ns = self._film.advance()
            if t_ns is None:
                again += 1
                self._end(again)
                continue
            self._due_ns = self._t0_ns + t_ns
            self._pending = self._clock.now_ns() < self._due_ns + self._period_ns

    def _end(self, again: int) -> None:
        self._shut()
        self._ended = not self._loop
        if again > 1:
            raise DeviceError(f"{self._text} holds no picture that could be shown in time")
        self._begin(max(self._due_ns + self._period_ns, self._clock.now_ns()))
