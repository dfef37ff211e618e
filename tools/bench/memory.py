"""`tandem bench memory`: does the executor grow? Resident memory over minutes at 1 kHz, GC off.

Two views at once: what the kernel holds for the process (smaps_rollup), and how many blocks its
allocator has handed out, as an instrumented executor reports it. The first can grow by touching
pages that were always there; the second cannot.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import TandemError
from tandem.tools.bench import bars, figures, live, output
from tandem.tools.bench.instrumented import BLOCKS

_KEYS = ("Rss", "Pss_Anon", "Private_Dirty")
_WARM_UP = 0.2  # share of the run that caches and pools may fill
_SAMPLES = 720


@dataclass(frozen=True)
class Settings:
    minutes: float = 60.0
    rate_hz: float = 1000.0
    cpu: int = 0
    priority: int = 80

    @property
    def every_s(self) -> float:
        return max(0.2, self.minutes * 60 / _SAMPLES)


def measure(settings: Settings, tell: output.Tell) -> dict[str, Any]:
    """Run it; the finished document."""
    samples: list[dict[str, float]] = []
    engaged_again = 0  # an hour on a shared machine has stalls that end in hold
    wanted = live.Wanted(settings.rate_hz, settings.cpu, settings.priority, "blocks")
    with live.system(wanted) as system:
        end_s = time.monotonic() + settings.minutes * 60
        tell(f"memory: {settings.minutes:g} min at {settings.rate_hz:g} Hz")
        while time.monotonic() < end_s:
            gauges = system.watch(settings.every_s)
            samples.append(
                {**resident_kib(system.pid), **_blocks(gauges), "t_ns": time.monotonic_ns()}
            )
            engaged_again += system.go_on()
    body = {
        "settings": asdict(settings),
        "engaged_again": engaged_again,
        **analyse(samples),
    }
    return output.document("memory", 1, body, bars.memory(body))


def resident_kib(pid: int) -> dict[str, float]:
    """Sums over all mappings of `pid`, KiB.

    Raises:
        TandemError: the process has gone, or belongs to another user.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError as error:
        raise TandemError(f"the memory of process {pid} cannot be read: {error}") from error
    return parse_rollup(text)


def parse_rollup(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines()[1:]:
        key, _, rest = line.partition(":")
        if key in _KEYS:
            found[key.lower() + "_kib"] = float(rest.split()[0])
    return found


def analyse(samples: list[dict[str, float]]) -> dict[str, Any]:
    """{samples, rss, pss_anon, private_dirty, python_blocks}: first, last and growth per hour.

    Growth is the Theil–Sen slope after the warm-up. A thing that was not reported is None.
    """
    if not samples:
        raise TandemError("no sample was taken; measure for longer")
    start_ns = samples[0]["t_ns"]
    span_ns = samples[-1]["t_ns"] - start_ns
    steady = [s for s in samples if s["t_ns"] - start_ns >= _WARM_UP * span_ns]
    names = {"rss": "rss_kib", "pss_anon": "pss_anon_kib", "private_dirty": "private_dirty_kib"}
    kept = {name: _trend(steady, key, "kib") for name, key in names.items()}
    return {
        "samples": len(samples),
        "minutes_steady": (steady[-1]["t_ns"] - steady[0]["t_ns"]) / (60 * NS_PER_S),
        **kept,
        BLOCKS: _trend(steady, BLOCKS, "blocks"),
    }


def table(result: dict[str, Any]) -> Table:
    title = f"memory of the executor, {output.number(result['minutes_steady'])} min steady"
    shown = output.figure_table(title, "what", ("first", "last", "growth per hour"))
    for name, unit in (
        ("rss", "kib"),
        ("pss_anon", "kib"),
        ("private_dirty", "kib"),
        (BLOCKS, "blocks"),
    ):
        trend = result[name]
        if trend is None:
            shown.add_row(name, "–", "–", "not reported")
            continue
        cells = [output.number(trend[f"{end}_{unit}"]) for end in ("first", "last")]
        shown.add_row(f"{name} [{unit}]", *cells, output.number(trend[f"growth_{unit}_per_hour"]))
    return shown


def _trend(samples: list[dict[str, float]], key: str, unit: str) -> dict[str, float] | None:
    there = [(s["t_ns"], s[key]) for s in samples if key in s]
    if not there:
        return None
    t_ns, values = np.array(there, dtype=np.float64).T
    slope = figures.slope_per_hour(*figures.thinned(t_ns, values))
    return {
        f"first_{unit}": float(values[0]),
        f"last_{unit}": float(values[-1]),
        f"growth_{unit}_per_hour": slope,
    }


def _blocks(gauges: dict[str, float]) -> dict[str, float]:
    return {BLOCKS: gauges[BLOCKS]} if BLOCKS in gauges else {}
