"""What every process of a daemon has in common: when to end, and how to say that it is ready."""

import signal
import time
from typing import Any

from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.lifeline import Lifeline
from tandem.runtime.realtime import end_with_parent

_GONE_NS = 2000 * NS_PER_MS  # heartbeats come every 100 ms


class Process:
    """`stopping()` turns true at SIGTERM, and when the supervisor is gone."""

    def __init__(self) -> None:
        self.line = Lifeline.from_environment()
        self._ending = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the supervisor ends a robot's parts
        signal.signal(signal.SIGTERM, self._end)

    def die_with_supervisor(self) -> None:
        """For processes that a robot can lose at any moment; the kernel keeps this promise."""
        if not end_with_parent():
            self._ending = True

    def ready(self, facts: dict[str, Any]) -> None:
        """Tell the supervisor; facts without a value are left out."""
        self.line.ready({name: value for name, value in facts.items() if value})

    @property
    def asked_to_end(self) -> bool:
        return self._ending

    def supervisor_gone(self) -> bool:
        return self.line.silence_ns(time.monotonic_ns()) > _GONE_NS

    def stopping(self) -> bool:
        return self._ending or self.supervisor_gone()

    def _end(self, *_: object) -> None:
        self._ending = True
