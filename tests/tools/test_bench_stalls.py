"""What the probe explains and what it does not: invented stalls, invented ticks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.tools.bench import runs, stalls
from tandem.tools.bench.runs import Run, Stamps

MS = NS_PER_MS
SPANS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**5)), max_size=40).map(
    lambda pairs: np.array([(a, a + b) for a, b in pairs], dtype=np.int64).reshape(-1, 2)
)


@given(SPANS)
def test_merged_spans_are_sorted_disjoint_and_cover_the_same_time(spans):
    merged = stalls.merge(spans)
    assert np.all(merged[1:, 0] > merged[:-1, 1])
    for point in np.unique(spans):
        before = np.any((spans[:, 0] <= point) & (point <= spans[:, 1]))
        after = np.any((merged[:, 0] <= point) & (point <= merged[:, 1]))
        assert before == after


@given(SPANS, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4)), min_size=1))
def test_overlap_agrees_with_looking_at_every_span(spans, pairs):
    start = np.array([a for a, _ in pairs])
    end = np.array([a + b for a, b in pairs])
    merged = stalls.merge(spans)
    expected = [
        bool(np.any((merged[:, 0] <= e) & (s <= merged[:, 1])))
        for s, e in zip(start, end, strict=True)
    ]
    assert stalls.overlap(start, end, merged).tolist() == expected


@given(SPANS)
def test_the_share_of_stalled_time_lies_between_nothing_and_everything(spans):
    assert 0.0 <= stalls.share(stalls.merge(spans), 0, 10**6) <= 1.0
    assert stalls.share(np.array([[0, 500_000]]), 0, 10**6) == 0.5


def _probe(late: dict[int, int], count: int = 4000) -> Stamps:
    """A 1 kHz probe from t = 1 s; tick k is late by late[k] ns, its followers till then."""
    due_ns = NS_PER_S + np.arange(count) * MS
    wake_ns = due_ns + 5000
    for tick, late_ns in late.items():
        back_ns = due_ns[tick] + late_ns
        held_up = (due_ns >= due_ns[tick]) & (due_ns < back_ns)
        wake_ns[held_up] = np.maximum(wake_ns[held_up], back_ns)
    return Stamps(np.arange(count), due_ns, wake_ns)


def _loop(skip: list[int], late: dict[int, int] | None = None) -> Stamps:
    """A 200 Hz loop on a grid from t = 1 s, 100 µs late, 150 µs to the send."""
    index = np.array([k for k in range(800) if k not in skip])
    due_ns = NS_PER_S + index * 5 * MS
    wake_ns = due_ns + 100_000
    for tick, late_ns in (late or {}).items():
        wake_ns[index == tick] = due_ns[index == tick] + late_ns
    return Stamps(index, due_ns, wake_ns, wake_ns - due_ns + 50_000)


def _evaluate(loop: Stamps, probe: Stamps | None) -> dict:
    return runs.evaluate(Run(200.0, loop, probe, 0.05))


def test_a_tick_missed_while_the_probe_stood_still_is_explained():
    # Tick 100 is due at 1.5 s; the core stands still from 1.4995 s to 1.512 s.
    result = _evaluate(_loop([101], {100: 12 * MS}), _probe({500: 12 * MS}))
    assert result["missed"] == 2  # one skipped, one served more than a period late
    assert result["unexplained"] == 0
    assert result["stalls"] == 1


def test_a_tick_missed_while_the_probe_ran_on_time_is_our_own_fault():
    result = _evaluate(_loop([101], {100: 12 * MS}), _probe({}))
    assert result["missed"] == result["unexplained"] == 2


def test_a_stall_elsewhere_in_time_explains_nothing():
    result = _evaluate(_loop([101]), _probe({2000: 12 * MS}))
    assert result["unexplained"] == 1


def test_without_a_probe_nothing_is_explained():
    result = _evaluate(_loop([101]), None)
    assert result["unexplained"] == 1
    assert result["probe_us"]["p50"] is None


def test_lateness_below_the_threshold_is_no_stall():
    result = _evaluate(_loop([101]), _probe({500: stalls.THRESHOLD_NS}))
    assert result["stalls"] == 0
    assert result["unexplained"] == 1


def test_lateness_outside_stalls_leaves_out_what_a_stall_touched():
    loop = _loop([], {100: 4 * MS, 300: 400_000})
    result = _evaluate(loop, _probe({501: 3 * MS}))
    assert result["wake_us"]["max"] == 4000.0
    assert result["wake_us_outside_stalls"]["max"] == 400.0
    assert result["send_us"]["p50"] == 150.0
    assert 0.0 < result["stall_share"] < 0.01


@given(st.sets(st.integers(1, 798), max_size=60))
def test_every_skipped_tick_is_counted_at_its_own_deadline(skip):
    missed = runs.missed_due_ns(_loop(sorted(skip)), 200.0)
    assert missed.tolist() == [NS_PER_S + k * 5 * MS for k in sorted(skip)]


@given(st.integers(1, 100_000))
def test_a_sliding_loop_misses_each_whole_period_that_it_falls_behind(loss_ns):
    index = np.arange(1000)
    wake_ns = NS_PER_S + index * (5 * MS + loss_ns)
    sliding = Stamps(index, wake_ns, wake_ns, grid=False)
    missed = runs.missed_due_ns(sliding, 200.0)
    assert len(missed) == 999 * loss_ns // (5 * MS)
    assert np.all(np.diff(missed) > 0)


def test_the_probe_is_judged_only_while_the_loop_ran():
    loop = _loop([])
    short = Stamps(loop.index[:100], loop.due_ns[:100], loop.wake_ns[:100])
    late_later = _probe({2000: 12 * MS})
    result = _evaluate(short, late_later)
    assert result["stalls"] == 0
    assert result["probe_us"]["max"] == 5.0


def test_several_runs_add_up_counts_and_take_the_median_run():
    probe = _probe({})
    evaluated = [_evaluate(_loop(skip), probe) for skip in ([], [5], [7, 8])]
    row = runs.combine(evaluated)
    assert row["missed"] == row["unexplained"] == 3
    assert row["ticks"] == 800 * 3 - 3
    assert row["wake_us"]["p99"] == 100.0
    assert row["cpu_share"] == 0.05
