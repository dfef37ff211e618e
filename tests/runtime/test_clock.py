"""Laws of the tick grid and of other clocks, with invented time."""

import itertools
import types
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime import clock as ours
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Grid, MonotonicClock, VirtualClock, boot_id

PERIOD_NS = 5 * NS_PER_MS


def test_ticks_fall_on_the_grid() -> None:
    clock = VirtualClock(1_000)
    grid = Grid(clock, 200)
    beats = [grid.wait() for _ in range(5)]
    assert [b.due_ns for b in beats] == [1_000 + k * PERIOD_NS for k in range(1, 6)]
    assert all(b.lateness_ns == 0 and b.skipped == 0 for b in beats)


@given(st.lists(st.integers(0, 10 * PERIOD_NS), min_size=1, max_size=50))
def test_never_bursts_never_drifts_and_counts_every_tick(work_ns: list[int]) -> None:
    clock = VirtualClock()
    t0_ns = clock.now_ns()
    grid = Grid(clock, 200)
    last, skipped = 0, 0
    for busy_ns in work_ns:
        beat = grid.wait()
        skipped += beat.skipped
        assert (beat.due_ns - t0_ns) % PERIOD_NS == 0
        assert beat.index > last
        assert beat.index == last + 1 + beat.skipped
        assert 0 <= beat.lateness_ns < PERIOD_NS
        last = beat.index
        clock.sleep_until(clock.now_ns() + busy_ns)
    assert last == len(work_ns) + skipped


def test_a_late_tick_is_served_and_only_whole_periods_are_skipped() -> None:
    clock = VirtualClock()
    grid = Grid(clock, 200)
    first = grid.wait()
    clock.sleep_until(first.due_ns + 3 * PERIOD_NS + 1)
    late = grid.wait()
    assert (late.index, late.skipped, late.lateness_ns) == (4, 2, 1)
    assert grid.wait().index == 5


def test_virtual_time_only_moves_forward_and_only_when_told() -> None:
    clock = VirtualClock(50)
    clock.sleep_until(10)
    assert clock.now_ns() == 50
    clock.sleep_until(60)
    assert clock.now_ns() == 60


def test_the_machine_clock_does_not_wake_early() -> None:
    clock = MonotonicClock(spin_ns=100_000)
    due_ns = clock.now_ns() + 2 * NS_PER_MS
    clock.sleep_until(due_ns)
    assert clock.now_ns() >= due_ns


def test_boot_id_is_short_and_stable() -> None:
    assert boot_id() == boot_id()
    assert len(boot_id()) == 8


@given(st.integers(-(10**18), 10**18), st.lists(st.integers(0, NS_PER_S), max_size=12))
def test_a_pause_between_two_clocks_is_no_difference(ahead_ns: int, pauses_ns: list[int]) -> None:
    """Wherever we are kept waiting, as long as one look in five is quick."""
    waits_ns = itertools.chain(pauses_ns, itertools.repeat(100))  # three readings a look
    now_ns = itertools.accumulate(waits_ns)
    clocks = types.SimpleNamespace(
        monotonic_ns=lambda: next(now_ns), clock_gettime_ns=lambda _: ahead_ns + next(now_ns)
    )
    with mock.patch.object(ours, "time", clocks):
        assert abs(ours.ahead_ns(7) - ahead_ns) <= 10_000
