"""The numbers of a run as Prometheus metrics. Names carry base units; totals only ever count up."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.messages import Mode
from tandem.runtime.metrics import BOUNDS_NS, ChildNumbers, Counts, LoopNumbers, Numbers

_EDGES = tuple(f"{bound / NS_PER_S:g}" for bound in BOUNDS_NS)
_CHUNKS, _ENTERED, _REFRESH = "chunks_", "entered_", "refresh "
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_JIFFIES_PER_S = os.sysconf("SC_CLK_TCK")

Loops = Iterable[tuple[str, LoopNumbers]]


def families(numbers: Numbers, supervisor_pid: int) -> Iterator[Metric]:
    """Every metric of one moment; also reads /proc, so call it outside the supervisor's loop."""
    loops = sorted(numbers.loops.items())
    info = InfoMetricFamily("tandem", "Which robot this is.")
    info.add_metric([], {"robot": numbers.robot})
    yield info
    yield from _timing(loops)
    yield from _counting(loops, numbers)
    yield from _robot(numbers)
    yield from _system2(numbers)
    yield from _processes([ChildNumbers("supervisor", supervisor_pid, True, 1), *numbers.children])


def _timing(loops: Loops) -> Iterator[Metric]:
    late = HistogramMetricFamily(
        "tandem_loop_lateness_seconds", "Wake minus due, of every tick.", labels=["loop"]
    )
    work = HistogramMetricFamily(
        "tandem_loop_work_seconds", "Time that every turn worked.", labels=["loop"]
    )
    stage = HistogramMetricFamily(
        "tandem_stage_seconds",
        "Latencies that a loop measured: send (due to sent), camera_command and its stages, …",
        labels=["loop", "stage"],
    )
    late_max = _gauge("tandem_loop_lateness_max_seconds", "Latest wake since the start.", "loop")
    work_max = _gauge("tandem_loop_work_max_seconds", "Longest turn since the start.", "loop")
    stage_max = _gauge("tandem_stage_max_seconds", "Longest since the start.", "loop", "stage")
    for name, loop in loops:
        both = ((late, late_max, loop.lateness), (work, work_max, loop.work))
        for family, largest, counts in both:
            if counts.n:
                _histogram(family, [name], counts)
                largest.add_metric([name], counts.max_s)
        for what, counts in sorted(loop.stages.items()):
            _histogram(stage, [name, _word(what)], counts)
            stage_max.add_metric([name, _word(what)], counts.max_s)
    yield from (late, late_max, work, work_max, stage, stage_max)


def _counting(loops: Loops, numbers: Numbers) -> Iterator[Metric]:
    rate = _gauge("tandem_loop_rate_hertz", "Rate over the last seconds.", "loop")
    asked = _gauge("tandem_loop_rate_asked_hertz", "Rate asked for, 0: paced by data.", "loop")
    ticks = _counter("tandem_loop_ticks", "Turns.", "loop")
    missed = _counter("tandem_loop_missed_ticks", "Ticks skipped.", "loop")
    lost = _counter("tandem_loop_telemetry_lost", "Batches that never came.", "loop")
    chunks = _counter("tandem_chunks", "What became of chunks of actions.", "outcome")
    entered = _counter("tandem_mode_entries", "How often a mode was entered.", "mode")
    refreshes = _counter("tandem_cache_refreshes", "System 2's cache, per level.", "level")
    other = _counter("tandem_loop_counts", "Everything else that a loop counts.", "loop", "what")
    gauges = _gauge("tandem_loop_gauge", "Everything else that a loop measures.", "loop", "what")
    events = _counter("tandem_events", "Events heard.", "source", "kind")
    kinds = ((_CHUNKS, chunks), (_ENTERED, entered), (_REFRESH, refreshes))
    faults = 0
    for name, loop in loops:
        rate.add_metric([name], loop.rate_hz)
        asked.add_metric([name], loop.asked_hz)
        ticks.add_metric([name], loop.ticks)
        missed.add_metric([name], loop.missed)
        lost.add_metric([name], loop.lost)
        faults += loop.counters.get(f"{_ENTERED}fault", 0)
        for what, total in sorted(loop.counters.items()):
            known = next((f for prefix, f in kinds if what.startswith(prefix)), None)
            if known is None:
                other.add_metric([name, _word(what)], total)
            else:
                known.add_metric([_after_prefix(what)], total)
        for what, value in sorted(loop.gauges.items()):
            gauges.add_metric([name, _word(what)], value)
    for (source, kind), total in sorted(numbers.events.items()):
        events.add_metric([source, kind], total)
    yield from (rate, asked, ticks, missed, lost, chunks, entered, refreshes, other, gauges, events)
    yield CounterMetricFamily("tandem_faults", "Faults latched.", value=faults)


