"""The operator's seat: who holds the lease, and whether a hand is on the dead-man right now."""

import numpy as np
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import RefusedError
from tandem.runtime.messages import OperatorCommand

_FORGOTTEN_NS = 5 * NS_PER_S  # a holder silent for longer has lost the lease


class Seat:
    """One operator at a time. A command counts for `max_age_ns`, then the seat is empty."""

    def __init__(self, joints: int, max_age_ns: int, has_tool: bool = True) -> None:
        """`has_tool`: the kinematics are known, so velocities may be given for the tool."""
        self.holder: str | None = None
        self.command: OperatorCommand | None = None
        self.ignored = 0  # of another lease, or malformed
        self._released = True  # since driving was last ended for the operator
        tool_shape = (6,) if has_tool else None
        self._shapes = {"joint": (joints,), "base": tool_shape, "tool": tool_shape}
        self._max_age_ns = max_age_ns
        self._heard_ns = 0

    def take(self, name: str, now_ns: int) -> str:
        """Give the lease to `name`; it goes into every OperatorCommand.

        Raises:
            RefusedError: somebody else holds it and is still there.
        """
        if not name:
            raise RefusedError("a lease needs a name: who are you?")
        self.forget(now_ns)
        if self.holder not in (None, name):
            raise RefusedError(f"{self.holder} holds the lease; ask them to release it")
        if self.holder != name:
            self.command, self._released = None, True  # another hand
        self.holder, self._heard_ns = name, now_ns
        return name

    def release(self, name: str) -> None:
        """Raises RefusedError: it is somebody else's."""
        if name != self.holder:
            raise RefusedError(f"{name or 'nobody'} does not hold the lease: {self.holder} does")
        self.holder = self.command = None

    def desert(self) -> str | None:
        """Whoever was heard last has gone: so has the lease. Returns whose it was.

        A holder who was not heard yet is another one, who has only just sat down.
        """
        holder = self.holder if self.command is not None else None
        if holder is not None:
            self.release(holder)
        return holder

    def hear(self, command: OperatorCommand) -> None:
        """Take in the newest command; one of another lease or shape is counted and dropped."""
        ours = self.holder is not None and command.lease == self.holder
        fits = command.velocity.shape == self._shapes[command.frame]
        if ours and fits and np.isfinite(command.velocity).all():
            self.command = command
            self._heard_ns = command.t_ns
            self._released |= not command.deadman or command.want != "drive"
        else:
            self.ignored += 1

    def present(self, now_ns: int) -> bool:
        """The dead-man is held and the input is fresh."""
        command = self.command
        return command is not None and command.deadman and now_ns - command.t_ns <= self._max_age_ns

    def drives(self, now_ns: int) -> bool:
        """Present, wants to, and has let go since driving was last ended."""
        return self._presses() and self._released and self.present(now_ns)

    def end_driving(self) -> None:
        """After a hold, a stop, a fault or a lost link, a hand that still presses moves nothing."""
        if self._presses():
            self._released = False

    def forget(self, now_ns: int) -> None:
        """The lease ends with its holder: one that is silent for long has gone."""
        if self.holder is not None and now_ns - self._heard_ns > _FORGOTTEN_NS:
            self.holder = self.command = None

    def _presses(self) -> bool:
        command = self.command
        return command is not None and command.deadman and command.want == "drive"
