"""The bars that figures are held to: one table a benchmark, judged one way everywhere. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

Figures = dict[str, Any]

WAKE_OUTSIDE_STALLS_US = 500.0
SEND_P99_US = {200.0: 500.0, 1000.0: 200.0}
# Drift is a slide off the grid: a loop that re-anchors loses tens of milliseconds in a minute, a
# loop on the grid loses nothing but the noise of two medians.
DRIFT_US = 100.0
CPU_SHARE = {200.0: 0.10}
HOP_RATIO = 1.5
GROWTH_KIB_PER_HOUR = 1024.0
LOST_BEYOND_BARE = 20.0  # set-points a minute
GROWTH_BLOCKS_PER_HOUR = 10_000.0  # of some 160 000; a block is 512 bytes at most


@dataclass(frozen=True)
class Bar:
    """One promise: `value` may not be above `limit`. A value that is not there is not met."""

    case: str
    name: str
    value: float | None
    limit: float

    @property
    def met(self) -> bool:
        return self.value is not None and self.value <= self.limit

    def as_dict(self) -> Figures:
        return {**asdict(self), "met": self.met}


def jitter(cases: Iterable[Figures]) -> list[Bar]:
    return [bar for case in cases for bar in _jitter_case(case)]


def hop(figures: Figures) -> list[Bar]:
    return [
        Bar("hop", "typed p50 to raw pyzmq", figures["ratio"]["p50"], HOP_RATIO),
        Bar("hop", "bytes p50 to raw pyzmq", figures["ratio_bytes"]["p50"], HOP_RATIO),
    ]


def franka(ours: Figures, bare: Figures) -> list[Bar]:
    beyond = ours["lost_per_minute"]["p50"] - bare["lost_per_minute"]["p50"]
    return [
        Bar("franka", "lost a minute beyond the bare loop", beyond, LOST_BEYOND_BARE),
        Bar("franka", "reflexes outside stalls of 15 ms", ours["reflexes_outside_stalls"], 0),
    ]


def memory(figures: Figures) -> list[Bar]:
    resident, blocks = figures["rss"], figures["python_blocks"]
    return [
        Bar(
            "memory",
            "rss growth KiB/h",
            resident and resident["growth_kib_per_hour"],
            GROWTH_KIB_PER_HOUR,
        ),
        Bar(
            "memory",
            "python blocks growth /h",
            blocks and blocks["growth_blocks_per_hour"],
            GROWTH_BLOCKS_PER_HOUR,
        ),
    ]


def _jitter_case(case: Figures) -> Iterator[Bar]:
    rate_hz = case["rate_hz"]
    name = f"{rate_hz:g} Hz {case['load']}"
    yield Bar(name, "unexplained", case["unexplained"], 0)
    yield Bar(name, "drift µs", abs(case["drift_us"]), DRIFT_US)
    outside = case["wake_us_outside_stalls"]["max"]
    yield Bar(name, "wake max µs outside stalls", outside, WAKE_OUTSIDE_STALLS_US)
    if rate_hz in SEND_P99_US:
        yield Bar(name, "send p99 µs", case["send_us"]["p99"], SEND_P99_US[rate_hz])
    if rate_hz in CPU_SHARE:
        yield Bar(name, "cpu share", case["cpu_share"], CPU_SHARE[rate_hz])
