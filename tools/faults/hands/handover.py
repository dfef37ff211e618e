"""Policy → operator → policy, at random moments of fast motion, as people do it: by keys."""

import random
import time
from dataclasses import dataclass, field

import numpy as np
from tandem.drivers.sim.panda import HOME_Q_RAD
from tandem.runtime.errors import RefusedError
from tandem.runtime.messages import OperatorCommand
from tandem.tools.faults.daemon import CONFIG
from tandem.tools.faults.hands import seen
from tandem.tools.faults.hands.ear import Ear
from tandem.tools.faults.hands.terminal import Hand
from tandem.tools.faults.motion import prepare
from tandem.tools.faults.rig import Rig
from tandem.tools.faults.sweep import RAMP_S

FAST_RAD_S = 0.3
OPTIONS = ("--device", "keyboard", "--sensitivity", "1", "--max-m-s", "0.3")
_KEYS = "wasdrf"
_AWAY_RAD = 0.5  # from home: further, and the sweep would come to a joint's end
_PATIENCE_S = 5.0
_ASKED = 5


def alone() -> Rig:
    """A daemon without System 2 and its cameras, who have no part in this."""
    rest = {key: part for key, part in CONFIG.items() if key not in ("s2", "cameras")}
    return Rig(rest | {"s1": {"policy": "tandem.tools.faults.sweep:LoneSweepS1"}})


def engage(rig: Rig) -> None:
    """Ask again where a crowded machine has kept the policy from planning in time.

    Raises:
        RefusedError: it never did.
    """
    for _ in range(_ASKED - 1):
        try:
            rig.go()
        except RefusedError:
            rig.watch(1.0)
        else:
            return
    rig.go()


@dataclass
class HandOver:
    """One, there and back. Shares are of the arm's own limits, 1 s before to 1 s after."""

    speed_rad_s: float  # of the fastest joint when the operator asked
    request_ms: float  # from the operator's command to the operator in control
    velocity_share: float
    acceleration_share: float  # the largest step of velocity in a ms, of a_max·dt
    jerk_share: float  # the largest step of acceleration, of j_max·dt
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For people."""
        verdict = "; ".join(self.problems) or "good"
        return (
            f"at {self.speed_rad_s:.2f} rad/s, in control after {self.request_ms:5.2f} ms, "
            f"Δv {self.acceleration_share:.2f}, Δa {self.jerk_share:.2f} of the limits  {verdict}"
        )


class HandOvers:
    """A daemon, an operator who wants to drive, and an ear for what the operator says."""

    def __init__(self, rig: Rig, hand: Hand) -> None:
        self._rig, self._hand = rig, hand
        self.ear = Ear(rig.folder)

    def play(self, rng: random.Random) -> HandOver:
        """Raises TandemError: the daemon could not even be brought to move."""
        rig, key = self._rig, rng.choice(_KEYS)
        self._sweep()
        rig.watch(rng.uniform(0.1, 1.2))
        self.ear.heard()
        pressed_ns = time.monotonic_ns()
        self._hand.down(key)
        rig.until(lambda: rig.mode() == "teleop", _PATIENCE_S, "in the operator's hand")
        rig.watch(rng.uniform(0.15, 0.5))
        said = self.ear.heard()
        self._hand.up(key)
        rig.until(self._rests, _PATIENCE_S, "at rest in hold")
        engage(rig)
        rig.watch(RAMP_S + 0.1)
        return self._judged(pressed_ns, said)

    def _sweep(self) -> None:
        """In motion by the policy, not too far from home."""
        rig = self._rig
        moves = rig.mode() == "policy" and rig.state is not None
        if moves and np.abs(rig.states[-1].q_cmd - HOME_Q_RAD).max() < _AWAY_RAD:
            return
        prepare(rig)
        engage(rig)
        rig.watch(RAMP_S + 0.1)

    def _rests(self) -> bool:
        rig = self._rig
        holds = rig.mode() == "hold" and rig.state is not None
        return holds and float(np.abs(rig.states[-1].dq_cmd).max()) < 1e-6

    def _judged(self, pressed_ns: int, said: list[OperatorCommand]) -> HandOver:
        events, record = self._rig.events, self._rig.record()
        asked_ns = seen.asked_ns(said, pressed_ns)
        taken = seen.changed(events, pressed_ns, "teleop")
        back = seen.changed(events, pressed_ns, "policy")
        problems = []
        if asked_ns is None or taken is None or back is None:
            problems.append(f"asked {asked_ns}, taken {taken}, given back {back}: not all was seen")
        first_ns = asked_ns or pressed_ns
        back_ns = back.t_ns if back else time.monotonic_ns()
        control_ns = seen.driven_ns(self._rig.states, pressed_ns) or time.monotonic_ns()
        found, broken = seen.laws(seen.around(record, first_ns, back_ns))
        return HandOver(
            seen.speed_at(record, first_ns),
            seen.ms(first_ns, control_ns),
            found.velocity_share,
            found.acceleration_share,
            found.jerk_share,
            problems + broken,
        )
