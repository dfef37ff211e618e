"""Which past frames to look at: twenty, however long the past has become.

`pinned`, which is at work, keeps the first frame for ever, the last seconds densely and the rest
sparsely: the first frame shows where everything stood, half-second steps count how long something
has lasted, and logarithmic steps up to forty seconds tell what was done. The others are there to be
compared with it; `dense` is the published window, twenty consecutive frames at 10 Hz.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

FRAMES = 20
EVERY_S = 0.5  # between looks
_RECENT, _HORIZON_S = 10, 40.0


@dataclass(frozen=True)
class History:
    """`ages_s`: the ages wanted, newest first, from 0; they rise."""

    ages_s: tuple[float, ...]
    pinned: bool = False  # the first frame of all belongs to it, whatever its age
    look_s: float = EVERY_S

    @property
    def frames(self) -> int:
        """The most that are looked at."""
        return len(self.ages_s) + self.pinned

    @property
    def kept_s(self) -> float:
        """Older frames can go, but for a pinned one."""
        return self.ages_s[-1] + self._tolerance_s(len(self.ages_s) - 1)

    def select(self, times_s: Sequence[float]) -> list[int]:
        """Indices into `times_s` (ascending; the last is now) of the frames to look at, ascending.

        The newest is always among them, and the first if it is pinned; each is there once. Of the
        others, each wanted age brings the frame nearest to it, if there is one near enough.
        """
        now_s = times_s[-1]
        chosen = {len(times_s) - 1, *([0] if self.pinned else [])}
        for slot, age_s in enumerate(self.ages_s):
            nearest = _nearest(times_s, now_s - age_s)
            if abs(times_s[nearest] - (now_s - age_s)) <= self._tolerance_s(slot):
                chosen.add(nearest)
        return sorted(chosen)

    def _tolerance_s(self, slot: int) -> float:
        """How far off a frame may be: half of the smaller step to a neighbouring age."""
        around = self.ages_s[max(0, slot - 1) : slot + 2]
        return min(b - a for a, b in pairwise(around)) / 2


def _nearest(times_s: Sequence[float], t_s: float) -> int:
    after = bisect_left(times_s, t_s)
    if after == 0:
        return 0
    if after == len(times_s):
        return after - 1
    return after if times_s[after] - t_s < t_s - times_s[after - 1] else after - 1


def _steps(count: int, step_s: float) -> tuple[float, ...]:
    return tuple(i * step_s for i in range(count))


def _spread(count: int) -> tuple[float, ...]:
    """Half-second steps, then steps that grow by a ratio up to the horizon."""
    recent, older = _steps(_RECENT, EVERY_S), count - _RECENT
    ratio = (_HORIZON_S / recent[-1]) ** (1 / older)
    return (*recent, *(recent[-1] * ratio ** (i + 1) for i in range(older)))


Name = Literal["pinned", "unpinned", "uniform", "dense"]
HISTORIES: dict[Name, History] = {
    "pinned": History(_spread(FRAMES - 1), pinned=True),
    "unpinned": History(_spread(FRAMES)),
    "uniform": History(_steps(FRAMES, 2.0)),
    "dense": History(_steps(FRAMES, 0.1), look_s=0.1),
}
