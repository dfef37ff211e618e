"""How loops are paced out there: each idiom in its own words, ours for comparison.

Written from the descriptions and the behaviour of the projects named; none of their code is here.
An idiom runs `body()` once a tick and tells `record` (deadline it aimed at, wake), until `record`
answers False. Deadlines are the idiom's own, which is the kindest reading: what it slides off the
ideal grid is told apart, as drift.

- time_sleep: sleep for what is left of the period (LeRobot robot_client, physicalai);
- asyncio_sleep: the same in a coroutine on asyncio's own loop;
- lerobot_cycle_timer: LeRobot's CycleTimer at multiplier 1: deadlines from the tick's own start;
- openpi_runtime: openpi's Runtime: wall clock, anchor taken again after each sleep;
- gello_rate: gello's Rate: wall clock polled every 0.1 ms;
- umi_precise_wait: UMI's precise_wait: absolute grid, sleep to 1 ms before, then spin;
- absolute_sleep: absolute grid and plain sleep, no spin, missed ticks skipped.
"""

import asyncio
import time
from collections.abc import Callable

from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Grid, MonotonicClock

Body = Callable[[], None]
Record = Callable[[int, int], bool]
Idiom = Callable[[float, Body, Record], None]

_POLL_S = 1e-4
_SPIN_NS = NS_PER_MS


def time_sleep(rate_hz: float, body: Body, record: Record) -> None:
    period_ns = round(NS_PER_S / rate_hz)
    while True:
        start_ns = time.monotonic_ns()
        body()
        left_ns = period_ns - (time.monotonic_ns() - start_ns)
        if left_ns > 0:
            time.sleep(left_ns / NS_PER_S)
        if not record(start_ns + period_ns, time.monotonic_ns()):
            return


def asyncio_sleep(rate_hz: float, body: Body, record: Record) -> None:
    period_ns = round(NS_PER_S / rate_hz)

    async def loop() -> None:
        while True:
            start_ns = time.monotonic_ns()
            body()
            left_ns = period_ns - (time.monotonic_ns() - start_ns)
            await asyncio.sleep(max(0, left_ns) / NS_PER_S)
            if not record(start_ns + period_ns, time.monotonic_ns()):
                return

    asyncio.run(loop())


def lerobot_cycle_timer(rate_hz: float, body: Body, record: Record) -> None:
    interval_s = 1.0 / rate_hz
    while True:
        cycle_start = time.perf_counter()
        start_ns = time.monotonic_ns()
        body()
        left_s = cycle_start + interval_s - time.perf_counter()
        if left_s > 0:
            time.sleep(left_s)
        if not record(start_ns + round(interval_s * NS_PER_S), time.monotonic_ns()):
            return


def openpi_runtime(rate_hz: float, body: Body, record: Record) -> None:
    step_s = 1.0 / rate_hz
    anchor, anchor_ns = time.time(), time.monotonic_ns()
    while True:
        body()
        now = time.time()
        if now - anchor < step_s:
            time.sleep(step_s - (now - anchor))
            now = time.time()
        due_ns = anchor_ns + round(step_s * NS_PER_S)
        anchor, anchor_ns = now, time.monotonic_ns()
        if not record(due_ns, anchor_ns):
            return


def gello_rate(rate_hz: float, body: Body, record: Record) -> None:
    anchor, anchor_ns = time.time(), time.monotonic_ns()
    while True:
        body()
        while time.time() < anchor + 1.0 / rate_hz:
            time.sleep(_POLL_S)
        due_ns = anchor_ns + round(NS_PER_S / rate_hz)
        anchor, anchor_ns = time.time(), time.monotonic_ns()
        if not record(due_ns, anchor_ns):
            return


def umi_precise_wait(rate_hz: float, body: Body, record: Record) -> None:
    period_ns = round(NS_PER_S / rate_hz)
    due_ns = time.monotonic_ns()
    while True:
        body()
        due_ns += period_ns
        left_ns = due_ns - _SPIN_NS - time.monotonic_ns()
        if left_ns > 0:
            time.sleep(left_ns / NS_PER_S)
        while (now_ns := time.monotonic_ns()) < due_ns:
            pass
        if not record(due_ns, now_ns):
            return


def absolute_sleep(rate_hz: float, body: Body, record: Record) -> None:
    grid = Grid(MonotonicClock(), rate_hz)
    while True:
        body()
        beat = grid.wait()
        if not record(beat.due_ns, beat.wake_ns):
            return


IDIOMS: dict[str, Idiom] = {
    idiom.__name__: idiom
    for idiom in (
        time_sleep,
        asyncio_sleep,
        lerobot_cycle_timer,
        openpi_runtime,
        gello_rate,
        umi_precise_wait,
        absolute_sleep,
    )
}
# Those that aim at k / rate from their start; the others slide by what each sleep overshoots.
ON_GRID = frozenset({"umi_precise_wait", "absolute_sleep"})
