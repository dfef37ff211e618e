"""The executor on both emulated Frankas in lockstep: long random motions, and faults in any mode.

`python -m tests.drivers.franka_campaign [paths|faults] [--seconds 60] [--rounds 50] [--kind fr3]
[--control velocity]`
prints a line a run; the exit status is the number of runs in which anything was not as it must be.

paths: random plans from random starts; clean, with the robot's clock at another rate, with packets
lost in bursts. The robot judges every millisecond of what it was commanded.
faults: the robot must not be commanded any more 50 ms after its last fresh state (or the fault),
somebody must be told within 1.5 s, and nothing may move it until a reset on purpose.
"""

import argparse
import sys
import time

import numpy as np
from tandem.runtime.clock import NS_PER_MS

from tests.drivers.franka_rig import BY_VELOCITY, MODELS, PATIENCE_S, Cell, SkewedClock, emulator

CONDITIONS = [(1.0, 0.0), (1.0005, 0.0), (1.0, 0.01), (1.0, 0.05)]  # clock, share lost
RUNS = [
    (kind, control, *condition)
    for kind in ("fr3", "fer")
    for control in ("position", "velocity")
    for condition in CONDITIONS
]
_OFF_PLAN_RAD = 0.1  # limits and losses put the arm behind a plan, and never farther
_OFF_SET_POINT_RAD = 2e-5  # what the robot makes of its commands, beside ours
LINE = (
    "{kind:4} {control} clock {speed:6g} lost {share:3.0%} | {seconds:.0f} s of the robot | "
    "{received} received, {lost} lost, at most {longest_loss} in a row | "
    "velocity {velocity:.2f} acceleration {acceleration:.2f} jerk {jerk:.2f} of the limits | "
    "at most {off_plan:.4f} rad off the plan, {off_set_point:.1e} off the set-point | "
    "violations {violations} | {mode}"
)
FAULTS = {  # name: (fault, how, what ends it)
    "reflex": ("reflex", {}, None),
    "user stop": ("user_stop", {}, "release"),
    "25 packets lost": ("lose", {"count": 25}, None),
    "TCP closed": ("close_tcp", {}, None),
    "robot silent": ("silence", {}, "none"),
}
MODES = ("hold", "policy", "teleop")
STOP_MS, TOLD_MS = 50, 1500
_ALONE_TICKS = 300
_FOUND_TICKS = 1500  # a lost connection is sought once a second


def path(kind: str, control: str, speed: float, share: float, seconds: float, seed: int) -> bool:
    """True when the robot never objected and the policy still drives."""
    with emulator(kind, "--lockstep", "--seed", str(seed)) as rig:
        rng = np.random.default_rng(seed)
        start = MODELS[kind].home_q + rng.uniform(-0.3, 0.3, 7)
        rig.fault("push", q=start.tolist())
        clock = SkewedClock(speed) if speed != 1.0 else None
        line = BY_VELOCITY[kind] if control == "velocity" else None
        cell = Cell(rig, seed=seed, line=line, clock=clock)
        cell.go()
        rig.fault("lose", share=share, burst=14)
        cell.move(seconds)
        report = rig.report()
        cell.arm.close()
    off = {"off_plan": cell.off_plan_rad, "off_set_point": cell.off_set_point_rad}
    run = {"kind": kind, "control": control, "speed": speed, "share": share, "seconds": seconds}
    told = LINE.format(**report | report["peaks"] | run | off | {"mode": cell.mode})
    near = cell.off_plan_rad < _OFF_PLAN_RAD and cell.off_set_point_rad < _OFF_SET_POINT_RAD
    good = near and not report["violations"] and cell.mode == "policy"
    print("ok  " if good else "BAD ", told, flush=True)
    return good


