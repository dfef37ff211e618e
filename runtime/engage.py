"""What must be true before a policy may move the arm. Each rule refuses with its reason."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.interfaces import ArmSpec, ArmState, Array
from tandem.runtime.messages import Mode

MAX_DQ_RAD_S = 0.01
MAX_OFFSET_RAD = 0.05  # between set-point and arm: more, and something pushes
MAX_START_RAD = 0.1  # between set-point and a plan's first target


@dataclass(frozen=True, slots=True)
class Situation:
    """What the rules look at."""

    mode: Mode
    access: str  # read_only, or move
    fault: str | None
    state: ArmState | None
    state_age_ns: int
    operator_drives: bool
    instruction: str
    tool_outside_m: float = 0.0
    stopped: bool = False  # a stop was asked for, and not reset since


def refusals(now: Situation, spec: ArmSpec, margin_rad: float, max_age_ns: int) -> Iterator[str]:
    """Why the policy may not be engaged now; nothing, if it may."""
    if now.access != "move":
        yield "access is read_only; set robot.arm.access to move"
    if now.fault:
        yield f"fault: {now.fault}; remove the cause, then reset"
    if now.stopped:
        yield "a stop was asked for; reset first"
    if now.operator_drives:
        yield "the operator drives; let go first"
    if not now.instruction:
        yield 'there is no instruction; say what: tandem go "…"'
    for name in spec.unset:
        yield f"{name} is not set in the configuration"
    if now.state is None:
        yield "the arm has not been heard yet; ask again"
        return
    if now.state_age_ns > max_age_ns:
        yield f"the arm's state is {now.state_age_ns // NS_PER_MS} ms old"
    waits = now.mode == "idle" and now.access == "move"
    if waits and not now.fault and not now.stopped:
        yield "the arm is not ready yet; ask again"
    if now.mode == "hold":
        yield from _arm_refusals(now.state, spec, margin_rad)
    if now.tool_outside_m > 0:
        yield f"the tool is {now.tool_outside_m * 1e3:.0f} mm outside its workspace"


def start_refusal(q: Array, first: Array) -> str | None:
    """Why a plan whose first target is `first` [D] may not start at the set-point `q` [D]."""
    away = float(abs(first - q).max())
    if away <= MAX_START_RAD:
        return None
    return f"the plan starts {away:.2f} rad away from the set-point"


def _arm_refusals(state: ArmState, spec: ArmSpec, margin_rad: float) -> Iterator[str]:
    if state.status not in ("idle", "moving"):
        yield f"the arm is in {state.status}: {state.error or 'see its own display'}"
    if not np.isfinite(state.q).all() or not np.isfinite(state.q_d).all():
        yield "the arm's state is not finite"
        return
    if abs(state.dq).max() >= MAX_DQ_RAD_S:
        yield f"the arm moves at {abs(state.dq).max():.3f} rad/s; wait until it rests"
    offset = abs(state.q_d - state.q)
    if offset.max() >= MAX_OFFSET_RAD:
        joint = spec.joint_names[int(offset.argmax())]
        yield f"{joint} is {offset.max():.3f} rad away from its set-point: something pushes"
    room = np.minimum(state.q - spec.q_min, spec.q_max - state.q)
    if room.min() < margin_rad:
        joint = spec.joint_names[int(room.argmin())]
        yield f"{joint} is {room.min():.3f} rad from its limit; drive it inward with teleop"
