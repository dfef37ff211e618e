"""One fault after the other into one running daemon, each into a fast arm, each judged.

A round: put the arm back, engage, let it sweep, strike at a random moment, wait, judge, see that
nothing moves again by itself and that who died is back.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from tandem.drivers.sim.panda import HOME_Q_RAD, panda_spec
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import TandemError
from tandem.runtime.setpoint import MotionSettings
from tandem.tools.faults.catalogue import SLACK_S, Fault
from tandem.tools.faults.rig import Rig
from tandem.tools.faults.sweep import RAMP_S
from tandem.tools.faults.verdict import Path, Stop, judge, rest_ns

FAST_RAD_S = 0.2
_SPEC = panda_spec()
# What the daemon promises to brake with, and what the arm brakes with when left alone.
BRAKING = MotionSettings().braking(_SPEC)
_BACK_TIMEOUT_S = 40.0
_REST_TIMEOUT_S = 4.0
_STAYS_S = 0.6
_TICKS_S = 0.02  # two ticks at 200 Hz, and two of the plant
_GRIP_M = 0.002


@dataclass
class Outcome:
    """What came of one fault. `problems` is empty if all was as it must be."""

    fault: str
    stop: Stop | None = None
    went_on: bool = False
    cause: str = ""
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For people."""
        how = "went on" if self.went_on else "the arm's record ended with it"
        if self.stop is not None:
            s = self.stop
            how = (
                f"at {s.fastest_rad_s:.2f} rad/s, braking after {1e3 * s.brake_s:.0f} ms "
                f"for {1e3 * s.braking_s:.0f} of {1e3 * s.allowed_s:.0f} ms"
            )
        verdict = "; ".join(self.problems) or "good"
        return f"{self.fault:36} {how:58} {self.cause[:50]:50} {verdict}"


def play(rig: Rig, fault: Fault, rng: random.Random) -> Outcome:
    """Strike once.

    Raises:
        TandemError: the daemon could not even be brought to move, or did not come back.
    """
    outcome = Outcome(fault.name)
    closed = rng.random() < 0.5
    prepare(rig, closed)
    begun_ns = time.monotonic_ns()
    starts = {role: rig.starts(role) for role in fault.restarts}
    t_fault_ns = _strike(rig, fault, rng, closed)
    if fault.loses_arm:
        return _after(rig, fault, outcome, starts, t_fault_ns)
    _settle(rig, fault, outcome, t_fault_ns)
    path = _path(rig, begun_ns)
    _judge_stop(rig, fault, outcome, path, t_fault_ns)
    return _after(rig, fault, outcome, starts, t_fault_ns)


def prepare(rig: Rig, closed: bool) -> None:
    """Ready, in hold, at home, with nothing between the fingers."""
    rig.until(rig.is_ready, _BACK_TIMEOUT_S, "ready again")
    rig.until(lambda: rig.mode() in ("hold", "fault", "idle"), _REST_TIMEOUT_S, "at rest")
    if rig.mode() != "hold":
        rig.reset()
    rig.until(lambda: rig.mode() == "hold", _REST_TIMEOUT_S, "in hold")
    rig.sim(do="teleport", q=HOME_Q_RAD.tolist(), gripper=1.0)


def _strike(rig: Rig, fault: Fault, rng: random.Random, closed: bool) -> int:
    """Engage, wait for a random moment of fast motion, strike; returns when it struck."""
    grip = " closed" if closed else ""
    lead_s = RAMP_S + rng.uniform(0.1, 1.5)
    order = f", {fault.order} after {lead_s:.2f}" if fault.order else ""
    rig.go(f"sweep{grip}{order}")
    rig.watch(lead_s)
    t_fault_ns = time.monotonic_ns()
    fault.strike(rig, rng)
    return t_fault_ns


