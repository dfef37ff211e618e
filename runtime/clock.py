"""Time is CLOCK_MONOTONIC nanoseconds in integers; every loop is given its clock.

On the robot the clock is the machine's; in lockstep runs it is the robot's (`VirtualClock`), so the
same loop bodies run faster than real time and give the same decisions every time.
"""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000
_AT_ONCE_NS = 20 * NS_PER_US
_LOOKS = 5  # at two clocks; so often in a row nobody is kept waiting between them


@cache
def boot_id() -> str:
    """Identity of this boot: monotonic times of different boots are never subtracted."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]


def ahead_ns(clock_id: int) -> int:
    """How far another clock of this machine (`time.CLOCK_…`) is ahead of CLOCK_MONOTONIC.

    Looked at again where we were kept waiting between the two: a look is wrong by half of that.
    """
    looks = []
    for _ in range(_LOOKS):
        before_ns, there_ns = time.monotonic_ns(), time.clock_gettime_ns(clock_id)
        took_ns = time.monotonic_ns() - before_ns
        looks.append((took_ns, there_ns - before_ns - took_ns // 2))
        if took_ns < _AT_ONCE_NS:
            break
    return min(looks)[1]


class Clock(Protocol):
    def now_ns(self) -> int: ...
    def sleep_until(self, t_ns: int) -> None: ...


class MonotonicClock:
    """The machine's clock. `spin_ns` of each wait is spun: sleep wakes late, a spin does not."""

    def __init__(self, spin_ns: int = 0) -> None:
        self._spin_ns = spin_ns

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until(self, t_ns: int) -> None:
        remaining_ns = t_ns - self._spin_ns - time.monotonic_ns()
        if remaining_ns > 0:
            time.sleep(remaining_ns * 1e-9)
        while time.monotonic_ns() < t_ns:
            pass


class VirtualClock:
    """A clock that only moves when told to; sleeping moves it."""

    def __init__(self, t_ns: int = NS_PER_S) -> None:
        self._t_ns = t_ns

    def now_ns(self) -> int:
        return self._t_ns

    def sleep_until(self, t_ns: int) -> None:
        self._t_ns = max(self._t_ns, t_ns)


@dataclass(frozen=True, slots=True)
class Beat:
    """One tick of a grid: which, when it was due, when it came, how many were skipped before."""

    index: int
    due_ns: int
    wake_ns: int
    skipped: int

    @property
    def lateness_ns(self) -> int:
        return self.wake_ns - self.due_ns


class Grid:
    """Ticks at `t0 + k·period`: no bursts, no drift; missed ticks are skipped and counted."""

    def __init__(self, clock: Clock, rate_hz: float) -> None:
        self.period_ns = round(NS_PER_S / rate_hz)
        self._clock = clock
        self._t0_ns = clock.now_ns()
        self._index = 0

    def wait(self) -> Beat:
        """Sleep to the next tick that is still ahead and return it."""
        now_ns = self._clock.now_ns()
        following = self._index + 1
        reachable = (now_ns - self._t0_ns) // self.period_ns
        # A tick whose whole period has passed is gone; the current one is still served late.
        self._index = max(following, reachable)
        due_ns = self._t0_ns + self._index * self.period_ns
        self._clock.sleep_until(due_ns)
        return Beat(self._index, due_ns, self._clock.now_ns(), self._index - following)
