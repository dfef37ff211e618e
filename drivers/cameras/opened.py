"""Opening and closing, in threads of their own: vendors' calls take seconds, or for ever.

A read that finds its device closed asks for it to be opened and waits no longer than it may itself.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import DeviceError, DeviceTimeoutError, TandemError

T = TypeVar("T")
_CLOSE_S = 2.0


class Opened(Generic[T]):
    """At most one device, opened by `make` and closed by `end`. Both may raise and may hang."""

    def __init__(self, what: str, make: Callable[[], T], end: Callable[[T], None]) -> None:
        self._what, self._make, self._end = what, make, end
        self._lock = threading.Lock()
        self._device: T | None = None
        self._error: Exception | None = None
        self._since_s = 0.0
        self._errand: threading.Thread | None = None
        self._closed = False

    def get(self, deadline_ns: int) -> T:
        """The device, opened if need be.

        Raises:
            DeviceError: it cannot be opened; the next call tries again.
            DeviceTimeoutError: it is still being opened, or the one before being closed.
        """
        self._closed = False
        while self._device is None and self._error is None:
            errand = self._errand
            if errand is None or not errand.is_alive():
                errand = self._start(self._open)
            errand.join(max(deadline_ns - time.monotonic_ns(), 0) / NS_PER_S)
            if time.monotonic_ns() >= deadline_ns:
                break
        with self._lock:
            error, self._error = self._error, None
            device = self._device
        if error is not None:
            raise error
        if device is None:
            waited_s = time.monotonic() - self._since_s
            raise DeviceTimeoutError(f"{self._what} is being opened, for {waited_s:.1f} s now")
        return device

    def drop(self) -> None:
        """Close it behind our back; the next `get` waits for that and opens it again."""
        device, self._device = self._device, None
        if device is not None:
            self._start(lambda: self._quietly_end(device))

    def close(self) -> None:
        """Close it; when that takes for ever, it is left behind."""
        with self._lock:
            self._closed = True
        self.drop()
        if self._errand is not None:
            self._errand.join(_CLOSE_S)

    def _start(self, call: Callable[[], None]) -> threading.Thread:
        before = self._errand

        def errand() -> None:
            if before is not None:
                before.join()
            call()

        self._since_s = time.monotonic()
        self._errand = started = threading.Thread(target=errand, name=self._what, daemon=True)
        started.start()
        return started

    def _open(self) -> None:
        device, error = None, None
        try:
            device = self._make()
        except TandemError as refused:
            error = refused
        except Exception as broken:  # a vendor's own
            error = DeviceError(f"{self._what}: {broken}")
        with self._lock:
            late = self._closed
            if not late:
                self._device, self._error = device, error
        if late and device is not None:
            self._quietly_end(device)

    def _quietly_end(self, device: T) -> None:
        with contextlib.suppress(Exception):  # what is unplugged cannot be closed properly
            self._end(device)
