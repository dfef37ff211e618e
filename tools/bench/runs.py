"""One run of one loop, as stamps, and the figures that are read from it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.tools.bench import figures, stalls

Array = np.ndarray
Figures = dict[str, Any]

_AROUND_NS = 10 * NS_PER_MS


@dataclass(frozen=True)
class Stamps:
    """Every tick of one loop, none sampled: [N] int64 each, nanoseconds of CLOCK_MONOTONIC.

    `send_late_ns` [≤ N]: for each tick that commanded, how long after its deadline it had.

    `index` counts grid ticks (a skipped tick leaves a gap), or just ticks where the loop has no
    `grid`: where it aims a period ahead of its own last wake and so slides. `due_ns` is the
    deadline that the loop itself aimed at.
    """

    index: Array
    due_ns: Array
    wake_ns: Array
    send_late_ns: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    grid: bool = True

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Run:
    """A loop and the probe that ran on its core at the same time (None: no real time granted)."""

    rate_hz: float
    stamps: Stamps
    probe: Stamps | None
    cpu_share: float  # of one core


def evaluate(run: Run) -> Figures:
    """Figures of one run; see `combine` for the keys."""
    stamps, probe = run.stamps, during(run.probe, run.stamps)
    spans = probe_stalls(probe)
    outside = ~stalls.overlap(stamps.due_ns, stamps.wake_ns, spans)
    lateness_ns = stamps.wake_ns - stamps.due_ns
    skipped_ns = missed_due_ns(stamps, run.rate_hz)
    explained = stalls.overlap(skipped_ns, skipped_ns + _period_ns(run.rate_hz), spans)
    return {
        "ticks": len(stamps),
        "effective_hz": figures.effective_hz(stamps.wake_ns),
        "missed": len(skipped_ns),
        "unexplained": int((~explained).sum()),
        "wake_us": figures.summary_us(lateness_ns),
        "send_us": figures.summary_us(stamps.send_late_ns),
        "wake_us_outside_stalls": figures.summary_us(lateness_ns[outside]),
        "drift_us": figures.drift_us(stamps.wake_ns, stamps.index, run.rate_hz),
        "cpu_share": run.cpu_share,
        "stalls": len(spans),
        "stall_share": _stall_share(spans, stamps),
        "probe_us": probe_summary(probe),
    }


def combine(evaluated: Sequence[Figures]) -> Figures:
    """One row of several runs: counts add up, quantiles are the median run's, maxima the worst."""
    summed = ("ticks", "missed", "unexplained", "stalls")
    medians = ("effective_hz", "cpu_share", "stall_share")
    pooled = ("wake_us", "send_us", "wake_us_outside_stalls", "probe_us")
    return {
        **{key: sum(run[key] for run in evaluated) for key in summed},
        **{key: figures.median(run[key] for run in evaluated) for key in medians},
        **{key: figures.pooled(run[key] for run in evaluated) for key in pooled},
        "drift_us": max((run["drift_us"] for run in evaluated), key=abs, default=0.0),
    }


def during(probe: Stamps | None, loop: Stamps) -> Stamps | None:
    """What the probe saw while the loop ran, and a little around it."""
    if probe is None or not len(loop):
        return probe
    start_ns, end_ns = loop.due_ns[0] - _AROUND_NS, loop.wake_ns[-1] + _AROUND_NS
    keep = (probe.wake_ns >= start_ns) & (probe.due_ns <= end_ns)
    return Stamps(probe.index[keep], probe.due_ns[keep], probe.wake_ns[keep])


def probe_stalls(probe: Stamps | None) -> Array:
    """Spans in which the probe was held up, widened by one of its periods."""
    if probe is None or len(probe) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    period_ns = int(probe.due_ns[1] - probe.due_ns[0])
    return stalls.find(probe.due_ns, probe.wake_ns, stalls.THRESHOLD_NS, period_ns)


def probe_summary(probe: Stamps | None) -> figures.Summary:
    lateness = probe.wake_ns - probe.due_ns if probe is not None else np.zeros(0, dtype=np.int64)
    return figures.summary_us(lateness)


def missed_due_ns(stamps: Stamps, rate_hz: float) -> Array:
    """[M] deadlines of the grid ticks that were missed, in order.

    On a grid: a tick that was skipped, or served a whole period late. Without one: each whole
    period that the loop fell behind `first deadline + k / rate`, at the wake that made it whole.
    """
    if len(stamps) < 2:
        return np.zeros(0, dtype=np.int64)
    period_ns = _period_ns(rate_hz)
    if stamps.grid:
        late = stamps.due_ns[stamps.wake_ns - stamps.due_ns >= period_ns]
        return np.sort(np.concatenate([late, _skipped_due_ns(stamps, period_ns)]))
    ideal = (stamps.wake_ns - stamps.due_ns[0]) * (rate_hz / NS_PER_S)
    behind = np.floor(ideal - np.arange(len(stamps))).astype(np.int64)
    lost = np.diff(np.maximum.accumulate(np.maximum(behind, 0)))
    return np.repeat(stamps.wake_ns[1:] - period_ns, lost)


def _skipped_due_ns(stamps: Stamps, period_ns: int) -> Array:
    gaps = np.diff(stamps.index) - 1
    before = np.repeat(np.arange(len(gaps)), gaps)
    nth = np.arange(len(before)) - np.repeat(np.cumsum(gaps) - gaps, gaps) + 1
    due_ns: Array = stamps.due_ns[before] + nth * period_ns
    return due_ns


def _stall_share(spans: Array, stamps: Stamps) -> float:
    if len(stamps) < 2:
        return 0.0
    return stalls.share(spans, int(stamps.due_ns[0]), int(stamps.wake_ns[-1]))


def _period_ns(rate_hz: float) -> int:
    return round(NS_PER_S / rate_hz)