def _settle(rig: Rig, fault: Fault, outcome: Outcome, t_fault_ns: int) -> None:
    """Wait until at rest; what may go on and does is told to hold."""
    struck_s = (time.monotonic_ns() - t_fault_ns) / NS_PER_S
    deadline_s = max(0.0, fault.detect_s + SLACK_S - struck_s) + 1.0
    try:
        rig.until(lambda: _rests(rig, t_fault_ns), deadline_s, "at rest")
    except TandemError:
        if not fault.survivable:
            outcome.problems.append(f"still moving {deadline_s + struck_s:.1f} s after the fault")
        outcome.went_on = True
        rig.hold()
        rig.until(lambda: _rests(rig, t_fault_ns), _REST_TIMEOUT_S, "at rest after hold")
    rig.watch(0.2)


def _rests(rig: Rig, since_ns: int) -> bool:
    """The last 50 ms of the arm's own record, all after `since_ns`, stand still."""
    record = rig.record()
    recent = record.between(max(since_ns, int(record.t_ns[-1]) - 50_000_000), 1 << 62)
    return len(recent.t_ns) >= 50 and bool((np.ptp(recent.q, axis=0) < 1e-9).all())


def _path(rig: Rig, begun_ns: int) -> Path:
    record = rig.record().between(begun_ns, 1 << 62)
    newest = record.era == record.era[-1]
    return Path(record.t_ns[newest], record.q[newest])


def _judge_stop(rig: Rig, fault: Fault, outcome: Outcome, path: Path, t_fault_ns: int) -> None:
    t_brake_ns = _brake_ns(rig, t_fault_ns)
    if t_brake_ns is None or rest_ns(path, t_fault_ns) is None:
        outcome.problems.append("braking never began")
        return
    stop = outcome.stop = judge(path, _SPEC, BRAKING, t_fault_ns, t_brake_ns)
    complain = outcome.problems.append
    if not outcome.went_on and stop.brake_s > fault.detect_s + SLACK_S:
        complain(f"braking began only after {stop.brake_s:.2f} s")
    if stop.braking_s > stop.allowed_s + _TICKS_S:
        complain(f"braking took {stop.braking_s:.3f} s, {stop.allowed_s:.3f} s are allowed")
    if stop.reversed_rad_s > 0:
        complain(f"a joint turned back at {stop.reversed_rad_s:.4f} rad/s")
    if not stop.extremes.inside:
        complain(f"outside the arm's limits: {stop.extremes}")


def _brake_ns(rig: Rig, t_fault_ns: int) -> int | None:
    """When braking began: the arm took over, or the executor left the policy; whichever was last
    to begin a braking that led to rest is not asked, the first one after the fault is."""
    coasting = rig.record()
    rows = np.flatnonzero(coasting.coasting & (coasting.t_ns >= t_fault_ns))
    began = [int(coasting.t_ns[rows[0]])] if rows.size else []
    left = (s.t_ns for s in rig.states if s.t_ns >= t_fault_ns and s.mode != "policy")
    began += [t for t in [next(left, None)] if t is not None]
    return min(began, default=None)


def _after(
    rig: Rig, fault: Fault, outcome: Outcome, starts: dict[str, int], t_fault_ns: int
) -> Outcome:
    """Who died is back, the cause was named, the grip is the same, and nothing moves by itself."""
    rig.until(rig.is_ready, _BACK_TIMEOUT_S, "ready again")
    for role, before in starts.items():
        if rig.starts(role) <= before:
            outcome.problems.append(f"{role} was not started again")
    rig.watch(_STAYS_S)
    if rig.mode() == "policy":
        outcome.problems.append("motion resumed by itself")
    _name_cause(rig, fault, outcome, t_fault_ns)
    return outcome


def _name_cause(rig: Rig, fault: Fault, outcome: Outcome, t_fault_ns: int) -> None:
    later = [e for e in rig.events if e.t_ns >= t_fault_ns]
    named = [e for e in later if any(word in e.text.lower() for word in fault.causes)]
    if named:
        outcome.cause = named[0].text.splitlines()[0]
    elif fault.causes:
        said = "; ".join(e.text.splitlines()[0] for e in later) or "nothing"
        outcome.problems.append(f"no event names the cause; said: {said}")


def campaign(
    rig: Rig,
    faults: Sequence[Fault],
    rng: random.Random,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Every fault once, in the order given."""
    outcomes = []
    for fault in faults:
        outcome = play(rig, fault, rng)
        tell(outcome.line())
        outcomes.append(outcome)
    return outcomes
