"""What a run was like, at its end: one picture, as a table for people and as JSON for scripts.

The JSON's keys are an interface: renaming one is a change that users see.
"""

import json
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.histogram import Histogram
from tandem.runtime.summary import LoopSummary, Summary

_SHOWN_MODE_CHANGES = 8
_FILE_WIDTH = 110


def build(
    summary: Summary,
    robot: str,
    duration_s: float,
    plant: dict[str, Any] | None = None,
    tasks: list[dict[str, Any]] | None = None,
    restarts: dict[str, int] | None = None,
) -> dict[str, Any]:
    """The report as plain data. Times in milliseconds, seams in rad, rad/s, rad/s²."""
    return {
        "robot": robot,
        "duration_s": round(duration_s, 3),
        "loops": {name: _loop(loop) for name, loop in sorted(summary.loops.items())},
        "latency_ms": _latencies(summary),
        "s2": _s2(summary),
        "chunks": _prefixed(_executor(summary).counters, "chunks_"),
        "seams": _prefixed(_executor(summary).gauges, "seam_"),
        "plant": plant,
        "modes": _modes(summary),
        "faults": [text for _, text in summary.state.faults],
        "events": {f"{s}.{k}": n for (s, k), n in sorted(summary.event_counts.items())},
        "restarts": restarts or {},
        "tasks": _tasks(tasks or []),
    }


def _executor(summary: Summary) -> LoopSummary:
    return summary.loops.get("executor") or LoopSummary()


def _prefixed(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}


def _loop(loop: LoopSummary) -> dict[str, Any]:
    late, work = loop.lateness.all, loop.work.all
    return {
        "asked_hz": loop.rate_hz,
        "rate_hz": round(loop.rate.hz, 2),
        "ticks": loop.ticks,
        "missed_ticks": loop.missed,
        "lateness_ms": _quantiles(late) if late.n else None,
        "work_ms": _quantiles(work) if work.n else None,
        "counters": loop.counters,
        "gauges": loop.gauges,
        "telemetry_lost": loop.lost,
    }


def _quantiles(histogram: Histogram) -> dict[str, float]:
    q = histogram.quantiles()
    values = {"p50": q.p50, "p99": q.p99, "p999": q.p999, "max": q.max}
    return {"n": q.n} | {name: round(value / NS_PER_MS, 4) for name, value in values.items()}


def _latencies(summary: Summary) -> dict[str, dict[str, float]]:
    """Every stage that anyone measured, from camera to command, by loop and name."""
    stages = {f"s2.{name}": series for name, series in summary.conditioning.timings.items()}
    for source, loop in summary.loops.items():
        stages |= {f"{source}.{name}": series for name, series in loop.samples.items()}
    return {name: _quantiles(series.all) for name, series in sorted(stages.items())}


def _s2(summary: Summary) -> dict[str, Any] | None:
    heard = summary.conditioning
    if heard.frames == 0:
        return None
    own = summary.loops["s2"].counters if "s2" in summary.loops else {}
    # Its first words, with which every level is refreshed, may come before we listen; it counts on.
    refreshes = [max(n, own.get(f"refresh L{i}", 0)) for i, n in enumerate(heard.refreshes, 1)]
    return {
        "rate_hz": round(heard.rate.hz, 2),
        "frames": heard.frames,
        "refreshes": refreshes,
        "macs_saved": round(heard.macs_saved, 4) if heard.macs_full else None,
    }


def _modes(summary: Summary) -> dict[str, Any]:
    state = summary.state
    return {
        "seconds": {m: round(ns / NS_PER_S, 2) for m, ns in state.time_in_mode_ns.items()},
        "changes": [
            {"t_s": change.t_ns / NS_PER_S, "to": change.after, "reason": change.reason}
            for change in state.mode_changes
        ],
    }


