"""The robot's milliseconds on our clock: no jitter, no drift, never a step.

A state arrives some time after it was true, sometimes much later, never earlier. The earliest
arrivals of a while tell the phase, their trend the rate of the robot's clock; both are followed so
slowly that a motion planned on these stamps feels nothing (rate changes of 1e-6 a tick).
"""

from tandem.runtime.clock import NS_PER_MS

_WINDOW = 200  # ticks whose earliest arrival counts
_PULL = 1 / 2000  # of a phase error, per tick: it is gone after seconds
_FAR_NS = 50 * NS_PER_MS  # no network is so slow: the robot's clock has stood still
_FAR_TICKS = 5
_MAX_RATE = 2e-3
_MAX_CHANGE = 1e-6  # of the rate, per tick


class Beat:
    """`t_ns` is the stamp of the newest state, `rate` our nanoseconds per robot nanosecond."""

    def __init__(self, steady: bool = False) -> None:
        """`steady`: the robot's clock is the clock; stamps only count its milliseconds."""
        self.t_ns = 0
        self.rate = 1.0
        self._steady = steady
        self._ticks: int | None = None
        self._wanted = 1.0
        self._drift = 0.0
        self._earliest_ns: int | None = None
        self._before_ns: int | None = None
        self._left = _WINDOW
        self._far = 0  # states in a row that came far too late

    def restart(self) -> None:
        """The next state begins anew: another connection, or a robot that was restarted."""
        self._ticks = None

    def stamp(self, ticks: int, arrived_ns: int) -> int:
        """The time of robot millisecond `ticks`, which arrived at `arrived_ns`."""
        if self._ticks is None or not 0 < ticks - self._ticks < 1000:
            self._begin(arrived_ns)
        else:
            passed = ticks - self._ticks
            self.t_ns += round(passed * NS_PER_MS * self.rate)
            if not self._steady:
                self._far = self._far + 1 if arrived_ns - self.t_ns > _FAR_NS else 0
                if self._far >= _FAR_TICKS:
                    self._begin(arrived_ns)
                else:
                    self._follow(arrived_ns - self.t_ns, passed)
        self._ticks = ticks
        return self.t_ns

    def _begin(self, arrived_ns: int) -> None:
        self.t_ns = max(arrived_ns, self.t_ns + 1)
        self._far = 0
        self._earliest_ns = self._before_ns = None
        self._left = _WINDOW

    def _follow(self, late_ns: int, passed: int) -> None:
        change = min(max(self._wanted - self.rate, -_MAX_CHANGE), _MAX_CHANGE)
        self.rate += change
        if self._earliest_ns is None or late_ns < self._earliest_ns:
            self._earliest_ns = late_ns
        self._left -= passed
        if self._left > 0:
            return
        span_ns = _WINDOW * NS_PER_MS
        if self._before_ns is not None:
            trend = (self._earliest_ns - self._before_ns) / span_ns
            self._drift += 0.25 * (self.rate - 1 + trend - self._drift)
        pull = self._earliest_ns / NS_PER_MS * _PULL
        self._wanted = 1 + min(max(self._drift + pull, -_MAX_RATE), _MAX_RATE)
        self._before_ns, self._earliest_ns, self._left = self._earliest_ns, None, _WINDOW
