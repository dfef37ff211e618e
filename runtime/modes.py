"""Which mode, and why: idle → hold ⇄ policy ⇄ teleop → stopping → fault, on one page.

Pure: what is true this tick goes in, the mode and the reason come out. Precedence is the order of
the lines: fault, stop, operator, policy. Back to the policy leads only a `go`, on purpose.
"""

from dataclasses import dataclass

from tandem.runtime.messages import Mode


@dataclass(slots=True)
class Facts:
    """What is true this tick; None and False are the quiet case."""

    cause: str | None = None  # of a fault, standing now
    reset: bool = False  # asked for: clear the fault, or take up again after a stop
    stop: bool = False  # asked for, and not reset since
    hold: str | None = None  # why to come to rest: asked for, or nobody watches any more
    ready: bool = False  # the arm is there, obeys, may be moved and stands still
    at_rest: bool = False  # the set-point stands still
    lost: str | None = None  # why the policy must not go on
    start: bool = False  # engaged, and a plan begins at the set-point
    present: bool = False  # an operator holds the lease and the dead-man, with fresh input
    drives: bool = False  # and wants to drive


def decide(mode: Mode, facts: Facts) -> tuple[Mode, str]:
    """The next mode, and why it is another; "" when it is not."""
    if facts.cause:
        return "fault", facts.cause
    if mode == "fault":
        return ("hold", "fault reset") if facts.reset and facts.ready else ("fault", "")
    if facts.stop:
        if mode == "idle" or facts.at_rest:
            return "idle", "stopped"
        return "stopping", "stop asked for"
    if mode in ("idle", "stopping"):
        return ("hold", "the arm is ready") if facts.ready else ("idle", "the arm is not ready")
    if facts.hold:
        return "hold", facts.hold if mode != "hold" else ""
    if facts.drives:
        return "teleop", "the operator drives"
    if mode == "teleop":
        return ("teleop", "") if facts.present else ("hold", "the operator let go")
    if mode == "policy" and facts.lost:
        return ("teleop" if facts.present else "hold"), facts.lost
    if mode == "hold" and facts.start:
        return "policy", "engaged"
    return mode, ""


def pace_for_age(age_ns: int, slow_ns: int, hold_ns: int) -> float:
    """The ladder of ageing conditioning: full pace, then ever slower, standing at `hold_ns`."""
    if age_ns <= slow_ns:
        return 1.0
    return max(1.0 - (age_ns - slow_ns) / max(hold_ns - slow_ns, 1), 0.0)
