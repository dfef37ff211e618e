"""Which past frames are kept: the last ones, evenly or logarithmically spaced ones, the first.

Twenty consecutive frames at 10 Hz are two seconds. A task that asks what was where at the beginning
needs the first frame pinned and the rest spread over the time that counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

Keep = Callable[[Sequence[float]], int]
"""Capture times [s] of the frames held and of the one coming in (the last), oldest first, to the
place of the one that goes. Never the last."""


@dataclass(frozen=True)
class Last:
    """Keeps the last frames; `pinned` ones at the beginning stay for ever."""

    pinned: int = 0

    def __call__(self, times_s: Sequence[float]) -> int:
        return min(self.pinned, len(times_s) - 2)


@dataclass(frozen=True)
class Spaced:
    """Keeps frames `step_s` apart, beyond the age `even_s` ever farther: spacing grows with age.

    With even_s ≥ horizon_s the spacing is even (a stride), with a small even_s logarithmic. What is
    older than `horizon_s` goes first. Otherwise the frame goes whose neighbours, left alone, are
    closest together, measured in the spacing wanted at that age.
    """

    step_s: float
    even_s: float
    horizon_s: float
    pinned: int = 0

    def spacing_s(self, age_s: float) -> float:
        return self.step_s * max(1.0, age_s / self.even_s)

    def __call__(self, times_s: Sequence[float]) -> int:
        now_s = times_s[-1]
        first = min(self.pinned, len(times_s) - 2)
        if now_s - times_s[first] > self.horizon_s:
            return first
        inner = range(max(first, 1), len(times_s) - 1)

        def crowd(place: int) -> float:
            gap_s = times_s[place + 1] - times_s[place - 1]
            return gap_s / self.spacing_s(now_s - times_s[place])

        return min(inner, key=crowd, default=first)


@dataclass
class Frame:
    """A frame held. Its tokens survive: it can be computed anew without the vision tower."""

    tokens: Tensor  # [dynamic, width]
    time_s: float
    slot: int
    behind: bool = True  # what is cached of it does not follow from the present static rows


@dataclass
class Window:
    """The frames held, oldest first, and which slot each of them stands in.

    `ordered`: slots are places in time, and those after an eviction move down by one. Otherwise a
    frame stays in the slot that it got.
    """

    capacity: int
    keep: Keep
    ordered: bool
    frames: list[Frame] = field(default_factory=list)

    def admit(self, tokens: Tensor, time_s: float) -> Frame | None:
        """Takes in the newest frame; returns the one that had to go, with the slot it had."""
        gone = self._evict(time_s) if len(self.frames) == self.capacity else None
        slot = len(self.frames) if gone is None or self.ordered else gone.slot
        self.frames.append(Frame(tokens, time_s, slot))
        return gone

    def by_slot(self) -> list[Frame]:
        """The slots filled are always the first ones."""
        return sorted(self.frames, key=lambda frame: frame.slot)

    def _evict(self, time_s: float) -> Frame:
        place = 0
        if self.capacity > 1:
            place = self.keep([*(frame.time_s for frame in self.frames), time_s])
        gone = self.frames.pop(place)
        if self.ordered:
            for frame in self.frames[place:]:
                frame.slot -= 1
        return gone
