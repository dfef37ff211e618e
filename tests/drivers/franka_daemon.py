"""A daemon on an emulated Franka, on the wall clock, hurt again and again in any mode.

`python -m tests.drivers.franka_daemon [--rounds 50] [--kind fr3] [--only client]` prints a line a
kind of fault: in how many rounds all was as it must be, and the worst times. The robot must not be
commanded any more 50 ms after its last fresh state or the fault, whichever was first; somebody must
be told within 1.5 s; nothing may command it until a reset on purpose; an executor whose client
hangs or dies is replaced. The exit status is the number of kinds in which any of that was not so.
"""

import argparse
import copy
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tandem.runtime.errors import TandemError
from tandem.tools.faults.daemon import CONFIG
from tandem.tools.faults.rig import Rig
from tandem.tools.fci_emulator import desk

from tests.drivers.franka_rig import KINDS, emulator

LIMITS = {"fr3": "limits/fr3.yaml", "fer": "limits/panda.yaml"}
TOLD_S, STOP_MS = 1.5, 50
_TRIES = 10
_QUIET_S = 0.3  # the robot has given up by then
_ALONE_S = 1.2  # it is found again, and still left alone
Hurt = Callable[["Patient"], int | None]


class Patient:
    """The daemon, and the emulator's own port beside it."""

    def __init__(self, kind: str, host: str, rig: Rig) -> None:
        self.kind, self.host, self.rig = kind, host, rig
        self.robot_is_silent = False
        self.pid = 0  # of the executor

    def robot(self, kind: str, **how: Any) -> int:
        """The robot's tick in which it happened."""
        self.robot_is_silent = kind in ("silence", "freeze")
        return int(desk.ask(self.host, do="fault", kind=kind, **how)["ticks"])

    def report(self) -> dict[str, Any]:
        return desk.ask(self.host, do="report")

    def begin_anew(self) -> None:
        """Sweeps that were cut short have led the arm to the end of its range: switched off and on,
        the robot stands at its start again."""
        desk.ask(self.host, do="restart")
        self.rig.watch(_ALONE_S)

    def kill(self, number: int) -> int:
        """Hurt the executor; the robot's tick by which it was."""
        os.kill(self.pid, number)
        return int(self.report()["ticks"])


FAULTS: dict[str, tuple[Hurt, Hurt]] = {
    "client hung": (lambda p: p.kill(signal.SIGSTOP), lambda p: None),
    "client killed": (lambda p: p.kill(signal.SIGKILL), lambda p: None),
    "reflex": (lambda p: p.robot("reflex"), lambda p: None),
    "user stop": (lambda p: p.robot("user_stop"), lambda p: p.robot("release")),
    "25 packets lost": (lambda p: p.robot("lose", count=25), lambda p: None),
    "TCP closed": (lambda p: p.robot("close_tcp"), lambda p: None),
    "robot silent": (lambda p: p.robot("silence"), lambda p: p.robot("none")),
    "robot frozen": (lambda p: p.robot("freeze"), lambda p: p.robot("none")),
}
REPLACED = ("client hung", "client killed")


def config(kind: str, host: str) -> dict[str, Any]:
    """Arm, executor and a System 1 that sweeps; a person's wish decides which mode it is in."""
    given = {key: copy.deepcopy(CONFIG[key]) for key in ("schema", "robot", "executor")}
    told = {"collision": {}, "load": {"mass_kg": 0}}
    arm = {"driver": KINDS[kind], "host": host, "access": "move", "options": told}
    given["robot"]["arm"] = arm
    given["robot"]["limits"]["file"] = LIMITS[kind]
    given["robot"]["name"] = f"franka_{kind}"
    given["executor"]["rate_hz"] = 1000
    return given | {"s1": {"policy": "tandem.tools.faults.sweep:LoneSweepS1"}}


class Tally:
    """What came of the rounds of one fault."""

    def __init__(self) -> None:
        self.stop_ms: list[int] = []
        self.told_s: list[float] = []
        self.problems: list[str] = []
        self.rounds = self.good = 0

    def line(self, kind: str, name: str, took_s: float) -> str:
        stop, told = max(self.stop_ms, default=0), max(self.told_s, default=0.0)
        verdict = "ok  " if self.good == self.rounds else "BAD "
        return (
            f"{verdict} {kind} {name:16} {self.good} of {self.rounds} | commands stop after at "
            f"most {stop} ms, told after at most {told:.2f} s | took {took_s:.0f} s "
            f"{self.problems[:3] or ''}"
        )


