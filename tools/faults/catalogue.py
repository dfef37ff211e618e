"""The faults: what is done, how soon the robot must notice, and who must come back.

`detect_s` is stated, not measured: from the fault until braking begins, at the latest. It follows
from the configuration: how long a plan lasts, when conditioning is too old, how long an executor
may be silent. To it comes what a loaded machine of two cores may add for ordinary processes.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tandem.tools.faults import inject
from tandem.tools.faults.rig import Rig

Strike = Callable[[Rig, random.Random], None]

SLACK_S = 0.5
_KNOTS_S = 0.05  # the arm brakes by itself when no knot comes
PLAN_S = 0.8  # a chunk of 16 × 50 ms
_AGE_S = 1.1  # conditioning_hold, and one period of System 2
_GAP_S = 0.5  # longest stall that is done here to the executor


@dataclass(frozen=True)
class Fault:
    """`causes`: words, one of which is in an event after the fault; none: nothing need be said.

    `restarts`: who dies of it and must come back. `survivable`: the motion may also go on as if
    nothing had been. `latches`: a fault that must be reset before the next go. `order`: bad
    behaviour of the policy itself, appended to its instruction. `loses_arm`: the arm's own record
    ends with it, so there is no stop to judge.
    """

    name: str
    strike: Strike
    detect_s: float
    causes: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()
    survivable: bool = False
    latches: bool = False
    order: str = ""
    loses_arm: bool = False


def _kill(role: str) -> Strike:
    return lambda rig, rng: inject.kill(rig.children[role])


def _freeze(role: str, shortest_s: float, longest_s: float) -> Strike:
    return lambda rig, rng: inject.freeze([rig.children[role]], rng.uniform(shortest_s, longest_s))


def _slow(role: str, seconds: float, share: float) -> Strike:
    return lambda rig, rng: inject.slow(rig.children[role], seconds, share)


def _freeze_all(rig: Rig, rng: random.Random) -> None:
    """Half a second of nothing, for every process at once: what a paused virtual machine does."""
    pids = [*rig.children.values(), rig.pid]
    rng.shuffle(pids)
    inject.freeze(pids, 0.5)


def _garbage(rig: Rig, rng: random.Random) -> None:
    inject.garbage(rig.folder, rng)


def _impostor(rig: Rig, rng: random.Random) -> None:
    """Nonsense from a teleop that nobody gave the lease to."""
    inject.impostor(rig.folder, "operator.teleop", inject.nonsense(rng), 0.3)


def _second(rig: Rig, rng: random.Random) -> None:
    rig.second()


def _hold(rig: Rig, rng: random.Random) -> None:
    rig.hold()


def _nothing(rig: Rig, rng: random.Random) -> None:
    """The policy misbehaves by itself."""


# Eyes and minds may be back before what they said is too old: then the motion goes on, slower.
_KILLED = (
    Fault("executor: kill -9", _kill("executor"), _KNOTS_S, ("executor died",), ("executor",)),
    Fault("s1: kill -9", _kill("s1"), PLAN_S, ("s1 died",), ("s1",), survivable=True),
    Fault("s2: kill -9", _kill("s2"), _AGE_S, ("s2 died",), ("s2",), survivable=True),
    Fault(
        "camera: kill -9", _kill("camera"), _AGE_S, ("camera died",), ("camera",), survivable=True
    ),
    Fault("sim: kill -9", _kill("sim"), 0.5, ("sim died",), ("sim", "executor"), loses_arm=True),
)
_FROZEN = (
    Fault("executor: frozen 0.2 … 0.4 s", _freeze("executor", 0.2, 0.4), _KNOTS_S, survivable=True),
    Fault(
        "executor: frozen 1 s", _freeze("executor", 1.0, 1.0), _KNOTS_S, ("silent",), ("executor",)
    ),
    Fault("s1: frozen 0.3 s", _freeze("s1", 0.3, 0.3), PLAN_S, survivable=True),
    Fault("s1: frozen 2 s", _freeze("s1", 2.0, 2.0), PLAN_S, ("plan", "chunk", "conditioning")),
    Fault("s2: frozen 2.5 s", _freeze("s2", 2.5, 2.5), _AGE_S, ("conditioning",)),
    Fault("camera: frozen 2.5 s", _freeze("camera", 2.5, 2.5), _AGE_S, ("camera", "image")),
    Fault("sim: frozen 0.3 s", _freeze("sim", 0.3, 0.3), 0.5, survivable=True),
    Fault("sim: frozen 0.8 s", _freeze("sim", 0.8, 0.8), 0.6, ("silent",)),
    Fault(
        "supervisor: frozen 0.5 s",
        lambda rig, rng: inject.freeze([rig.pid], 0.5),
        0.6,
        survivable=True,
    ),
    Fault("everything: frozen 0.5 s", _freeze_all, _GAP_S + _KNOTS_S, ("away", "silent")),
)
_SLOWED = (
    Fault("executor: slowed to 20 %", _slow("executor", 1.0, 0.2), _KNOTS_S, survivable=True),
    Fault("s1: slowed to 20 %", _slow("s1", 1.5, 0.2), 2.3, survivable=True),
    Fault("s2: slowed to 20 %", _slow("s2", 1.5, 0.2), 2.6, survivable=True),
    Fault("camera: slowed to 20 %", _slow("camera", 1.5, 0.2), 2.6, survivable=True),
    Fault("sim: slowed to 50 %", _slow("sim", 1.0, 0.5), 1.5, survivable=True),
)
_POLICY = (
    Fault("policy: NaN", _nothing, PLAN_S, ("finite",), order="nan"),
    Fault("policy: leaps by 2 rad", _nothing, PLAN_S, order="leap", survivable=True),
    Fault("policy: beyond the joint's end", _nothing, PLAN_S, order="beyond", survivable=True),
    Fault("policy: hangs 3 s", _nothing, PLAN_S, ("plan", "chunk", "conditioning"), order="freeze"),
)
_OUTSIDE = (
    Fault("garbage on every socket", _garbage, 0.5, survivable=True),
    Fault("an impostor at the operator's seat", _impostor, 0.5, survivable=True),
    Fault("a second daemon", _second, 1.0, survivable=True),
    Fault("hold", _hold, _KNOTS_S, ("hold",)),
)

FAULTS = (*_KILLED, *_FROZEN, *_SLOWED, *_POLICY, *_OUTSIDE)
BY_NAME = {fault.name: fault for fault in FAULTS}
# One of each kind, for every run of the tests.
QUICK = tuple(
    BY_NAME[name]
    for name in (
        "executor: kill -9",
        "s1: kill -9",
        "s2: kill -9",
        "camera: kill -9",
        "sim: kill -9",
        "executor: frozen 1 s",
        "s1: frozen 2 s",
        "sim: frozen 0.8 s",
        "everything: frozen 0.5 s",
        "executor: slowed to 20 %",
        "policy: NaN",
        "policy: leaps by 2 rad",
        "garbage on every socket",
        "a second daemon",
    )
)
