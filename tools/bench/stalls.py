"""What the probe explains: spans in which this core ran nobody, not even the highest priority.

A virtual machine stops whole cores for milliseconds. A loop that is late then is not to blame, and
a loop that is late otherwise is; only a probe of higher priority on the same core at the same time
can tell. Stretches are [N, 2] int64 nanoseconds, sorted and disjoint.
"""

import numpy as np
from tandem.runtime.clock import NS_PER_US

Array = np.ndarray

THRESHOLD_NS = 250 * NS_PER_US  # a probe wake later than this is a stall


def find(due_ns: Array, wake_ns: Array, threshold_ns: int, widen_ns: int) -> Array:
    """Stretches in which the probe was late by more than `threshold_ns`, widened on both sides.

    The core may have stopped any time after the probe's previous wake, so `widen_ns` is one period
    of the probe.
    """
    late = (wake_ns - due_ns) > threshold_ns
    return merge(np.stack([due_ns[late] - widen_ns, wake_ns[late] + widen_ns], axis=1))


def merge(spans: Array) -> Array:
    """The same time as sorted spans that do not touch."""
    if len(spans) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reach = np.maximum.accumulate(spans[:, 1])
    starts = np.concatenate([[True], spans[1:, 0] > reach[:-1]])
    ends = np.concatenate([starts[1:], [True]])
    return np.stack([spans[starts, 0], reach[ends]], axis=1).astype(np.int64)


def overlap(start_ns: Array, end_ns: Array, spans: Array) -> Array:
    """[N] bool: does [start, end] touch any of the merged `spans`?"""
    if len(spans) == 0:
        return np.zeros(len(start_ns), dtype=bool)
    # The last span that starts at or before the end; spans are disjoint, so it ends latest too.
    before = np.searchsorted(spans[:, 0], end_ns, side="right") - 1
    touches: Array = (before >= 0) & (spans[np.maximum(before, 0), 1] >= start_ns)
    return touches


def share(spans: Array, start_ns: int, end_ns: int) -> float:
    """Part of [start, end] inside `spans`, 0 … 1: how much could be explained by mere chance."""
    if len(spans) == 0 or end_ns <= start_ns:
        return 0.0
    inside = np.minimum(spans[:, 1], end_ns) - np.maximum(spans[:, 0], start_ns)
    return float(np.maximum(inside, 0).sum() / (end_ns - start_ns))