def hurt(patient: Patient, name: str, rng: np.random.Generator, tally: Tally) -> list[str]:
    """One fault, in a mode at random; what was not as it must be."""
    rig, (harm, calm) = patient.rig, FAULTS[name]
    mode = _prepared(patient, rng)
    rig.until(lambda: "executor" in rig.pids(), 30, "there")
    seen, patient.pid = len(rig.events), rig.children["executor"]
    began_s = time.monotonic()
    tick = harm(patient)
    rig.until(lambda: any(_bad(e) for e in rig.events[seen:]), 15, "told of")
    told_s = time.monotonic() - began_s
    rig.watch(max(_QUIET_S - told_s, 0.0))
    after = patient.report()
    last = after["told_tick"] if patient.robot_is_silent else tick
    stop_ms = max(after["heard_tick"] - last, 0)
    calm(patient)
    rig.until(rig.is_ready, 60, "whole again")
    rig.watch(_ALONE_S)
    problems = [] if patient.report()["received"] - after["received"] <= 1 else ["commanded again"]
    problems += ["the executor was not replaced"] if _kept(rig, name, patient.pid) else []
    rig.states.clear()  # what an executor said that is no more
    rig.until(lambda: _back(rig), 30, "holding again")
    rig.watch(0.2)
    problems += [] if patient.report()["received"] > after["received"] else ["does not go on"]
    problems += [f"told after {told_s:.2f} s"] if told_s > TOLD_S else []
    problems += [f"commanded for {stop_ms} ms more"] if stop_ms > STOP_MS else []
    tally.stop_ms.append(stop_ms)
    tally.told_s.append(told_s)
    return [f"{mode}: {problem}" for problem in problems]


def _prepared(patient: Patient, rng: np.random.Generator) -> str:
    """In a mode at random, for a time at random; again, where a stalled machine came in between."""
    rig, mode = patient.rig, str(rng.choice(("hold", "policy")))
    for _ in range(_TRIES):
        rig.until(lambda: _back(rig), 30, "holding")
        try:
            if mode == "policy":
                rig.go()
                rig.until(lambda: rig.mode() in ("policy", "fault"), 20, "moving")
            rig.watch(rng.uniform(0.1, 0.6))
        except TandemError as refusal:
            if "from its limit" in str(refusal):
                patient.begin_anew()
            rig.watch(_QUIET_S)  # it may still have been coming to rest
        if rig.mode() == mode:
            return mode
    raise TandemError(f"this machine stalls too often: not in {mode} after {_TRIES} tries")


def _kept(rig: Rig, name: str, pid: int) -> bool:
    return name in REPLACED and rig.pids().get("executor") == pid


def _bad(event: Any) -> bool:
    return event.level == "error" or "died" in event.text or "silent" in event.text


def _back(rig: Rig) -> bool:
    if rig.mode() != "hold":
        rig.reset()
    return rig.mode() == "hold"


def campaign(kind: str, rounds: int, only: str, seed: int) -> int:
    """How many kinds of faults did not go well."""
    rng, bad = np.random.default_rng(seed), 0
    with emulator(kind, "--priority", "70") as robot, Rig(config(kind, robot.host)) as rig:
        patient = Patient(kind, robot.host, rig)
        rig.until(lambda: _back(rig), 60, "holding")
        for name in FAULTS:
            if only in name:
                tally, began_s = Tally(), time.monotonic()
                for _ in range(rounds):
                    one(patient, name, rng, tally)
                print(tally.line(kind, name, time.monotonic() - began_s), flush=True)
                bad += tally.good != tally.rounds
    return bad


def one(patient: Patient, name: str, rng: np.random.Generator, tally: Tally) -> None:
    tally.rounds += 1
    try:
        problems = hurt(patient, name, rng, tally)
    except TandemError as error:
        problems = [str(error).splitlines()[0]]
        patient.robot("none")
        patient.rig.until(lambda: _back(patient.rig), 60, "holding again")
    tally.good += not problems
    tally.problems += problems


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3, help="of each fault")
    parser.add_argument("--kind", choices=tuple(KINDS), default="fr3")
    parser.add_argument("--only", default="", help="part of a fault's name")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    return campaign(given.kind, given.rounds, given.only, given.seed)


if __name__ == "__main__":
    sys.exit(main())