def _robot(numbers: Numbers) -> Iterator[Metric]:
    mode = _gauge("tandem_mode", "1 for the mode that the executor is in.", "mode")
    for name in get_args(Mode):
        mode.add_metric([name], numbers.mode == name)
    yield mode
    yield GaugeMetricFamily("tandem_operator", "1 while an operator has it.", numbers.operator)
    if numbers.pace is not None:
        yield GaugeMetricFamily("tandem_pace_ratio", "Pace of the chunk's clock.", numbers.pace)
    if numbers.state_age_s is not None:
        yield GaugeMetricFamily(
            "tandem_state_age_seconds",
            "Age of the newest state; looked for ten times a second.",
            numbers.state_age_s,
        )


def _system2(numbers: Numbers) -> Iterator[Metric]:
    if numbers.conditioning_age_s is None:
        return
    yield GaugeMetricFamily(
        "tandem_conditioning_age_seconds",
        "Since mid-exposure of the newest image that System 2 understood.",
        numbers.conditioning_age_s,
    )
    gate = _gauge("tandem_cache_gate_ratio", "Recache score, 0 … 1.", "level")
    for level, score in enumerate(numbers.gate, 1):
        gate.add_metric([f"L{level}"], score)
    yield gate
    yield CounterMetricFamily("tandem_cache_frames", "Images understood.", value=numbers.frames)
    yield CounterMetricFamily(
        "tandem_trunk_multiply_adds", "Spent by System 2's trunk.", value=numbers.macs
    )
    yield CounterMetricFamily(
        "tandem_trunk_multiply_adds_uncached", "Without the cache.", value=numbers.macs_full
    )
    if numbers.macs_full:
        yield GaugeMetricFamily(
            "tandem_cache_saved_ratio",
            "Share of the trunk's multiply-adds that the cache has saved.",
            1 - numbers.macs / numbers.macs_full,
        )


def _processes(children: Iterable[ChildNumbers]) -> Iterator[Metric]:
    up = _gauge("tandem_process_up", "1 while the process is ready.", "role")
    restarts = _counter("tandem_process_restarts", "Starts after the first one.", "role")
    memory = _gauge("tandem_process_resident_memory_bytes", "Resident memory.", "role")
    cpu = _counter("tandem_process_cpu_seconds", "Processor time of this life.", "role")
    for child in children:
        up.add_metric([child.role], child.ready)
        restarts.add_metric([child.role], max(child.starts - 1, 0))
        used = _used(child.pid)
        if used is not None:
            memory.add_metric([child.role], used[0])
            cpu.add_metric([child.role], used[1])
    yield from (up, restarts, memory, cpu)


def _used(pid: int | None) -> tuple[int, float] | None:
    """Resident bytes and processor seconds; None when the process is gone."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(facts[21]) * _PAGE_BYTES, (int(facts[11]) + int(facts[12])) / _JIFFIES_PER_S


def _histogram(family: HistogramMetricFamily, labels: list[str], counts: Counts) -> None:
    buckets = [*zip(_EDGES, counts.within, strict=True), ("+Inf", counts.n)]
    family.add_metric(labels, buckets, counts.total_s)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)


def _after_prefix(what: str) -> str:
    """`chunks_joined` → joined, `refresh L1` → L1."""
    return next(what.removeprefix(p) for p in (_CHUNKS, _ENTERED, _REFRESH) if what.startswith(p))


def _word(what: str) -> str:
    """A loop's own name for what it measures, as one word."""
    return what.replace(": ", "_").replace(" ", "_")
