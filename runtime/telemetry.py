"""Telemetry: every loop's tap, the voice for events, and the collector on the other side.

A tap may lose data and counts what it lost; it never waits and never grows.
"""

from typing import Any

import numpy as np
from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_S, Beat, Clock
from tandem.runtime.histogram import Histogram, Quantiles
from tandem.runtime.messages import Event, Level, Tick
from tandem.runtime.ports import Bus, Publisher, Subscriber
from tandem.runtime.summary import Summary

__all__ = ["SOURCES", "Collector", "EventLog", "Histogram", "Quantiles", "Summary", "Tap"]

SOURCES = ("supervisor", "executor", "s1", "s2", "camera", "sim", "teleop", "recorder")
_TICKS = 4096  # per batch: four times a batch of the fastest loop that missed ten flushes
_SAMPLES = 1024
_NAMES = 64
_TEXT = 4096


class _Column:
    """A bounded column of integers, filled between two flushes."""

    def __init__(self, size: int) -> None:
        self._values = np.zeros(size, np.int64)
        self._n = 0

    def add(self, value: int) -> bool:
        if self._n == len(self._values):
            return False
        self._values[self._n] = value
        self._n += 1
        return True

    def take(self) -> np.ndarray:
        taken = self._values[: self._n].copy()
        self._n = 0
        return taken


class Tap:
    """Collects what one loop says about itself and sends it ten times a second.

    `rate_hz` is what the loop was asked for, 0 if data paces it. Counters run since the start.
    """

    def __init__(self, source: str, rate_hz: float, publisher: Publisher) -> None:
        self._source = source
        self._rate_hz = rate_hz
        self._publisher = publisher
        self._period_ns = round(NS_PER_S / streams.TICK.rate_hz)
        self._due_ns = 0
        self._lateness_ns, self._work_ns = _Column(_TICKS), _Column(_TICKS)
        self._samples_ns: dict[str, _Column] = {}
        self._counters: dict[str, int] = {}
        self._gauges: dict[str, float] = {}
        self._missed = 0

    def tick(self, beat: Beat, work_ns: int) -> None:
        """One tick of a grid: how late it woke, how long it worked, what was skipped before it."""
        self._missed += beat.skipped
        self._keep(self._lateness_ns, beat.lateness_ns)
        self._keep(self._work_ns, work_ns)

    def work(self, work_ns: int) -> None:
        """One turn of a loop that data paces."""
        self._keep(self._work_ns, work_ns)

    def sample(self, name: str, value_ns: int) -> None:
        """One measured latency. A loop has a handful of names, known beforehand."""
        column = self._samples_ns.get(name)
        if column is None:
            if len(self._samples_ns) == _NAMES:
                self.count("dropped")
                return
            column = self._samples_ns[name] = _Column(_SAMPLES)
        self._keep(column, value_ns)

    def count(self, name: str, n: int = 1) -> None:
        self._counters[name] = self._counters.get(name, 0) + n

    def counter(self, name: str, total: int) -> None:
        """Set a counter that somebody else keeps."""
        self._counters[name] = total

    def gauge(self, name: str, value: float) -> None:
        self._gauges[name] = value

    def flush(self, now_ns: int, force: bool = False) -> bool:
        """Send the batch if it is time; call it once a tick."""
        if now_ns < self._due_ns and not force:
            return False
        self._due_ns = now_ns + self._period_ns
        taken = ((name, column.take()) for name, column in self._samples_ns.items())
        self._publisher.send(
            Tick(
                t_ns=now_ns,
                valid=True,
                source=self._source,
                rate_hz=self._rate_hz,
                lateness_ns=self._lateness_ns.take(),
                work_ns=self._work_ns.take(),
                missed=self._missed,
                counters=self._counters,
                gauges=self._gauges,
                samples_ns={name: values for name, values in taken if values.size},
            )
        )
        return True

    def _keep(self, column: _Column, value: int) -> None:
        if not column.add(value):
            self.count("dropped")


class EventLog:
    """Says what a person would want to know, and the same thing not more than once in a while."""

    def __init__(self, source: str, publisher: Publisher, quiet_ns: int = NS_PER_S) -> None:
        self._source = source
        self._publisher = publisher
        self._quiet_ns = quiet_ns
        self._said: dict[str, int] = {}
        self._swallowed: dict[str, int] = {}

    def say(
        self, now_ns: int, level: Level, kind: str, text: str, data: dict[str, Any] | None = None
    ) -> None:
        """Publish an event, always."""
        event = Event(
            t_ns=now_ns,
            valid=True,
            source=self._source,
            level=level,
            kind=kind,
            text=text[:_TEXT],
            data=data or {},
        )
        self._publisher.send(event)

    def complain(
        self, now_ns: int, kind: str, text: str, level: Level = "warn", **data: Any
    ) -> bool:
        """Publish a complaint that may repeat: at once, then no kind more than once a second."""
        said_ns = self._said.get(kind)
        if said_ns is not None and now_ns - said_ns < self._quiet_ns:
            self._swallowed[kind] = self._swallowed.get(kind, 0) + 1
            return False
        self._said[kind] = now_ns
        self.say(now_ns, level, kind, text, {"repeated": self._swallowed.pop(kind, 0), **data})
        return True

    def settle(self, now_ns: int, kind: str, text: str) -> bool:
        """Say that what was complained about is over; nothing if nobody complained."""
        if self._said.pop(kind, None) is None:
            return False
        self._swallowed.pop(kind, None)
        self.say(now_ns, "info", kind, text)
        return True


class Collector:
    """Hears everybody and keeps the picture. Looks only: it has no way to command."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._clock = clock
        self.summary = Summary()
        self._ports: list[Subscriber[Any]] = [
            bus.subscriber(stream, source)
            for stream in (streams.TICK, streams.EVENT)
            for source in SOURCES
        ]
        self._ports.append(bus.subscriber(streams.STATE, "executor"))
        self._ports.append(bus.subscriber(streams.CONDITIONING, "s2", conflate=False))

    @property
    def malformed(self) -> int:
        return sum(port.malformed for port in self._ports)

    def poll(self) -> Summary:
        """Take in what has arrived; a few times a second is enough."""
        for port in self._ports:
            for message in port.poll():
                self.summary.fold(self._clock.now_ns(), message)
        return self.summary
