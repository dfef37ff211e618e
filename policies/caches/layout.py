"""Which row of the sequence is what: `[BOS][L1][L2]…[dynamic frames][text][read-out]`.

With `text_first` the text stands between BOS and L1, where it too can be cached. Rows are places in
the KV store, not rotary positions. A cache that knows no levels has `levels=()`, one frame and all
N patches of it in raster order as its dynamic rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tandem.runtime.errors import ConfigError


@dataclass(frozen=True)
class Layout:
    """Sizes in tokens. Raises ConfigError for a size that cannot be."""

    bos: int
    levels: tuple[int, ...]  # static tokens of each level, the most persistent first
    dynamic: int  # tokens a frame
    frames: int  # dynamic frames held
    text: int
    readout: int
    text_first: bool = False

    def __post_init__(self) -> None:
        sizes = (self.bos, *self.levels, self.dynamic, self.text)
        if min(sizes) < 0 or self.frames < 1 or self.readout < 1:
            raise ConfigError(f"{self}: sizes are ≥ 0, frames and readout ≥ 1")

    @property
    def rows(self) -> int:
        return self.visual_rows.stop + self.readout + (0 if self.text_first else self.text)

    @property
    def static(self) -> int:
        """Tokens of all levels together."""
        return sum(self.levels)

    @property
    def head(self) -> list[range]:
        """What stands before every picture: BOS, and the text if it is first."""
        return [range(self.bos), *([self.text_rows] if self.text_first else [])]

    @property
    def visual_rows(self) -> range:
        """All levels, then all frames."""
        start = self.bos + (self.text if self.text_first else 0)
        return range(start, start + self.static + self.frames * self.dynamic)

    def level_rows(self, level: int) -> range:
        start = self.visual_rows.start + sum(self.levels[:level])
        return range(start, start + self.levels[level])

    def frame_rows(self, slot: int) -> range:
        """Rows of the dynamic tokens of the frame in one slot."""
        start = self.visual_rows.start + self.static + slot * self.dynamic
        return range(start, start + self.dynamic)

    @property
    def text_rows(self) -> range:
        start = self.bos if self.text_first else self.visual_rows.stop
        return range(start, start + self.text)

    @property
    def readout_rows(self) -> range:
        return range(self.rows - self.readout, self.rows)

    @property
    def tail(self) -> list[range]:
        """What stands behind every picture: the text, if it is not first, and the read-out."""
        return [*([] if self.text_first else [self.text_rows]), self.readout_rows]


def flat(ranges: Sequence[range]) -> list[int]:
    """Rows of several ranges, one after the other."""
    return [row for rows in ranges for row in rows]
