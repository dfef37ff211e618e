"""One fault after the other into one running daemon, each into a fast arm, each judged.

A round: put the arm back, engage, let it sweep, strike at a random moment, wait, judge, see that
nothing moves again by itself and that who died is back.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from tandem.drivers.sim.blackbox import Record
from tandem.drivers.sim.panda import panda_spec
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import TandemError
from tandem.runtime.setpoint import MotionSettings
from tandem.tools.faults.catalogue import PLAN_S, SLACK_S, Fault
from tandem.tools.faults.motion import BACK_TIMEOUT_S, prepare
from tandem.tools.faults.rig import Rig
from tandem.tools.faults.sweep import RAMP_S
from tandem.tools.faults.verdict import REST_RAD_S, Path, Stop, judge

_SPEC = panda_spec()
# What the daemon promises to brake with, and what the arm brakes with when left alone.
BRAKING = MotionSettings().braking(_SPEC)
_REST_TIMEOUT_S = 4.0
_TRIES = 5
_STAYS_S = 0.4
_ENGAGE_S = 0.3  # from the first plan until we know that the policy drives
_TICKS_S = 0.02  # two ticks at 200 Hz, and two of the plant
_GRIP_M = 0.002
_WAKE_NS = 100_000_000  # what was frozen may have gone on by then
_STILL_NS = 50_000_000
_LEAD_NS = 10_000_000  # knots are sent two ticks ahead; what was sent is followed


@dataclass(frozen=True)
class Before:
    """What was when the fault struck."""

    starts: dict[str, int]
    width_m: float


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
    prepare(rig)
    begun_ns = time.monotonic_ns()
    before = _engage(rig, fault, rng, closed)
    t_fault_ns = time.monotonic_ns()
    fault.strike(rig, rng)
    if not fault.loses_arm:
        _settle(rig, fault, outcome, t_fault_ns)
        _judge_stop(rig, fault, outcome, _newest_era(rig.record(), begun_ns), t_fault_ns)
    return _after(rig, fault, outcome, before, t_fault_ns)


def _engage(rig: Rig, fault: Fault, rng: random.Random, closed: bool) -> Before:
    """Engage and wait for a random moment of fast motion."""
    grip = " closed" if closed else ""
    lead_s = RAMP_S + rng.uniform(0.1, 0.6)
    # A plan reaches ahead: what is ordered for then would otherwise begin before we strike.
    order = f", {fault.order} after {lead_s + PLAN_S + _ENGAGE_S:.2f}" if fault.order else ""
    for _ in range(_TRIES):
        rig.go(f"sweep{grip}{order}")
        starts = {role: rig.starts(role) for role in fault.restarts}
        rig.pids()  # now: to ask when we strike would take time that is not the robot's
        rig.watch(lead_s)
        if rig.mode() == "policy":
            break
        prepare(rig)  # a starved machine has ended the motion before we could
    assert rig.state is not None
    return Before(starts, rig.state.width_m)


def _settle(rig: Rig, fault: Fault, outcome: Outcome, t_fault_ns: int) -> None:
    """Wait until at rest; what may go on and does is told to hold."""
    since_ns = time.monotonic_ns() + _WAKE_NS
    left_s = fault.detect_s + SLACK_S - (since_ns - t_fault_ns) / NS_PER_S
    try:
        rig.until(lambda: _rests(rig, since_ns), max(left_s, 0.0) + 1.0, "at rest")
    except TandemError:
        outcome.went_on = True
        if not fault.survivable:
            outcome.problems.append("still moving")
        rig.hold()
        rig.until(lambda: _rests(rig, since_ns), _REST_TIMEOUT_S, "at rest after hold")
    rig.watch(0.1)


def _rests(rig: Rig, since_ns: int) -> bool:
    """The last 50 ms of the arm's own record, all after `since_ns`, stand still."""
    record = rig.record()
    recent = record.between(max(since_ns, int(record.t_ns[-1]) - _STILL_NS), 1 << 62)
    return len(recent.t_ns) >= 50 and bool((np.ptp(recent.q, axis=0) < 1e-9).all())


def _newest_era(record: Record, begun_ns: int) -> Record:
    """What the arm followed since it was last put somewhere by hand."""
    rows = record.t_ns[record.era == record.era[-1]]
    return record.between(max(begun_ns, int(rows[0])), 1 << 62)


def _judge_stop(rig: Rig, fault: Fault, outcome: Outcome, record: Record, t_fault_ns: int) -> None:
    complain = outcome.problems.append
    t_brake_ns = _brake_ns(rig, record, t_fault_ns)
    if t_brake_ns is None:
        complain("braking never began")
        return
    path = Path(record.t_ns, record.q)
    stop = outcome.stop = judge(path, _SPEC, BRAKING, t_fault_ns, t_brake_ns)
    if not outcome.went_on and stop.brake_s > fault.detect_s + SLACK_S:
        complain(f"braking began only after {stop.brake_s:.2f} s")
    if stop.braking_s > stop.allowed_s + _TICKS_S:
        complain(f"braking took {stop.braking_s:.3f} s, {stop.allowed_s:.3f} s are allowed")
    if stop.reversed_rad_s > 0:
        complain(f"a joint turned back at {stop.reversed_rad_s:.4f} rad/s")
    if not stop.extremes.inside:
        complain(f"outside the arm's limits: {stop.extremes}")


def _brake_ns(rig: Rig, record: Record, t_fault_ns: int) -> int | None:
    """When the braking began that ended at rest: the arm's own if it was left alone, else that of
    the executor, which leaves the policy when it begins to brake."""
    own = _coasted_to_rest_ns(record, t_fault_ns)
    if own is not None:
        return own
    left = (e.t_ns for e in rig.events if e.t_ns >= t_fault_ns and e.text.startswith("policy →"))
    t_left_ns = next(left, None)
    return None if t_left_ns is None else t_left_ns + _LEAD_NS


def _coasted_to_rest_ns(record: Record, t_fault_ns: int) -> int | None:
    """Start of the arm's own braking, if it was that which brought it to rest."""
    moving = np.flatnonzero(np.abs(record.dq).max(axis=1) > REST_RAD_S)
    if not moving.size or not record.coasting[moving[-1]]:
        return None
    commanded = np.flatnonzero(~record.coasting[: moving[-1]])
    return int(record.t_ns[commanded[-1]]) if commanded.size else None


def _after(rig: Rig, fault: Fault, outcome: Outcome, before: Before, t_fault_ns: int) -> Outcome:
    """Who died is back, the cause was named, the grip is the same, and nothing moves by itself."""
    for role, starts in before.starts.items():
        again = partial(_started_again, rig, role, starts)
        rig.until(again, BACK_TIMEOUT_S, f"{role} started again")
    rig.until(rig.is_ready, BACK_TIMEOUT_S, "ready again")
    rig.watch(_STAYS_S)
    if rig.mode() == "policy":
        outcome.problems.append("motion resumed by itself")
    state = rig.state
    if state is not None and not fault.loses_arm and abs(state.width_m - before.width_m) > _GRIP_M:
        outcome.problems.append(
            f"the fingers went from {before.width_m:.3f} to {state.width_m:.3f} m"
        )
    _name_cause(rig, fault, outcome, t_fault_ns)
    return outcome


def _started_again(rig: Rig, role: str, starts: int) -> bool:
    return rig.starts(role) > starts


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
