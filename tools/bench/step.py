"""`tandem bench step`: what a tick of the executor costs, part by part, in the running system."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table
from tandem.runtime.messages import Tick
from tandem.tools.bench import figures, live, output
from tandem.tools.bench.instrumented import AFTERWARDS, PREFIX, TIMED

WHOLE = "whole tick"
SHOWN = (*TIMED, "rest", *AFTERWARDS)
_WHAT = {
    "read": "Arm.read",
    "listen": "poll requests and the operator",
    "decide": "modes, engagement, watch-dogs",
    "plan": "chunk interpolant at the chunk clock",
    "follow": "Ruckig",
    "limit": "range, speed and tool limits, the gate",
    "send": "Arm.send",
    "rest": "everything between the parts",
    "publish": "state, telemetry, events",
    "join": "poll the task and chunks, join them to the plan",
    WHOLE: "wake to record made, without telling it",
}


@dataclass(frozen=True)
class Settings:
    seconds: float = 60.0
    rate_hz: float = 1000.0
    cpu: int = 0
    priority: int = 80


def measure(settings: Settings, tell: output.Tell) -> dict[str, Any]:
    """Run it; the finished document."""
    tell(f"step: {settings.seconds:g} s at {settings.rate_hz:g} Hz")
    wanted = live.Wanted(settings.rate_hz, settings.cpu, settings.priority, "parts")
    with live.system(wanted) as system:
        recording = system.record(settings.seconds)
    body = {"settings": asdict(settings), **analyse(recording.batches)}
    body["cpu_share"] = recording.cpu_share
    return output.document("step", 1, body, [])


def analyse(batches: Sequence[Tick]) -> dict[str, Any]:
    """{ticks, parts_us: {part: summary}} of batches whose samples carry the parts."""
    parts = {part: _joined(batches, PREFIX + part) for part in SHOWN}
    work_ns = np.concatenate([batch.work_ns for batch in batches]) if batches else np.zeros(0)
    return {
        "ticks": len(work_ns),
        "parts_us": {
            **{part: figures.summary_us(values) for part, values in parts.items()},
            WHOLE: figures.summary_us(work_ns),
        },
    }


def table(result: dict[str, Any]) -> Table:
    settings = result["settings"]
    title = f"a tick of the executor at {settings['rate_hz']:g} Hz, µs, {result['ticks']} ticks"
    shown = output.figure_table(title, "part", ("p50", "p99", "p99.9", "max", "what"))
    for part, summary in result["parts_us"].items():
        cells = [output.number(summary[name]) for name in ("p50", "p99", "p999", "max")]
        shown.add_row(part, *cells, _WHAT[part])
    return shown


def _joined(batches: Sequence[Tick], name: str) -> np.ndarray:
    found = [batch.samples_ns[name] for batch in batches if name in batch.samples_ns]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
