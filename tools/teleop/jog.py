"""Bounded moves for terminals that cannot tell when a key is let go: one key event, one short move.

Each event asks for 5 mm or 1°, half of what is allowed. The other half is for a program that dies
in mid-move: the executor slows a silent operator after three inputs and stops after 100 ms.
"""

from dataclasses import dataclass

from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.tools.teleop.wish import AXES, Caps, Wish

STEP_M, STEP_RAD = 0.005, 0.0174
_M_S, _RAD_S = 0.05, 0.174  # slow enough that a tenth of a second is a step
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
        speeds = self._share[0] * caps.m_s, self._share[1] * caps.rad_s
        self._step_ns = round(STEP_M / speeds[0] * NS_PER_S), round(STEP_RAD / speeds[1] * NS_PER_S)
        self._moves = [_Move() for _ in range(AXES)]
        self._last_ns = 0
        self._until_ns = 0  # the seat is kept until then

    def push(self, axis: int, sign: float, joint_frame: bool) -> None:
        """A key event. One the other way ends the move instead of turning it round."""
        move, turns = self._moves[axis], self._turns(axis, joint_frame)
        if move.left_ns > 0 and move.sign != sign:
            move.left_ns = 0
        else:
            move.sign, move.left_ns, move.fresh = sign, self._step_ns[turns], True

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
        return move.sign * self._share[self._turns(axis, joint_frame)]

    @staticmethod
    def _turns(axis: int, joint_frame: bool) -> int:
        """0: the axis moves, 1: it turns."""
        return int(joint_frame or axis >= 3)
