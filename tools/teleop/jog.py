"""Bounded moves for terminals that cannot tell when a key is let go: one key event, one short move.

Each event asks for 5 mm or 1°, half of what is allowed. The other half is for a program that dies
in mid-move: the executor slows a silent operator after three inputs and stops after 100 ms.
"""

from dataclasses import dataclass

from tandem.runtime.clock import NS_PER_MS
from tandem.tools.teleop.wish import AXES, Caps, Wish

_M_S, _RAD_S = 0.05, 0.174
_STEP_NS = 100 * NS_PER_MS  # at this speed: 5 mm, 1°
_GRIP_NS = 300 * NS_PER_MS  # the gripper needs an operator who drives for so long
_SETTLE_NS = 50 * NS_PER_MS  # the seat is kept at zero speed, then left


@dataclass(slots=True)
class _Move:
    """What is left of an axis' move: −1 or 1, and for how long."""

    sign: float = 0.0
    left_ns: int = 0
    fresh: bool = False  # nothing of it has been done yet


class Jog:
    """Moves in progress. An event while its axis moves makes the move last longer, not faster."""

    def __init__(self, caps: Caps) -> None:
        self._share = min(1.0, _M_S / caps.m_s), min(1.0, _RAD_S / caps.rad_s)
        self._moves = [_Move() for _ in range(AXES)]
        self._last_ns = 0
        self._until_ns = 0  # the seat is kept until then

    def push(self, axis: int, sign: float) -> None:
        """A key event. One the other way ends the move instead of turning it round."""
        move = self._moves[axis]
        if move.left_ns > 0 and move.sign != sign:
            move.left_ns = 0
        else:
            move.sign, move.left_ns, move.fresh = sign, _STEP_NS, True

    def grip(self, now_ns: int) -> None:
        self._until_ns = now_ns + _GRIP_NS

    def clear(self) -> None:
        for move in self._moves:
            move.left_ns = 0

    def wish(self, now_ns: int, joint_frame: bool) -> Wish:
        """What to do until the next call, which is what the last one did counted off."""
        passed_ns, self._last_ns = now_ns - self._last_ns, now_ns
        axes = [self._go_on(axis, passed_ns, joint_frame) for axis in range(AXES)]
        if any(axes):
            self._until_ns = max(self._until_ns, now_ns + _SETTLE_NS)
        if now_ns >= self._until_ns:
            return Wish()
        return Wish(tuple(axes), "jog")

    def _go_on(self, axis: int, passed_ns: int, joint_frame: bool) -> float:
        move = self._moves[axis]
        if move.left_ns > 0 and not move.fresh:
            move.left_ns -= passed_ns
        move.fresh = False
        if move.left_ns <= 0:
            return 0.0
        turns = joint_frame or axis >= 3
        return move.sign * self._share[turns]