class Rounds:
    """One robot and one executor, hurt again and again."""

    def __init__(self, rig, seed: int, patience_s: float, line=None) -> None:
        self.rig, self.line, self.rng = rig, line, np.random.default_rng(seed)
        self.seed, self.patience_s = seed, patience_s
        self.stop_ms: list[int] = []
        self.told_ms: list[float] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        self.rig.fault("none")
        self.rig.restart()
        self.cell = Cell(self.rig, seed=self.seed, line=self.line, patience_s=self.patience_s)

    def hurt(self, name: str) -> list[str]:
        """What was not as it must be in one round."""
        cell, rig, (fault, how, calm) = self.cell, self.rig, FAULTS[name]
        mode = self._begin()
        seen, begin_ns = len(cell.told), cell.clock.now_ns()
        tick = rig.fault(fault, **how)
        problems = [] if cell.mode == mode else [f"it was in {cell.mode}, not in {mode}"]
        cell.until("fault", 3000)
        told = next((e for e in cell.told[seen:] if e.level == "error"), None)
        told_ms = (told.t_ns - begin_ns) / NS_PER_MS if told else float("inf")
        cell.tick(_ALONE_TICKS if fault != "silence" else 20)
        report = rig.report()
        last = report["told_tick"] if fault == "silence" else tick
        stop_ms = max(report["heard_tick"] - last, 0)
        if calm:
            rig.fault(calm)
        cell.tick(_FOUND_TICKS if fault in ("close_tcp", "silence") else _ALONE_TICKS)
        if rig.report()["received"] != report["received"] or cell.mode != "fault":
            problems.append("it was commanded before anybody had reset it")
        self.cell.reset()
        cell.tick(50)
        if rig.report()["received"] == report["received"]:
            problems.append("it does not go on after the reset")
        if stop_ms > STOP_MS:
            problems.append(f"commanded for {stop_ms} ms more")
        if told_ms > TOLD_MS:
            problems.append(f"told after {told_ms:.0f} ms")
        self.stop_ms.append(stop_ms)
        self.told_ms.append(told_ms)
        return [f"{mode}: {problem}" for problem in problems]

    def _begin(self) -> str:
        """Bring it into a mode at random, for a time at random."""
        cell, mode = self.cell, str(self.rng.choice(MODES))
        cell.until("hold", 6000)
        seconds = self.rng.uniform(0.15, 0.6)
        if mode == "policy":
            cell.go()
            cell.tick(10)  # until the state that a plan begins from says so
            cell.move(seconds)
        elif mode == "teleop":
            cell.steer(seconds)
        else:
            cell.tick(round(seconds * 1000))
        return mode


def faults(kind: str, control: str, rounds: int, seed: int, only: str) -> list[bool]:
    results, line = [], BY_VELOCITY[kind] if control == "velocity" else None
    with emulator(kind, "--lockstep", "--seed", str(seed)) as rig:
        for name in FAULTS:
            if only not in name:
                continue
            began_s, bad = time.monotonic(), []
            # Silence is measured on the machine's clock: a crowded one may need more.
            patience_s = 0.02 if FAULTS[name][0] == "silence" else PATIENCE_S
            round_of = Rounds(rig, seed, patience_s, line)
            for _ in range(rounds):
                try:
                    problems = round_of.hurt(name)
                except AssertionError as error:
                    problems = [str(error)]
                    round_of.cell.arm.close()
                    round_of.begin_anew()
                bad += [problems] if problems else []
            round_of.cell.arm.close()
            results.append(not bad)
            print(
                f"{'BAD ' if bad else 'ok  '} {kind:4} {control} {name:16} {rounds - len(bad)} of "
                f"{rounds} | commands stop after at most {max(round_of.stop_ms)} ms, "
                f"told after at most {max(round_of.told_ms):.0f} ms of the robot's time | "
                f"took {time.monotonic() - began_s:.0f} s {bad[:2] or ''}",
                flush=True,
            )
    return results


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=("paths", "faults", "all"), default="all")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the robot, a path")
    parser.add_argument("--rounds", type=int, default=50, help="of each fault")
    parser.add_argument("--kind", default="", help="fr3 or fer; both if not given")
    parser.add_argument("--only", default="", help="part of a fault's name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", default="", help="position or velocity; both if not given")
    given = parser.parse_args()
    results: list[bool] = []
    if given.what != "faults":
        runs = [run for run in RUNS if given.kind in run[0] and given.control in run[1]]
        for run in runs:  # the same starts and losses, however they are commanded
            seed = given.seed + CONDITIONS.index(run[2:])
            results.append(path(*run, given.seconds, seed))
    if given.what != "paths":
        for kind, control in dict.fromkeys(run[:2] for run in RUNS):
            if given.kind in kind and given.control in control:
                results += faults(kind, control, given.rounds, given.seed, given.only)
    return results.count(False)


if __name__ == "__main__":
    sys.exit(main())
