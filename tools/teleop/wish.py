"""What a hand wishes for, and the command that is made of it: values in, values out.

Devices make a `Wish`; the session holds the `Controls`; `command` makes of both what goes to the
executor. Caps are applied here, the limits in the executor.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tandem.runtime.messages import OperatorCommand

Hand = Literal["off", "jog", "held"]
Frame = Literal["base", "tool", "joint"]
Want = Literal["standby", "drive"]
FRAMES: tuple[Frame, ...] = ("base", "tool", "joint")
AXES = 7
_STILL = (0.0,) * AXES
_DEADZONE = 0.1
_SLOWEST, _FINER = 0.05, 0.8


@dataclass(frozen=True, slots=True)
class Wish:
    """`axes` −1 … 1: along x y z and about x y z of the frame, or joints 1 to 7.

    `hand`: "held" is a true dead-man; "jog" is one bounded move, which never arms the fall-back.
    """

    axes: tuple[float, ...] = _STILL
    hand: Hand = "off"


@dataclass(frozen=True, slots=True)
class Caps:
    """The fastest that full deflection means."""

    m_s: float = 0.15
    rad_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Controls:
    """What the operator has chosen."""

    caps: Caps = Caps()
    want: Want = "drive"
    frame: Frame = "base"
    speed: float = 1.0  # share of the caps

    def faster(self) -> float:
        return min(self.speed / _FINER, 1.0)

    def slower(self) -> float:
        return max(self.speed * _FINER, _SLOWEST)

    def next_frame(self) -> Frame:
        return FRAMES[(FRAMES.index(self.frame) + 1) % len(FRAMES)]

    def other_want(self) -> Want:
        return "standby" if self.want == "drive" else "drive"


def shaped(deflection: float) -> float:
    """A stick's −1 … 1 with a dead zone, fine around the middle."""
    size = min(abs(deflection), 1.0)
    if size <= _DEADZONE:
        return 0.0
    share = (size - _DEADZONE) / (1 - _DEADZONE)
    return math.copysign(share * (0.4 + 0.6 * share * share), deflection)


def command(
    wish: Wish, controls: Controls, lease: str, joints: int, gripper: float | None, now_ns: int
) -> OperatorCommand:
    """What goes to the executor: at rest unless a hand is there."""
    pressed = wish.hand == "held" or (wish.hand == "jog" and controls.want == "drive")
    velocity = _velocity(wish, controls, joints)
    return OperatorCommand(
        lease=lease,
        want=controls.want,
        deadman=pressed,
        frame=controls.frame,
        velocity=velocity if pressed else np.zeros_like(velocity),
        gripper=gripper if pressed else None,
        t_ns=now_ns,
        valid=True,
    )


def _velocity(wish: Wish, controls: Controls, joints: int) -> np.ndarray:
    """[6] m/s and rad/s, or [D] rad/s."""
    axes, caps = np.array(wish.axes, float), controls.caps
    if controls.frame == "joint":
        dq = np.zeros(joints)
        size = min(joints, AXES)
        dq[:size] = np.clip(axes[:size], -1, 1)
        return dq * caps.rad_s * controls.speed
    linear, angular = _within_one(axes[:3]) * caps.m_s, _within_one(axes[3:6]) * caps.rad_s
    return np.concatenate((linear, angular)) * controls.speed


def _within_one(direction: np.ndarray) -> np.ndarray:
    """Not longer than one, in the same direction: diagonals are not faster."""
    return direction / max(float(np.sqrt(direction @ direction)), 1.0)
