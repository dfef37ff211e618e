"""Latencies without losing the tail: counts in logarithmic buckets, 128 to an octave.

Every recorded value keeps its place to better than 0.8 % (1/128); nothing is sampled away, so a
maximum is a maximum and p99.9 means something. Buckets as in HdrHistogram (Tene): value v of b bits
has exponent e = max(b − 8, 0) and index 128·e + (v >> e).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_OCTAVE_BITS = 7
_LARGEST = (1 << 42) - 1  # 73 minutes in nanoseconds; anything longer counts as that
_BUCKETS = ((42 - _OCTAVE_BITS - 1) << _OCTAVE_BITS) + (2 << _OCTAVE_BITS)


@dataclass(frozen=True)
class Quantiles:
    """What a person wants to know of a histogram, in the unit that was recorded (ns)."""

    n: int
    mean: float
    p50: int
    p99: int
    p999: int
    max: int


class Histogram:
    """Counts of non-negative integers; a negative one counts as 0."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)
        self.n = 0
        self.total = 0
        self.max = 0

    def record(self, values: np.ndarray | Iterable[int] | int) -> None:
        """Count every value [N] int64."""
        array = np.clip(np.atleast_1d(np.asarray(values, np.int64)), 0, _LARGEST)
        if array.size == 0:
            return
        np.add.at(self._counts, _index(array), 1)
        self.n += array.size
        self.total += int(array.sum())
        self.max = max(self.max, int(array.max()))

    def merge(self, other: "Histogram") -> None:
        self._counts += other._counts
        self.n += other.n
        self.total += other.total
        self.max = max(self.max, other.max)

    def quantile(self, q: float) -> int:
        """The smallest value that at least `q` of all do not exceed, to 0.8 %; 0 of nothing."""
        if self.n == 0:
            return 0
        rank = max(int(np.ceil(q * self.n)), 1)
        bucket = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(_highest(bucket), self.max)

    def within(self, bounds: Iterable[int]) -> list[int]:
        """How many values do not exceed each of the bounds, to 0.8 % of the bound."""
        upto = np.cumsum(self._counts)[_index(np.fromiter(bounds, np.int64))]
        return [int(n) for n in upto]

    def quantiles(self) -> Quantiles:
        mean = self.total / self.n if self.n else 0.0
        p50, p99, p999 = (self.quantile(q) for q in (0.5, 0.99, 0.999))
        return Quantiles(self.n, mean, p50, p99, p999, self.max)


def _index(values: np.ndarray) -> np.ndarray:
    bits = np.frexp(values.astype(np.float64))[1]
    exponent = np.maximum(bits - (_OCTAVE_BITS + 1), 0)
    index: np.ndarray = (exponent << _OCTAVE_BITS) + (values >> exponent)
    return index


def _highest(bucket: int) -> int:
    """The largest value that falls into the bucket."""
    exponent = max((bucket >> _OCTAVE_BITS) - 1, 0)
    return ((bucket - (exponent << _OCTAVE_BITS) + 1) << exponent) - 1
