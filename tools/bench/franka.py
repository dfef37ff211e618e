"""`tandem bench franka`: set-points that a Franka loses of ours, beside the vendor's own example.

The robot is emulated, on the wall clock, and counts; every core works as System 2 does meanwhile.
Runs take turns: the daemon (supervisor, System 1, executor, driver, vendor's library), then the
bare loop of the vendor's example through the same library, pinned and scheduled alike. What a probe
saw the machine take from everybody is left out in both.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import RefusedError, TandemError
from tandem.tools.bench import bars, children, load, machine, output, probe, stalls
from tandem.tools.faults.rig import Rig
from tandem.tools.fci_emulator import desk
from tandem.tools.fci_emulator.process import fresh_host, serving

OURS, BARE = "tandem", "vendor's example"
_ROBOT_BELOW = 5  # the robot's priority below the loops': its core is another one
_START_S, _SETTLE_S, _LOOK_S = 60.0, 3.0, 1.0
_STALL_NS = 15 * NS_PER_MS  # so long a stall may cost the robot its patience
_BACK_NS = 25 * NS_PER_MS  # from a stall to the reflex that it causes
_WAY_NS = 3 * NS_PER_MS  # from a set-point that is due to its loss


@dataclass(frozen=True)
class Settings:
    repeats: int = 5
    seconds: float = 60.0
    cpu: int = 0
    priority: int = 80
    loaded: bool = True


def measure(settings: Settings, tell: output.Tell) -> dict[str, Any]:
    """Run everything; the finished document. Raises TandemError: something does not start."""
    by_who: dict[str, list[dict[str, Any]]] = {OURS: [], BARE: []}
    for repeat in range(settings.repeats):
        order = (OURS, BARE) if repeat % 2 == 0 else (BARE, OURS)
        for who in order:
            tell(f"franka: {who}, run {repeat + 1} of {settings.repeats}")
            by_who[who].append(_run(settings, who))
    cases = {who: combine(runs) for who, runs in by_who.items()}
    ours, bare = (cases[who]["lost_per_minute"]["p50"] for who in (OURS, BARE))
    body = {
        "settings": vars(settings),
        "cases": cases,
        "ratio": ours / bare if bare else None,
        "runs_detail": by_who,
    }
    return output.document("franka", settings.repeats, body, bars.franka(cases[OURS], cases[BARE]))


def combine(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median and p99 (of few runs: the worst) of what was lost a minute, and sums of the rest."""
    return {
        "lost_per_minute": _spread([run["lost_per_minute"] for run in runs]),
        "lost_in_all_per_minute": _spread([run["lost_in_all_per_minute"] for run in runs]),
        "longest_loss": max(run["longest_loss"] for run in runs),
        "reflexes": sum(run["reflexes"] for run in runs),
        "reflexes_outside_stalls": sum(run["reflexes_outside_stalls"] for run in runs),
        "stalled_share": float(np.median([run["stalled_share"] for run in runs])),
        "violations": {k: v for run in runs for k, v in run["violations"].items()},
    }


def table(result: dict[str, Any]) -> Table:
    names = (
        "lost a minute p50", "p99", "with stalls p50", "in a row", "reflexes", "outside stalls",
        "stalled %",
    )  # fmt: skip
    shown = output.figure_table("set-points that the robot lost of a 1 kHz loop", "who", names)
    for who, case in result["cases"].items():
        lost, everything = case["lost_per_minute"], case["lost_in_all_per_minute"]
        cells = (
            lost["p50"], lost["p99"], everything["p50"], case["longest_loss"], case["reflexes"],
            case["reflexes_outside_stalls"], 100 * case["stalled_share"],
        )  # fmt: skip
        shown.add_row(who, *map(output.number, cells))
    return shown


def evaluate(
    log: Sequence[tuple[str, int]], packets: int, spans: np.ndarray, window: tuple[int, int]
) -> dict[str, Any]:
    """`log`: ("lost" or "reflex", ns), `packets` due, `spans` [N, 2] in which a core stood still.

    What was lost is counted per minute of commanded motion.
    """
    lost = np.array([ns for kind, ns in log if kind == "lost"], np.int64)
    reflex = np.array([ns for kind, ns in log if kind == "reflex"], np.int64)
    long = spans[(spans[:, 1] - spans[:, 0]) >= _STALL_NS]
    excused = int(stalls.overlap(lost - _WAY_NS, lost, spans).sum())
    reflex_excused = int(stalls.overlap(reflex - _BACK_NS, reflex, long).sum())
    minutes = max(packets, 1) / 60_000
    return {
        "packets": packets,
        "lost_in_all_per_minute": len(lost) / minutes,
        "lost_per_minute": (len(lost) - excused) / minutes,
        "reflexes": len(reflex),
        "reflexes_outside_stalls": len(reflex) - reflex_excused,
        "stalled_share": stalls.share(spans, *window),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"p50": float(np.median(values)), "p99": float(np.quantile(values, 0.99)),
            "max": max(values)}  # fmt: skip


