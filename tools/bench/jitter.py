"""`tandem bench jitter`: how late the executor wakes and sends, and who else does better or worse.

For every load and rate, again and again: the real executor on the simulated arm, then each pacing
idiom by itself, each with a real-time probe on that core at the same time. Orders turn from run to
run, so that nobody always meets the warm machine. Loads: nobody else (idle), System-2-like work on
every core (s2), or the whole shipped system at its task (system; the executor only).
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import TandemError
from tandem.tools.bench import (
    bars,
    children,
    cyclictest,
    figures,
    live,
    load,
    machine,
    output,
    paced,
    probe,
    runs,
    stalls,
)
from tandem.tools.bench.idioms import IDIOMS
from tandem.tools.bench.runs import Run

IDLE, S2, SYSTEM = "idle", "s2", "system"
LOADS = (IDLE, S2, SYSTEM)
TANDEM = "tandem"
CYCLICTEST = "cyclictest"
# The plainest grid loop at the executor's own scheduling: what scheduling alone is worth.
FIFO_TWIN = "absolute_sleep_fifo"
PEERS = (*IDIOMS, FIFO_TWIN)

_START_S = 60.0
_PROBE_SLACK_S = 120.0


@dataclass(frozen=True)
class Settings:
    seconds: float = 60.0
    repeats: int = 5
    rates: tuple[float, ...] = (200.0, 1000.0)
    loads: tuple[str, ...] = (IDLE, S2)
    cpu: int = 0  # the executor's core
    priority: int = 80
    idioms: bool = True

    @property
    def idiom_seconds(self) -> float:
        return max(2.0, self.seconds / 6)


Case = tuple[str, float]  # load, rate
Evaluated = dict[Case, dict[str, list[dict[str, Any]]]]  # per case and who: one entry a run


def measure(settings: Settings, tell: output.Tell) -> dict[str, Any]:
    """Run everything; the finished document."""
    for name in settings.loads:
        if name not in LOADS:
            raise TandemError(f"no load is called {name!r}; there are {', '.join(LOADS)}")
    stolen_s = machine.steal_s()
    evaluated: Evaluated = {}
    for repeat in range(settings.repeats):
        for name in _turned(settings.loads, repeat):
            with load.everywhere() if name == S2 else contextlib.nullcontext():
                for rate_hz in _turned(settings.rates, repeat):
                    tell(f"jitter: run {repeat + 1} of {settings.repeats}, {rate_hz:g} Hz, {name}")
                    _measure_case(settings, (name, rate_hz), repeat, evaluated)
    cases = [summarise(case, by_who) for case, by_who in sorted(evaluated.items())]
    body = {
        "settings": {**asdict(settings), "body_us": paced.BODY_NS / 1000},
        "stall": {
            "threshold_us": stalls.THRESHOLD_NS / 1000,
            "widened_us": probe.PERIOD_NS / 1000,
            "probe": f"{NS_PER_S // probe.PERIOD_NS} Hz, FIFO {probe.PRIORITY}, on the same core",
        },
        "aggregation": "counts: sum of runs; quantiles: median of runs; max: worst of runs",
        "stolen_s": machine.steal_s() - stolen_s,
        "cases": cases,
    }
    return output.document("jitter", settings.repeats, body, bars.jitter(cases))


def summarise(case: Case, by_who: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """One case: Tandem's figures flat, everyone else's under their names."""
    name, rate_hz = case
    ours = by_who[TANDEM]
    peers = {who: runs.combine(by_who[who]) for who in PEERS if who in by_who}
    cross = [found["wake_us"] for found in by_who.get(CYCLICTEST, [])]
    return {
        "load": name,
        "rate_hz": rate_hz,
        **runs.combine(ours),
        "probe": {"wake_us": figures.pooled(run["probe_us"] for run in ours)},
        **peers,
        **({CYCLICTEST: {"wake_us": figures.pooled(cross)}} if cross else {}),
        "runs_detail": ours,
    }


def _measure_case(settings: Settings, case: Case, repeat: int, evaluated: Evaluated) -> None:
    name, rate_hz = case
    by_who = evaluated.setdefault(case, {})
    by_who.setdefault(TANDEM, []).append(_tandem(settings, rate_hz, name == SYSTEM))
    if not settings.idioms or name == SYSTEM:  # that load is the daemon, and it has ended
        return
    for who in _turned(PEERS, repeat):
        by_who.setdefault(who, []).append(runs.evaluate(_peer(settings, who, rate_hz)))
    if cyclictest.installed() and machine.fifo_granted():
        wake_us = cyclictest.measure(settings.cpu, settings.idiom_seconds)
        by_who.setdefault(CYCLICTEST, []).append({"wake_us": wake_us})


def _tandem(settings: Settings, rate_hz: float, whole: bool) -> dict[str, Any]:
    """The real executor, moving the simulated arm along real chunks, for one run."""
    wanted = live.Wanted(rate_hz, settings.cpu, settings.priority, whole=whole)
    with (
        live.system(wanted) as system,
        _probe(settings.cpu, settings.seconds) as probed,
    ):
        recording = system.record(settings.seconds)
        run = Run(rate_hz, recording.stamps, probed(), recording.cpu_share)
        return {**runs.evaluate(run), "granted": recording.granted}


def _peer(settings: Settings, who: str, rate_hz: float) -> Run:
    """One idiom in a process of its own: scheduled as its project leaves it, or as we are."""
    fifo = who == FIFO_TWIN
    idiom = "absolute_sleep" if fifo else who
    scheduling = (settings.cpu, settings.priority if machine.fifo_granted() else 0)
    if not fifo:
        scheduling = (-1, 0)
    seconds = settings.idiom_seconds
    with tempfile.TemporaryDirectory(prefix="tandem-paced-", dir="/dev/shm") as folder:
        path = Path(folder) / "stamps.npz"
        command = children.module("paced", idiom, rate_hz, seconds, path, *scheduling)
        with _probe(settings.cpu, seconds) as probed:
            with children.child(command, ready_s=_START_S) as process:
                children.finish(process, seconds + _START_S)
            stamps, cpu_share = paced.load(str(path), idiom, rate_hz)
            return Run(rate_hz, stamps, probed(), cpu_share)


@contextlib.contextmanager
def _probe(cpu: int, seconds: float) -> Iterator[Any]:
    """A function that reads the running probe; it answers None where real time is refused."""
    if not machine.fifo_granted():
        yield lambda: None
        return
    with probe.running(cpu, seconds + _PROBE_SLACK_S) as running:
        yield running.read


def _turned(values: Sequence[Any], by: int) -> list[Any]:
    turn = by % len(values) if values else 0
    return [*values[turn:], *values[:turn]]
