"""Shape of the model that remembers, in one place."""

from dataclasses import dataclass
from typing import Literal

from tandem.policies.memory.history import HISTORIES, History, Name
from tandem.policies.memory.subgoals import SUBGOALS
from tandem.policies.s2.config import S2Config

# Who refreshes the statics; `blank`: they never saw anything, so that the history is alone.
Refresh = Literal["gate", "interval", "hand-over", "never", "blank"]
INTERVAL_LOOKS = 15  # from one refresh of L2 to the next: as often as the gate does it at work


@dataclass(frozen=True)
class MemoryConfig:
    """Sizes. The sequence is `[L1][L2][dynamic, frame by frame][seconds, read-out]`."""

    image: int = 128  # pixels a side
    shrink: int = 2  # the stem sees means of so many pixels a side
    stem: tuple[int, ...] = (24, 48)  # channels before the last convolution
    width: int = 96
    heads: int = 4
    depth: int = 2
    squeeze: int = 12  # channels a patch keeps before patches are mixed into tokens
    levels: tuple[int, ...] = (4, 8)  # static tokens: L1, L2
    dynamic: int = 2  # tokens a frame
    answers: int = len(SUBGOALS)
    remembered: Name = "pinned"
    refresh: Refresh = "gate"

    @property
    def seeing(self) -> S2Config:
        """The same, for the stem that it shares with System 2 of the pick task."""
        return S2Config(image=self.image // self.shrink, stem=self.stem, width=self.width)

    @property
    def statics(self) -> int:
        return sum(self.levels)

    @property
    def history(self) -> History:
        return HISTORIES[self.remembered]
