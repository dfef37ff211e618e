"""What Prometheus is told: the picture that observers keep, as metrics in base units (s, bytes).

Two steps, so that a scrape never delays the supervisor: `take` copies plain numbers out of the
summary, in the loop that owns it, in about a millisecond; `exposition` makes text of them, ten
times as long, in a thread of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tandem.runtime.clock import NS_PER_S
from tandem.runtime.summary import LoopSummary, Series, Summary

_MS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
BOUNDS_NS = tuple(round(bound * 1e6) for bound in _MS)


@dataclass(frozen=True)
class Counts:
    """A histogram as Prometheus counts: how many values did not exceed each of BOUNDS_NS."""

    within: Sequence[int]
    n: int
    total_s: float
    max_s: float

    @staticmethod
    def of(series: Series) -> "Counts":
        of = series.all
        return Counts(of.within(BOUNDS_NS), of.n, of.total / NS_PER_S, of.max / NS_PER_S)


@dataclass(frozen=True)
class LoopNumbers:
    """One loop: `rate_hz` measured, `asked_hz` 0 where data paces it."""

    rate_hz: float
    asked_hz: float
    ticks: int
    missed: int
    lost: int
    lateness: Counts
    work: Counts
    stages: Mapping[str, Counts]
    counters: Mapping[str, int]
    gauges: Mapping[str, float]


@dataclass(frozen=True)
class ChildNumbers:
    role: str
    pid: int | None
    ready: bool
    starts: int


@dataclass(frozen=True)
class Numbers:
    """One moment of a run; NaN-free: what was never heard is absent."""

    robot: str
    loops: Mapping[str, LoopNumbers]
    children: Sequence[ChildNumbers]
    events: Mapping[tuple[str, str], int]
    mode: str = ""
    operator: bool = False
    pace: float | None = None
    state_age_s: float | None = None
    conditioning_age_s: float | None = None
    frames: int = 0
    macs: int = 0
    macs_full: int = 0
    gate: Sequence[float] = field(default_factory=tuple)


def take(
    summary: Summary, children: Iterable[ChildNumbers], now_ns: int, robot: str = ""
) -> Numbers:
    """Copy the numbers out of a summary, to be used in any thread."""
    state, thought = summary.state.newest, summary.conditioning.newest
    return Numbers(
        robot=robot,
        loops={name: _loop(loop) for name, loop in summary.loops.items()},
        children=tuple(children),
        events=dict(summary.event_counts),
        mode=state.mode if state else "",
        operator=state is not None and state.operator is not None,
        pace=state.pace if state else None,
        state_age_s=(now_ns - state.t_ns) / NS_PER_S if state else None,
        conditioning_age_s=(now_ns - thought.t_capture_ns) / NS_PER_S if thought else None,
        frames=summary.conditioning.frames,
        macs=summary.conditioning.macs,
        macs_full=summary.conditioning.macs_full,
        gate=tuple(thought.gate) if thought else (),
    )


def _loop(loop: LoopSummary) -> LoopNumbers:
    return LoopNumbers(
        rate_hz=loop.rate.hz,
        asked_hz=loop.rate_hz,
        ticks=loop.ticks,
        missed=loop.missed,
        lost=loop.lost,
        lateness=Counts.of(loop.lateness),
        work=Counts.of(loop.work),
        stages={name: Counts.of(series) for name, series in loop.samples.items()},
        counters=loop.counters,
        gauges=dict(loop.gauges),
    )