def _tasks(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    done = [task for task in tasks if task["success"] is not None]
    return {
        "tried": len(done),
        "succeeded": sum(bool(task["success"]) for task in done),
        "list": tasks,
    }


def write(report: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(report, indent=2) + "\n")


def show(report: dict[str, Any], console: Console | None = None) -> None:
    """Print it for people."""
    parts = [_loops_table(report["loops"])]
    if report["latency_ms"]:
        parts.append(_latency_table(report["latency_ms"]))
    parts.append(_facts_table(report))
    (console or _console()).print(Group(*parts))


def _console() -> Console:
    """As wide as the terminal; in a file or pipe as wide as the widest table."""
    return Console() if Console().is_terminal else Console(width=_FILE_WIDTH)


def _loops_table(loops: dict[str, Any]) -> Table:
    table = _table("loops: how late they woke and how long they worked, in ms")
    for name in ("loop", "Hz", "of", "ticks", "missed"):
        table.add_column(name, justify="left" if name == "loop" else "right")
    for name in ("late p50", "p99", "p99.9", "max", "work p50", "p99", "max"):
        table.add_column(name, justify="right")
    for name, loop in loops.items():
        asked = f"{loop['asked_hz']:.0f}" if loop["asked_hz"] else "data"
        late = _cells(loop["lateness_ms"], ("p50", "p99", "p999", "max"))
        work = _cells(loop["work_ms"], ("p50", "p99", "max"))
        counts = (str(loop["ticks"]), str(loop["missed_ticks"]))
        table.add_row(name, f"{loop['rate_hz']:.1f}", asked, *counts, *late, *work)
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))


def _latency_table(stages: dict[str, Any]) -> Table:
    table = _table("latency by stage, in ms")
    table.add_column("stage")
    for name in ("n", "p50", "p99", "p99.9", "max"):
        table.add_column(name, justify="right")
    for name, stage in stages.items():
        table.add_row(name, str(stage["n"]), *_cells(stage, ("p50", "p99", "p999", "max")))
    return table


def _cells(values: dict[str, float] | None, names: tuple[str, ...]) -> list[str]:
    return [f"{values[name]:.2f}" if values else "–" for name in names]


def _facts_table(report: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("duration", f"{report['duration_s']:.1f} s")
    s2 = report["s2"]
    if s2:
        refreshes = ", ".join(f"L{i} {n}" for i, n in enumerate(s2["refreshes"], 1))
        table.add_row("S2", f"{s2['rate_hz']:.1f} Hz, {s2['frames']} frames, refreshed {refreshes}")
        if s2["macs_saved"] is not None:
            saved = f"{s2['macs_saved']:.1%} of the trunk's multiply-adds"
            table.add_row("work saved by cache", saved)
    if report["chunks"]:
        table.add_row("chunks", _pairs(report["chunks"]))
    for kind, what in (("raw", "as planned"), ("sent", "as commanded")):
        steps = {n: v for n, v in report["seams"].items() if n.startswith(kind)}
        if steps:
            table.add_row(f"largest seam {what}", _seam_text(steps, kind))
    for name, loop in report["loops"].items():
        counts = {n: v for n, v in loop["counters"].items() if not n.startswith("chunks_")}
        if counts:
            table.add_row(f"{name} counts", _pairs(counts))
    if report["plant"]:
        table.add_row("plant, of its limits", _plant_text(report["plant"]))
    table.add_row("seconds in mode", _pairs(report["modes"]["seconds"]) or "–")
    changes = report["modes"]["changes"]
    if changes:
        table.add_row("mode changes", _changes_text(changes))
    table.add_row("faults", "; ".join(report["faults"]) or "none")
    if report["restarts"]:
        table.add_row("restarts", _pairs(report["restarts"]))
    tasks = report["tasks"]
    if tasks["tried"]:
        table.add_row("tasks", f"{tasks['succeeded']} of {tasks['tried']} done")
    return table


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _seam_text(steps: dict[str, float], kind: str) -> str:
    q, dq, ddq = (steps.get(f"{kind}_{n}", 0.0) for n in ("q_rad", "dq_rad_s", "ddq_rad_s2"))
    return f"{q * 1e3:.3g} mrad, {dq:.3g} rad/s, {ddq:.3g} rad/s²"


def _changes_text(changes: list[dict[str, Any]]) -> str:
    newest = " → ".join(change["to"] for change in changes[-_SHOWN_MODE_CHANGES:])
    before = len(changes) - _SHOWN_MODE_CHANGES
    return f"{len(changes)}: {'… → ' if before > 0 else ''}{newest}"


def _plant_text(plant: dict[str, Any]) -> str:
    shares = ", ".join(
        f"{name} {plant[f'{name}_share']:.1%}" for name in ("velocity", "acceleration", "jerk")
    )
    return f"{shares} (finite differences of {plant['samples']} set-points at plant rate)"
