"""Which row of the store holds what of a prompt, and where it stands in the sequence.

    rows       [head][pictures …][words between pictures][spare][asking][read-out]
    sequence   head, picture, words between, picture, …, asking, read-out

The text has a fixed number of rows, so that every instruction makes steps of the same size; rows
that it does not fill are spare and seen by nobody. Rotary positions and sight follow the sequence:
what comes out equals a prompt without spare rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.session import Prompt
from tandem.policies.trunk.trunk import Trunk
from tandem.policies.vla.words import Words
from tandem.runtime.errors import ConfigError, RefusedError
from torch import Tensor


@dataclass(frozen=True)
class CameraLayout(Layout):
    """What a rule sees of one camera among several: its picture, and the text behind them all."""

    between: int = field(default=0, kw_only=True)  # rows of later pictures

    @property
    def rows(self) -> int:
        return self.text_rows.stop + self.readout

    @property
    def text_rows(self) -> range:
        start = self.visual_rows.stop + self.between
        return range(start, start + self.text)


@dataclass(frozen=True)
class Room:
    """What stays the same from instruction to instruction. Sizes in tokens."""

    head: int
    gap: int  # between two pictures
    pictures: int
    patches: int  # of one picture
    text: int  # most tokens after the last picture, read-out included
    readouts: int
    bidirectional: bool = False

    def layout(self, levels: Sequence[int] = ()) -> Layout:
        """Of all pictures together; `levels` are those of an SD-VLA."""
        dynamic = self.visual - sum(levels)
        return Layout(self.head, tuple(levels), dynamic, 1, self._text_rows, self.readouts)

    def camera_layouts(self) -> list[CameraLayout]:
        n = self.patches
        return [
            CameraLayout(
                self.head + i * n, (), n, 1, self._text_rows, self.readouts,
                between=(self.pictures - 1 - i) * n,
            )
            for i in range(self.pictures)
        ]  # fmt: skip

    @property
    def visual(self) -> int:
        return self.pictures * self.patches

    @property
    def _gaps(self) -> int:
        return (self.pictures - 1) * self.gap

    @property
    def _text_rows(self) -> int:
        return self._gaps + self.text - self.readouts

    def spare(self, words: Words) -> int:
        """Rows that these words leave empty.

        Raises:
            RefusedError: they do not fit.
            ConfigError: there are fewer of them than read-outs.
        """
        count = len(words.tail)
        if count > self.text:
            raise RefusedError(
                f"the instruction makes a prompt of {count} tokens, there is room for {self.text}; "
                "say it shorter, or raise s2.options.text_tokens"
            )
        if count < self.readouts:
            raise ConfigError(
                f"s2.options.readouts is {self.readouts}, but the prompt ends in {count} tokens; "
                f"it can be 1 to {count}"
            )
        return self.text - count

    def prompt(self, words: Words, trunk: Trunk) -> Prompt:
        """The rows that are no picture."""
        gaps = words.gap * (self.pictures - 1)
        text = [*gaps, *[0] * self.spare(words), *words.tail]
        tokens = torch.tensor([*words.head, *text], device=trunk.norm.weight.device)
        rows = trunk.embed(tokens)
        ends = [self.head, self._text_rows, self.readouts]
        return Prompt(*rows.split(ends))

    def positions(self, words: Words) -> Tensor:
        """int64 [rows] places in the sequence, pictures in raster order; spare rows at 0."""
        n, gap = self.patches, self.gap
        head = torch.arange(self.head)
        each = torch.arange(self.pictures)[:, None] * (n + gap) + self.head
        pictures = (each + torch.arange(n)).flatten()
        gaps = (each[:-1] + n + torch.arange(gap)).flatten()
        spare = torch.zeros(self.spare(words), dtype=torch.long)
        tail = self.head + self.visual + self._gaps + torch.arange(len(words.tail))
        return torch.cat([head, pictures, gaps, spare, tail])

    def used(self, words: Words) -> Tensor:
        """bool [rows]: not spare."""
        first = self.head + self.visual + self._gaps
        used = torch.ones(first + self.text, dtype=torch.bool)
        used[first : first + self.spare(words)] = False
        return used

    def seen(self, words: Words) -> Tensor:
        """bool [rows, rows]: what stands before in the sequence, or the whole prompt."""
        at = self.positions(words)
        seen = torch.ones(len(at), len(at), dtype=torch.bool)
        return among(seen if self.bidirectional else at[None, :] <= at[:, None], self.used(words))


def among(seen: Tensor, used: Tensor) -> Tensor:
    """The sight [rows, rows] without rows that are spare; those see themselves, or became NaN."""
    return (seen & used[None, :] & used[:, None]) | torch.eye(len(used), dtype=torch.bool)