# -- one run ---------------------------------------------------------------------------------------


def _run(settings: Settings, who: str) -> dict[str, Any]:
    host = fresh_host()
    with contextlib.ExitStack() as stack:
        stack.enter_context(serving(host, *_robot(settings)))
        if settings.loaded:
            stack.enter_context(load.everywhere())
        client = _daemon if who == OURS else _bare
        again = stack.enter_context(client(settings, host))
        time.sleep(_SETTLE_S)
        probes = [
            stack.enter_context(probe.running(cpu, settings.seconds + 5.0))
            for cpu in range(machine.cores())
        ]
        before, begin_ns = _begin(host), time.monotonic_ns()
        while time.monotonic_ns() - begin_ns < settings.seconds * 1e9:
            time.sleep(_LOOK_S)
            if not desk.ask(host, do="report")["motion"]:
                again()
        end_ns, after = time.monotonic_ns(), desk.ask(host, do="report")
        log = [(kind, ns) for kind, ns in desk.ask(host, do="log")["log"]]
        spans = _stalls([seen.read() for seen in probes])
    packets = sum(after[key] - before[key] for key in ("received", "lost"))
    found = evaluate(log, packets, spans, (begin_ns, end_ns))
    return {**found, "longest_loss": after["longest_loss"], "violations": after["violations"]}


def _robot(settings: Settings) -> tuple[str, ...]:
    """On another core than the loops, and below them."""
    priority = max(settings.priority - _ROBOT_BELOW, 1) if machine.fifo_granted() else 0
    return "--cpu", str((settings.cpu + 1) % machine.cores()), "--priority", str(priority)


def _begin(host: str) -> dict[str, Any]:
    desk.ask(host, do="log")  # and forget
    return desk.ask(host, do="report")


def _stalls(stamps: Sequence[Any]) -> np.ndarray:
    """Of any core: robot and loop sit on different ones."""
    found = [stalls.find(s.due_ns, s.wake_ns, stalls.THRESHOLD_NS, probe.PERIOD_NS) for s in stamps]
    return stalls.merge(np.concatenate(found))


@contextlib.contextmanager
def _daemon(settings: Settings, host: str) -> Iterator[Any]:
    """`tandem run` with a System 1 that never rests; gives a way to engage it again."""
    options = {"hand": False, "collision": {}, "load": {"mass_kg": 0}}
    arm = {"driver": "franka_fr3", "host": host, "access": "move", "options": options}
    limits = {"file": "limits/fr3.yaml", "tool_speed_m_s": 0.6}
    config = {
        "schema": 1,
        "robot": {"name": "bench_fr3", "arm": arm, "limits": limits},
        "s1": {"policy": "tandem.tools.faults.sweep:LoneSweepS1"},
        "executor": {"rate_hz": 1000, "priority": settings.priority, "cpu": settings.cpu},
    }
    with Rig(config) as rig:

        def engage() -> None:
            rig.until(rig.is_ready, _START_S, "ready")
            rig.until(lambda: rig.mode() in ("hold", "policy", "fault"), _START_S, "there")
            if rig.mode() == "fault":
                with contextlib.suppress(TandemError):
                    rig.reset()
                rig.until(lambda: rig.mode() == "hold", _START_S, "holding again")
            rig.go()
            rig.until(lambda: rig.mode() == "policy", _START_S, "moving")

        def engage_again() -> None:
            """The executor may just be replaced, after a fault: then the next look tries anew."""
            with contextlib.suppress(RefusedError):
                engage()

        engage()
        yield engage_again


@contextlib.contextmanager
def _bare(settings: Settings, host: str) -> Iterator[Any]:
    """The vendor's example, which recovers by itself."""
    command = children.module("franka_bare", host, settings.cpu, settings.priority)
    with children.child(command, ready_s=_START_S):
        yield lambda: None
