"""What can go wrong between client and robot, on demand: decided packet by packet, with a seed."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from tandem.runtime.errors import RefusedError

KINDS = (
    "silence", "freeze", "late", "lose", "reorder", "reflex", "user_stop", "release", "close_tcp",
    "push", "none",
)  # fmt: skip


@dataclass
class Faults:
    """The standing ones. Shares are of the packets, times in ticks of 1 ms."""

    silent: bool = False  # no state leaves the robot, TCP lives on
    frozen: bool = False  # nothing at all happens any more, and no socket is closed
    late_ticks: int = 0  # states leave so much later
    lose_share: float = 0.0  # of the commands, in bursts
    burst_max: int = 1
    reorder_share: float = 0.0  # of the states, sent after the one that follows them


class Channel:
    """Carries the datagrams between robot and client, as badly as `faults` says."""

    def __init__(self, seed: int = 0) -> None:
        self.faults = Faults()
        self._rng = np.random.default_rng(seed)
        self._losing = 0  # commands of the present burst still to lose
        self._over = False
        self._queue: deque[tuple[int, bytes]] = deque()
        self._held: bytes | None = None
        self._tick = 0

    def lose(self, count: int) -> None:
        """The next `count` commands never arrive."""
        self._losing += count

    def arrives(self) -> bool:
        """Does the command of this tick arrive?"""
        faults = self.faults
        over, self._over = self._over, False
        if self._losing == 0 and faults.lose_share > 0 and not over:
            # Bursts have a mean length of (1 + max) / 2; so often must one begin.
            begin = faults.lose_share / ((1 + faults.burst_max) / 2)
            if self._rng.random() < begin:
                self._losing = int(self._rng.integers(1, faults.burst_max + 1))
        if self._losing > 0:
            self._losing -= 1
            self._over = self._losing == 0  # no burst begins where another has just ended
            return False
        return True

    def leaving(self, state: bytes) -> list[bytes]:
        """What leaves the robot in this tick, in which order."""
        faults, self._tick = self.faults, self._tick + 1
        if faults.silent:
            self._queue.clear()
            return []
        if faults.late_ticks == 0 and faults.reorder_share == 0.0 and not self._queue:
            return [state]
        self._queue.append((self._tick + faults.late_ticks, bytes(state)))
        due = []
        while self._queue and self._queue[0][0] <= self._tick:
            due.append(self._queue.popleft()[1])
        return self._reordered(due)

    def _reordered(self, due: list[bytes]) -> list[bytes]:
        if self._held is not None and due:
            due, self._held = [*due, self._held], None
        elif due and self._rng.random() < self.faults.reorder_share:
            self._held, due = due[0], due[1:]
        return due


def checked(kind: str) -> str:
    """Raises RefusedError: there is no such fault."""
    if kind not in KINDS:
        raise RefusedError(f"no fault is called {kind!r}; there are {', '.join(KINDS)}")
    return kind
