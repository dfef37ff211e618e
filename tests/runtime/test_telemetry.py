"""Taps, histograms and the fold, with invented time."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime import streams
from tandem.runtime.bus import LocalBus
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Beat, VirtualClock
from tandem.runtime.messages import Conditioning, Event, RobotState, Tick
from tandem.runtime.telemetry import Collector, EventLog, Histogram, Summary, Tap

VALUES = st.lists(st.integers(0, 1 << 41), min_size=1, max_size=300)


def exact(values: list[int], q: float) -> int:
    return sorted(values)[max(int(np.ceil(q * len(values))), 1) - 1]


@given(VALUES, st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_quantiles_are_within_a_bucket_of_the_truth(values: list[int], q: float) -> None:
    histogram = Histogram()
    histogram.record(np.array(values))
    truth = exact(values, q)
    assert truth <= histogram.quantile(q) <= truth * (1 + 1 / 128) + 1
    assert histogram.quantile(1.0) == histogram.max == max(values)


@given(VALUES, VALUES)
def test_merging_is_recording_both(a: list[int], b: list[int]) -> None:
    both, left, right = Histogram(), Histogram(), Histogram()
    both.record(a + b)
    left.record(a)
    right.record(b)
    left.merge(right)
    assert left.quantiles() == both.quantiles()


def test_histogram_edges() -> None:
    histogram = Histogram()
    assert histogram.quantiles().p99 == 0
    histogram.record([])
    histogram.record(-5)
    histogram.record(1 << 60)
    assert (histogram.n, histogram.quantile(0.5)) == (2, 0)
    assert histogram.max == (1 << 42) - 1


def taps(quiet_ns: int = NS_PER_S) -> tuple[Tap, EventLog, Any, Any]:
    bus = LocalBus("s1")
    tap = Tap("s1", 200.0, bus.publisher(streams.TICK))
    log = EventLog("s1", bus.publisher(streams.EVENT), quiet_ns)
    return tap, log, bus.subscriber(streams.TICK, "s1"), bus.subscriber(streams.EVENT, "s1")


def beat(k: int, late_ns: int = 0, skipped: int = 0) -> Beat:
    return Beat(k, k * 5 * NS_PER_MS, k * 5 * NS_PER_MS + late_ns, skipped)


def test_a_tap_sends_every_tick_ten_times_a_second() -> None:
    tap, _, ticks, _ = taps()
    for k in range(200):
        tap.tick(beat(k, late_ns=k), work_ns=2 * k)
        tap.flush(k * 5 * NS_PER_MS)
    batches = ticks.poll()
    assert 9 <= len(batches) <= 11
    late = np.concatenate([b.lateness_ns for b in batches])
    work = np.concatenate([b.work_ns for b in batches])
    assert late.tolist() == list(range(len(late)))
    assert work.tolist() == [2 * k for k in range(len(work))]
    assert batches[0].rate_hz == 200.0


def test_counters_run_on_and_samples_start_anew() -> None:
    tap, _, ticks, _ = taps()
    tap.tick(beat(1, skipped=3), 0)
    tap.sample("infer", 5)
    tap.sample("infer", 6)
    tap.count("late")
    tap.counter("dropped_elsewhere", 7)
    tap.gauge("pace", 0.5)
    assert tap.flush(0)
    tap.count("late", 2)
    assert not tap.flush(50 * NS_PER_MS)
    assert tap.flush(50 * NS_PER_MS, force=True)
    first, second = ticks.poll()
    assert (first.missed, second.missed) == (3, 3)
    assert first.samples_ns["infer"].tolist() == [5, 6]
    assert second.samples_ns == {}
    assert (first.counters["late"], second.counters["late"]) == (1, 3)
    assert second.counters["dropped_elsewhere"] == 7
    assert second.gauges == {"pace": 0.5}


def test_a_tap_that_is_never_flushed_does_not_grow() -> None:
    tap, _, ticks, _ = taps()
    for k in range(6000):
        tap.tick(beat(k), 1)
        tap.sample("infer", k)
        tap.sample(f"name {k}", k)
    tap.flush(0, force=True)
    (batch,) = ticks.poll()
    assert batch.work_ns.size < 6000
    assert len(batch.samples_ns) == 64
    lost = 2 * (6000 - batch.work_ns.size) + (6000 - batch.samples_ns["infer"].size) + 6000 - 63
    assert batch.counters["dropped"] == lost


def test_recording_is_cheap() -> None:
    tap, *_ = taps()
    start_ns = time.perf_counter_ns()
    for k in range(1000):
        tap.tick(beat(0), k)
        tap.sample("infer", k)
    assert (time.perf_counter_ns() - start_ns) / 1000 < 100_000  # ns a tick; about 1500 when idle


def test_the_same_complaint_is_heard_once_a_second_and_its_end_once() -> None:
    _, log, _, events = taps()
    for k in range(25):
        log.complain(k * 100 * NS_PER_MS, "camera", f"frozen for {k}")
    assert log.complain(0, "other", "at once")
    assert log.settle(3 * NS_PER_S, "camera", "back")
    assert not log.settle(3 * NS_PER_S, "camera", "back")
    said = events.poll()
    assert [e.kind for e in said] == ["camera", "camera", "camera", "other", "camera"]
    assert [e.data.get("repeated") for e in said[:3]] == [0, 9, 9]
    assert (said[-1].level, said[-1].text) == ("info", "back")
    assert all(e.valid and e.source == "s1" for e in said)


# The fold.


def tick(seq: int, t_ns: int, **changes: Any) -> Tick:
    fields: dict[str, Any] = {
        "seq": seq,
        "t_ns": t_ns,
        "source": "executor",
        "rate_hz": 200.0,
        "lateness_ns": np.full(20, 1000),
        "work_ns": np.full(20, 2000),
        "missed": 0,
    }
    return Tick(**(fields | changes))


def state(seq: int, t_ns: int, mode: Any = "hold", **changes: Any) -> RobotState:
    zero = np.zeros(7)
    return RobotState(
        seq=seq,
        t_ns=t_ns,
        q=zero,
        dq=zero,
        tau=zero,
        q_cmd=zero,
        dq_cmd=zero,
        ddq_cmd=zero,
        gripper_cmd=1.0,
        width_m=0.08,
        mode=mode,
        epoch=1,
        **changes,
    )


def conditioning(t_ns: int, refreshed: list[bool], macs: int) -> Conditioning:
    return Conditioning(
        t_ns=t_ns,
        latent=np.zeros((2, 4), np.float16),
        latent_id="x",
        instruction_id=1,
        t_capture_ns=0,
        frame_seq=0,
        version=[0, 0],
        age_frames=[0, 0],
        gate=[0.0, 0.0],
        refreshed=refreshed,
        macs=macs,
        macs_full=100,
        timings_ns={"vision": 5000},
    )


def test_rates_and_histograms_of_a_loop() -> None:
    summary = Summary()
    for k in range(50):
        summary.fold(k * 100 * NS_PER_MS, tick(k, k * 100 * NS_PER_MS, missed=k))
    loop = summary.loops["executor"]
    assert loop.rate.hz == pytest.approx(200.0)
    assert (loop.ticks, loop.missed, loop.lost, loop.restarts) == (1000, 49, 0, 0)
    assert loop.lateness.all.quantiles().p50 == pytest.approx(1000, rel=1 / 128)
    assert loop.work.recent.tolist() == [2000] * 1000
    assert loop.alive(50 * 100 * NS_PER_MS)
    assert not loop.alive(49 * 100 * NS_PER_MS + streams.TICK.max_age_ns + 1)


def test_counts_run_on_over_a_restart_and_lost_batches_are_counted() -> None:
    summary = Summary()
    summary.fold(0, tick(0, 0, missed=5, counters={"late": 2}))
    summary.fold(1, tick(3, 1, missed=6, counters={"late": 3}))
    summary.fold(2, tick(0, 2, missed=1, counters={"late": 1, "new": 1}))
    loop = summary.loops["executor"]
    assert (loop.missed, loop.lost, loop.restarts) == (7, 2, 1)
    assert loop.counters == {"late": 4, "new": 1}


def test_samples_become_series() -> None:
    summary = Summary()
    summary.fold(0, tick(0, 0, samples_ns={"infer": np.array([10, 20])}))
    summary.fold(1, tick(1, 1, samples_ns={"infer": np.array([30])}))
    series = summary.loops["executor"].samples["infer"]
    assert series.recent.tolist() == [10, 20, 30]
    assert series.all.n == 3


def test_modes_and_faults() -> None:
    summary = Summary()
    story = [("hold", {}), ("policy", {}), ("policy", {}), ("fault", {"fault": "arm silent"})]
    for k, (mode, changes) in enumerate(story):
        summary.fold(k, state(k, k * NS_PER_S, mode, **changes))
    summary.fold(9, state(4, 4 * NS_PER_S, "fault", fault="arm silent"))
    robot = summary.state
    assert [(m.before, m.after, m.reason) for m in robot.mode_changes] == [
        ("", "hold", ""),
        ("hold", "policy", ""),
        ("policy", "fault", "arm silent"),
    ]
    assert [text for _, text in robot.faults] == ["arm silent"]
    assert robot.time_in_mode_ns == {"hold": NS_PER_S, "policy": 2 * NS_PER_S, "fault": NS_PER_S}
    assert robot.rate.hz == pytest.approx(1.0)
    assert robot.fresh(4 * NS_PER_S)
    assert not robot.fresh(4 * NS_PER_S + streams.STATE.max_age_ns + 1)


def test_a_conflated_state_stream_still_tells_its_rate() -> None:
    summary = Summary()
    for k in range(10):
        summary.fold(k, state(20 * k, k * 100 * NS_PER_MS))
    assert summary.state.rate.hz == pytest.approx(200.0)


def test_refreshes_and_savings() -> None:
    summary = Summary()
    for k in range(10):
        refreshed = [k == 0, k % 5 == 0]
        summary.fold(k, conditioning(k * 100 * NS_PER_MS, refreshed, 100 if k == 0 else 20))
    seen = summary.conditioning
    assert (seen.frames, seen.refreshes) == (10, [1, 2])
    assert seen.macs_saved == pytest.approx(1 - 280 / 1000)
    assert seen.rate.hz == pytest.approx(10.0)
    assert seen.timings["vision"].all.n == 10


def test_nothing_heard_is_a_summary_too() -> None:
    summary = Summary()
    assert summary.conditioning.macs_saved == 0.0
    assert summary.state.rate.hz == 0.0
    assert not summary.state.fresh(0)


def test_the_collector_hears_everybody() -> None:
    hub, clock = LocalBus("console"), VirtualClock()
    collector = Collector(hub, clock)
    for source in ("executor", "s1"):
        bus = hub.named(source)
        tap = Tap(source, 0.0, bus.publisher(streams.TICK))
        tap.work(5)
        tap.flush(clock.now_ns())
        EventLog(source, bus.publisher(streams.EVENT)).say(0, "warn", "late", "too late")
    hub.named("executor").publisher(streams.STATE).send(state(0, 1, valid=True))
    message = conditioning(1, [True, True], 1)
    message.valid = True
    hub.named("s2").publisher(streams.CONDITIONING).send(message)
    summary = collector.poll()
    assert set(summary.loops) == {"executor", "s1"}
    assert summary.event_counts["s1", "late"] == 1
    assert isinstance(summary.events[0], Event)
    assert summary.state.newest is not None
    assert summary.conditioning.frames == 1
    assert collector.malformed == 0
