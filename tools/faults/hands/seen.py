"""What the plant's own record says of a moment: how fast, when it slowed, how far it went. Pure."""

from collections.abc import Iterable

import numpy as np
from tandem.drivers.sim.blackbox import Record
from tandem.drivers.sim.panda import panda_spec
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.kinematics import Chain
from tandem.runtime.messages import Event, OperatorCommand, RobotState
from tandem.tools.evaluate.plant import Extremes, extremes

SPEC = panda_spec()
CHAIN = Chain(SPEC.mdh, SPEC.pose_tool_in_flange)
AROUND_NS = NS_PER_S  # before and after whatever is judged
_MOVES_RAD_S = 0.05
_SLOWS_RAD_S2 = 0.5  # far above what limits do to a steady motion, far below any braking
_EVERY = 5  # rows: the way of the tool is added up in these steps


def row_at(record: Record, t_ns: int) -> int:
    """The last row that is not later."""
    return int(np.clip(np.searchsorted(record.t_ns, t_ns, "right") - 1, 0, len(record.t_ns) - 1))


def speed_at(record: Record, t_ns: int) -> float:
    """Of the fastest joint, rad/s."""
    return float(np.abs(record.dq[row_at(record, t_ns)]).max())


def slows_ns(record: Record, t_ns: int) -> int | None:
    """When, from `t_ns` on, a joint that moved then began to lose speed; None: it never did."""
    row = row_at(record, t_ns)
    moves = np.abs(record.dq[row]) > _MOVES_RAD_S
    braking = -record.ddq[row:, moves] * np.sign(record.dq[row, moves])
    slower = np.flatnonzero((braking > _SLOWS_RAD_S2).any(axis=1))
    return int(record.t_ns[row + slower[0]]) if slower.size else None


def tool_way_m(record: Record, from_ns: int, to_ns: int) -> float:
    """Length of the tool's path."""
    between = record.between(from_ns, to_ns)
    rows = [*range(0, len(between.q), _EVERY), len(between.q) - 1]
    points = np.array([CHAIN.position(between.q[row]) for row in rows])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def paused(record: Record) -> int:
    """Milliseconds in which the arm had no command and braked by itself."""
    return int(record.coasting.sum())


def laws(record: Record) -> tuple[Extremes, list[str]]:
    """Every step of velocity and acceleration against a·dt and j·dt of the arm; what broke them.

    Raises:
        ValueError: a millisecond is missing.
    """
    found = extremes(record.t_ns, record.q, SPEC)
    problems = [] if found.inside else [f"outside the arm's limits: {found}"]
    if paused(record):
        problems.append(f"no command for {paused(record)} ms")
    return found, problems


def around(record: Record, first_ns: int, last_ns: int) -> Record:
    return record.between(first_ns - AROUND_NS, last_ns + AROUND_NS)


def changed(events: Iterable[Event], since_ns: int, to: str) -> Event | None:
    """The first change to this mode since then."""
    for event in events:
        changes = event.source == "executor" and event.kind == "mode"
        if changes and event.t_ns >= since_ns and f"→ {to}:" in event.text:
            return event
    return None


def driven_ns(states: Iterable[RobotState], since_ns: int) -> int | None:
    """When the first tick was done in which the operator drove."""
    mine = (s.t_done_ns for s in states if s.mode == "teleop" and s.t_wake_ns >= since_ns)
    return next(mine, None)


def asked_ns(commands: Iterable[OperatorCommand], since_ns: int) -> int | None:
    """When the operator first asked for the arm since then: dead-man held, wants to drive."""
    wanted = (c.t_ns for c in commands if c.deadman and c.want == "drive" and c.t_ns >= since_ns)
    return next(wanted, None)


def ms(from_ns: int, to_ns: int) -> float:
    return (to_ns - from_ns) / NS_PER_MS
