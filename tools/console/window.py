"""Values of the last few seconds, in the batches that they came in: no loop over ticks."""

from collections import deque

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.histogram import Histogram
from tandem.tools.console.figures import Bin, Spread

SPAN_NS = 10 * NS_PER_S
TREND_S = 120
# 1, 1.5, 2, 3, 5, 7, 10 µs … 10 s.
_STEPS = (10, 15, 20, 30, 50, 70)
_EDGES_NS = np.array([m * 10**e for e in range(2, 9) for m in _STEPS] + [10**10], np.int64)
_NONE = np.zeros(0, np.int64)


class Window:
    """One quantity [ns]: the last `SPAN_NS`, bins of all of it, the largest of each second."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, np.ndarray]] = deque()
        self._bins = np.zeros(len(_EDGES_NS) + 1, np.int64)
        self._seconds: deque[tuple[int, int]] = deque(maxlen=TREND_S)

    def add(self, t_ns: int, values_ns: np.ndarray) -> None:
        """Take a batch [N] int64 that was sent at `t_ns`."""
        if values_ns.size == 0:
            return
        self._batches.append((t_ns, values_ns))
        self._trim(t_ns)
        places = np.searchsorted(_EDGES_NS, values_ns)
        self._bins += np.bincount(places, minlength=self._bins.size)
        self._mark(t_ns // NS_PER_S, int(values_ns.max()))

    def values_ns(self, now_ns: int) -> np.ndarray:
        """[N] of the window that ends now."""
        self._trim(now_ns)
        return np.concatenate([values for _, values in self._batches]) if self._batches else _NONE

    def trend_ms(self, now_ns: int) -> tuple[float, ...]:
        """The largest value of each second up to now, 0 where nothing came; newest last."""
        if not self._seconds:
            return ()
        known = dict(self._seconds)
        now_s = max(now_ns // NS_PER_S, self._seconds[-1][0])
        begin_s = max(self._seconds[0][0], now_s - TREND_S + 1)
        return tuple(known.get(s, 0) / NS_PER_MS for s in range(begin_s, now_s + 1))

    def bins(self) -> tuple[Bin, ...]:
        """From the first that holds anything to the last."""
        filled = np.flatnonzero(self._bins)
        if filled.size == 0:
            return ()
        edges = [*_EDGES_NS.tolist(), int(_EDGES_NS[-1]) * 10]
        span = range(int(filled[0]), int(filled[-1]) + 1)
        return tuple(Bin(edges[i] / NS_PER_MS, int(self._bins[i])) for i in span)

    def _mark(self, second: int, largest_ns: int) -> None:
        if self._seconds and self._seconds[-1][0] >= second:
            second, before_ns = self._seconds.pop()
            largest_ns = max(largest_ns, before_ns)
        self._seconds.append((second, largest_ns))

    def _trim(self, now_ns: int) -> None:
        while self._batches and now_ns - self._batches[0][0] > SPAN_NS:
            self._batches.popleft()


def spread(values_ns: np.ndarray) -> Spread | None:
    """Exact quantiles of [N] values by the same definition as `Histogram.quantile`."""
    n = values_ns.size
    if n == 0:
        return None
    ranks = [max(int(np.ceil(q * n)), 1) - 1 for q in (0.5, 0.99, 0.999)]
    ordered = np.partition(values_ns, sorted({*ranks, n - 1}))
    p50, p99, p999, largest = (_ms(int(ordered[i])) for i in (*ranks, n - 1))
    return Spread(n, p50, p99, p999, largest)


def spread_of(histogram: Histogram) -> Spread | None:
    if histogram.n == 0:
        return None
    q = histogram.quantiles()
    return Spread(q.n, _ms(q.p50), _ms(q.p99), _ms(q.p999), _ms(q.max))


def _ms(value_ns: float) -> float:
    return round(value_ns / NS_PER_MS, 4)
