"""Both systems are killed while an operator stands by with the dead-man held."""

import random
import time
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from tandem.tools.faults import inject
from tandem.tools.faults.hands import seen
from tandem.tools.faults.hands.handover import engage
from tandem.tools.faults.hands.terminal import Hand
from tandem.tools.faults.motion import prepare
from tandem.tools.faults.rig import Rig
from tandem.tools.faults.sweep import RAMP_S

OPTIONS = ("--device", "keyboard", "--want", "standby", "--sensitivity", "1", "--max-m-s", "0.3")
_MINDS = ("s1", "s2")
_KEYS = "wasdrf"
_DRIVES_S = 0.6
_MOVED_M = 0.01  # a hand at full speed for so long comes ten times as far
_LOST_S = 8.0  # the supervisor starts them again meanwhile, and they are killed again
_PATIENCE_S = 5.0
_BACK_S = 40.0
_AGAIN_S = 0.1  # between two looks at who was started again


@dataclass
class Loss:
    """One. From the kill until the operator had moved the arm."""

    speed_rad_s: float  # when they were killed
    lost_ms: float  # from the kill until the operator was in control: the plan ran on meanwhile
    uncommanded_ms: int  # for which the arm had no command and braked by itself
    longest_gap_ms: float  # between two states of the executor
    moved_mm: float  # by the operator, afterwards
    acceleration_share: float
    jerk_share: float
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For people."""
        verdict = "; ".join(self.problems) or "good"
        return (
            f"at {self.speed_rad_s:.2f} rad/s, the operator's after {self.lost_ms:4.0f} ms, "
            f"without a command {self.uncommanded_ms} ms, then moved {self.moved_mm:3.0f} mm  "
            f"{verdict}"
        )


def play(rig: Rig, hand: Hand, rng: random.Random) -> Loss:
    """Raises TandemError: the daemon could not even be brought to move."""
    rig.until(rig.is_ready, _BACK_S, "ready")
    prepare(rig)
    engage(rig)
    rig.pids()  # now: to ask when we strike would take time
    rig.watch(RAMP_S + rng.uniform(0.1, 1.0))
    hand.down("space")
    hand.until_sees("you have the arm", _PATIENCE_S)
    rig.watch(0.3)
    killed_ns = time.monotonic_ns()
    _kill(rig)
    mode = rig.mode()
    driven_ns, moved_mm = _drive(rig, hand, rng) if mode == "teleop" else (time.monotonic_ns(), 0.0)
    hand.up("space")
    rig.until(lambda: rig.mode() == "hold", _PATIENCE_S, "in hold")
    rig.watch(0.3)
    return _judged(rig, killed_ns, driven_ns, moved_mm)


def _kill(rig: Rig) -> None:
    """As often as the supervisor starts them again, until the policy is lost."""
    pids, asked_s = dict(rig.children), time.monotonic()
    deadline_s = asked_s + _LOST_S
    while rig.mode() == "policy" and time.monotonic() < deadline_s:
        for role in _MINDS:
            if role in pids:
                with suppress(ProcessLookupError):
                    inject.kill(pids.pop(role))
        rig.watch(0.02)
        if time.monotonic() - asked_s > _AGAIN_S:
            pids, asked_s = dict(rig.pids()), time.monotonic()


def _drive(rig: Rig, hand: Hand, rng: random.Random) -> tuple[int, float]:
    """When it ended, and how far the tool came."""
    key = rng.choice(_KEYS)
    assert rig.state is not None
    begun = seen.CHAIN.position(rig.state.q_cmd)
    hand.down(key)
    rig.watch(_DRIVES_S)
    hand.up(key)
    moved = seen.CHAIN.position(rig.states[-1].q_cmd) - begun
    return time.monotonic_ns(), float(np.linalg.norm(moved)) * 1e3


def _judged(rig: Rig, killed_ns: int, driven_ns: int, moved_mm: float) -> Loss:
    record = rig.record().between(killed_ns - seen.AROUND_NS, driven_ns + seen.AROUND_NS // 4)
    found, problems = seen.laws(record)
    lost = seen.changed(rig.events, killed_ns, "teleop")
    stamps_ns = [s.t_ns for s in rig.states if killed_ns <= s.t_ns <= driven_ns]
    gap_ns = int(np.diff(stamps_ns).max()) if len(stamps_ns) > 1 else driven_ns - killed_ns
    if lost is None:
        problems.append("the operator was not given the arm")
    elif moved_mm < 1e3 * _MOVED_M:
        problems.append(f"the hand moved it only {moved_mm:.1f} mm")
    return Loss(
        seen.speed_at(record, killed_ns),
        seen.ms(killed_ns, lost.t_ns if lost else driven_ns),
        seen.paused(record),
        seen.ms(0, gap_ns),
        moved_mm,
        found.acceleration_share,
        found.jerk_share,
        problems,
    )
