"""A daemon on an emulated Franka, on the wall clock, hurt again and again while it commands.

`python -m tests.drivers.franka_daemon [--rounds 3] [--kind fr3] [--moving]` prints a line a fault:
how long until somebody was told, whether the robot was left alone until the reset, and whether it
went on after it. The exit status is the number of faults in which any of that was not so.
"""

import argparse
import contextlib
import copy
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from tandem.runtime.errors import TandemError
from tandem.tools.faults.daemon import CONFIG
from tandem.tools.faults.rig import Rig
from tandem.tools.fci_emulator import desk

from tests.drivers.franka_rig import KINDS, emulator, fresh_host

LIMITS = {"fr3": "limits/fr3.yaml", "fer": "limits/panda.yaml"}
TOLD_S, QUIET_S = 1.5, 0.25
Hurt = Callable[["Patient"], None]


class Patient:
    """The daemon, and the emulator's own port beside it."""

    def __init__(self, kind: str, host: str, rig: Rig, moving: bool) -> None:
        self.kind, self.host, self.rig, self.moving = kind, host, rig, moving

    def robot(self, kind: str, **how: Any) -> None:
        desk.ask(self.host, do="fault", kind=kind, **how)

    def received(self) -> int:
        return int(desk.ask(self.host, do="report")["received"])

    def kill(self, number: int) -> None:
        os.kill(self.rig.pids()["executor"], number)


FAULTS: dict[str, tuple[Hurt, Hurt]] = {
    "reflex": (lambda p: p.robot("reflex"), lambda p: None),
    "user stop": (lambda p: p.robot("user_stop"), lambda p: p.robot("release")),
    "25 packets lost": (lambda p: p.robot("lose", count=25), lambda p: None),
    "TCP closed": (lambda p: p.robot("close_tcp"), lambda p: None),
    "robot silent": (lambda p: p.robot("silence"), lambda p: p.robot("none")),
    "robot frozen": (lambda p: p.robot("freeze"), lambda p: p.robot("none")),
    "client hung": (lambda p: p.kill(signal.SIGSTOP), lambda p: None),
    "client killed": (lambda p: p.kill(signal.SIGKILL), lambda p: None),
}


def config(kind: str, host: str, moving: bool) -> dict[str, Any]:
    given = copy.deepcopy(CONFIG)
    if not moving:  # arm and executor alone: a robot that is commanded to hold
        given = {key: given[key] for key in ("schema", "robot", "executor")}
    told = {"collision": {}, "load": {"mass_kg": 0}}
    arm = {"driver": KINDS[kind], "host": host, "access": "move", "options": told}
    given["robot"]["arm"] = arm
    given["robot"]["limits"]["file"] = LIMITS[kind]
    given["robot"]["name"] = f"franka_{kind}"
    given["executor"]["rate_hz"] = 1000
    return given


def hurt(patient: Patient, name: str) -> tuple[bool, str]:
    """One fault, from motion to motion: was all well, and a line that tells."""
    rig, (harm, calm) = patient.rig, FAULTS[name]
    if patient.moving:
        rig.go()
        rig.until(lambda: rig.mode() == "policy", 20, "moving")
    rig.watch(0.7)
    seen = len(rig.events)
    began_s = time.monotonic()
    harm(patient)
    rig.until(lambda: any(_bad(e) for e in rig.events[seen:]), 15, "told of")
    told_s = time.monotonic() - began_s
    words = next(e.text for e in rig.events[seen:] if _bad(e))
    rig.watch(max(QUIET_S - told_s, 0.0))
    before = patient.received()
    calm(patient)
    rig.until(rig.is_ready, 60, "whole again")
    rig.watch(1.5)  # it finds the robot again
    quiet = patient.received() - before <= 1  # one was on its way to a robot that stood still
    rig.states.clear()  # what an executor said that is no more
    rig.until(lambda: _back(rig), 30, "holding again")
    rig.watch(0.3)
    again = patient.received() > before
    good = told_s <= TOLD_S and quiet and again
    line = f"{patient.kind} {name:16} told after {told_s:4.2f} s, left alone until reset: {quiet}, "
    return good, line + f"goes on after it: {again} | {words[:110]}"


def _bad(event: Any) -> bool:
    return event.level == "error" or "died" in event.text or "silent" in event.text


def _back(rig: Rig) -> bool:
    if rig.mode() != "hold":
        rig.reset()
    return rig.mode() == "hold"


def campaign(kind: str, rounds: int, only: str, moving: bool) -> tuple[int, int]:
    """(faults that went well, faults)."""
    with contextlib.ExitStack() as stack:
        host = fresh_host()
        if not moving:
            host = stack.enter_context(emulator(kind, "--priority", "70")).host
        rig = stack.enter_context(Rig(config(kind, host, moving)))
        patient = Patient(kind, host, rig, moving)
        results = [one(patient, name) for _ in range(rounds) for name in FAULTS if only in name]
    return sum(results), len(results)


def one(patient: Patient, name: str) -> bool:
    try:
        good, line = hurt(patient, name)
    except TandemError as error:
        good, line = False, f"{patient.kind} {name:16} {error}"
    print("ok  " if good else "BAD ", line, flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=tuple(KINDS), default="fr3")
    parser.add_argument("--only", default="", help="part of a fault's name")
    parser.add_argument("--moving", action="store_true", help="a policy drives, as in a daemon")
    given = parser.parse_args()
    good, all_of_them = campaign(given.kind, given.rounds, given.only, given.moving)
    print(f"{good} of {all_of_them}")
    return all_of_them - good


if __name__ == "__main__":
    sys.exit(main())
