"""The operator's link is cut while a hand drives: its process dies or freezes, its network goes."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from tandem.drivers.sim.blackbox import Record
from tandem.drivers.sim.panda import HOME_Q_RAD
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import TandemError
from tandem.tools.faults.campaign import BRAKING
from tandem.tools.faults.hands import seen
from tandem.tools.faults.hands.terminal import Hand
from tandem.tools.faults.rig import Rig
from tandem.tools.faults.verdict import Path, Stop, allowed_s, judge

Kind = Literal["kill", "stop", "net"]
OPTIONS = ("--device", "keyboard", "--frame", "joint", "--sensitivity", "1", "--max-rad-s", "0.9")
TICK_MS = 5.0
# From the cut until the arm slows. A killed process: three periods of its input. A frozen one: the
# age limit of its words. A network: until a silent terminal counts as gone. A tick comes to those.
SLOW_MS: dict[Kind, float] = {"kill": 30.0, "stop": 100.0 + TICK_MS, "net": 250.0 + TICK_MS}
_KEYS = ("ws", "ad", "rf", "ou", "ik", "jl", "nm")  # towards plus and minus, joint by joint
_AWAY_RAD = 0.25
_LEAD_NS = 10 * NS_PER_MS  # knots are sent two ticks ahead; what was sent is followed
_TICKS_S = 0.02  # two ticks, and two of the plant
_PATIENCE_S = 8.0


@dataclass
class Cut:
    """One. Times in ms after the cut."""

    kind: Kind
    speed_rad_s: float
    slows_ms: float
    rest_ms: float
    allowed_ms: float  # until the arm may begin to slow, and from the speed at the cut to rest
    braking_ms: float  # after the operator was given up
    way_mm: float  # of the tool, from the cut to rest
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For people."""
        verdict = "; ".join(self.problems) or "good"
        return (
            f"{self.kind:4} at {self.speed_rad_s:.2f} rad/s: slows after {self.slows_ms:3.0f} ms, "
            f"rests after {self.rest_ms:3.0f} of {self.allowed_ms:3.0f} ms, "
            f"{self.way_mm:3.0f} mm further  {verdict}"
        )


def play(rig: Rig, hand: Hand, kind: Kind, strike: Callable[[], None], rng: random.Random) -> Cut:
    """Drive some joints, then cut.

    Raises:
        TandemError: the hand could not even be brought to drive.
    """
    keys = _keys(rig, rng)
    _drive(rig, hand, keys)
    rig.watch(rng.uniform(0.4, 0.7))
    begun_ns = time.monotonic_ns()
    strike()
    rig.until(partial(_rests, rig), _PATIENCE_S, "at rest in hold")
    rig.watch(0.1)
    return _judged(rig, kind, begun_ns)


def _keys(rig: Rig, rng: random.Random) -> list[str]:
    """One to three joints, each to a random side, or home if it is far from there."""
    rig.poll()
    assert rig.state is not None
    away = rig.state.q_cmd - HOME_Q_RAD
    found = []
    for joint in rng.sample(range(len(_KEYS)), rng.randint(1, 3)):
        back = abs(away[joint]) > _AWAY_RAD
        found.append(_KEYS[joint][int(away[joint] > 0) if back else rng.randrange(2)])
    return found


def _drive(rig: Rig, hand: Hand, keys: list[str]) -> None:
    """Press until somebody hears it: a link that has just come back is slow to say so."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        hand.down(*keys)
        try:
            rig.until(lambda: rig.mode() == "teleop", 0.8, "driven by hand")
        except TandemError:
            if time.monotonic() > deadline_s:
                raise
            hand.up(*keys)
            rig.watch(0.2)
        else:
            return


def _rests(rig: Rig) -> bool:
    holds = rig.mode() == "hold" and rig.state is not None
    return holds and float(np.abs(rig.states[-1].dq_cmd).max()) < 1e-6


def _judged(rig: Rig, kind: Kind, cut_ns: int) -> Cut:
    record = rig.record()
    record = record.between(cut_ns - seen.AROUND_NS // 4, int(record.t_ns[-1]))
    held = seen.changed(rig.events, cut_ns, "hold")
    brake_ns = (held.t_ns if held else cut_ns) + _LEAD_NS
    stop = judge(Path(record.t_ns, record.q), seen.SPEC, BRAKING, cut_ns, brake_ns)
    slows_ns = seen.slows_ns(record, cut_ns)
    rest_ns = cut_ns + round(stop.rest_s * 1e9)
    row = seen.row_at(record, cut_ns)
    allowed = allowed_s(record.dq[row], record.ddq[row], BRAKING)
    cut = Cut(
        kind,
        stop.fastest_rad_s,
        seen.ms(cut_ns, slows_ns) if slows_ns else float("inf"),
        stop.rest_s * 1e3,
        SLOW_MS[kind] + allowed * 1e3,
        stop.braking_s * 1e3,
        seen.tool_way_m(record, cut_ns, rest_ns) * 1e3,
    )
    cut.problems += _problems(cut, record, stop, held is not None)
    return cut


def _problems(cut: Cut, record: Record, stop: Stop, held: bool) -> list[str]:
    _, found = seen.laws(record)
    if not held:
        found.append("nobody said that the operator was given up")
    if cut.slows_ms > SLOW_MS[cut.kind]:
        found.append(f"slows only after {cut.slows_ms:.0f} ms, not {SLOW_MS[cut.kind]:.0f}")
    if cut.rest_ms > cut.allowed_ms:
        found.append(f"rests only after {cut.rest_ms:.0f} ms, not {cut.allowed_ms:.0f}")
    if stop.braking_s > stop.allowed_s + _TICKS_S:
        found.append(f"brakes for {stop.braking_s:.3f} s, {stop.allowed_s:.3f} are allowed")
    if stop.reversed_rad_s > 0:
        found.append(f"a joint turned back at {stop.reversed_rad_s:.4f} rad/s")
    if cut.speed_rad_s < 0.2:
        found.append("it hardly moved")
    return found
