"""Which row of the store holds what of a prompt, and where it stands in the sequence.

    rows       [head][pictures …][unread][words between pictures][spare][asking][read-out]
    sequence   head, picture, words between, picture, …, asking, read-out, unread

The text has a fixed number of rows, so that every instruction makes steps of the same size; rows
that it does not fill are spare and seen by nobody. Rotary positions and sight follow the sequence:
what comes out equals a prompt without spare rows.

A head that sees the pictures behind it changes with them: its rows then stand before the unread
ones, and are computed in every step as the text is.
"""

from dataclasses import dataclass, field

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.session import Prompt
from tandem.policies.trunk.trunk import Trunk
from tandem.policies.vla.words import STATE, Words
from tandem.runtime.errors import ConfigError, RefusedError
from torch import Tensor


@dataclass(frozen=True)
class CameraLayout(Layout):
    """What a rule sees of one camera among several: its picture, and the text behind them all."""

    between: int = field(default=0, kw_only=True)  # rows of later pictures, and what is no text

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
    text: int  # most tokens after the last picture, all that follow included
    readouts: int
    unread: int = 0  # tokens after those that are read out
    bidirectional: bool = False
    levels: tuple[int, ...] = ()  # patches of each static level of an SD-VLA

    def layout(self) -> Layout:
        """Of all pictures together."""
        dynamic = self.visual - sum(self.levels)
        text = self._late + self._text_rows
        return Layout(self._first, self.levels, dynamic, 1, text, self.readouts)

    def camera_layouts(self) -> list[CameraLayout]:
        n = self.patches
        return [
            CameraLayout(
                self._first + i * n, (), n, 1, self._text_rows, self.readouts,
                between=(self.pictures - 1 - i) * n + self._late,
            )
            for i in range(self.pictures)
        ]  # fmt: skip

    @property
    def visual(self) -> int:
        return self.pictures * self.patches

    @property
    def mutual(self) -> bool:
        """Every row sees every other; static levels see neither text nor what is dynamic."""
        return self.bidirectional and not self.levels

    @property
    def _first(self) -> int:
        """Rows of the head that no picture can change."""
        return 0 if self.mutual else self.head

    @property
    def _late(self) -> int:
        """Rows computed in every step that are neither text nor read out."""
        return self.head - self._first + self.unread

    @property
    def _gaps(self) -> int:
        return (self.pictures - 1) * self.gap

    @property
    def _text_rows(self) -> int:
        return self._gaps + self.text - self.unread - self.readouts

    def spare(self, words: Words) -> int:
        """Rows that these words leave empty.

        Raises:
            RefusedError: they do not fit.
            ConfigError: there are fewer of them than read-outs.
        """
        count, room = len(words.tail), self.text - len(words.ending)
        if count > room:
            raise RefusedError(
                f"the instruction makes a prompt of {count} tokens, there is room for {room}; "
                "say it shorter, or raise s2.options.text_tokens"
            )
        if count + len(words.ending) < self.readouts + self.unread:
            raise ConfigError(
                f"s2.options.readouts is {self.readouts}, but the prompt ends in {count} tokens; "
                f"it can be 1 to {count}"
            )
        return room - count

    def prompt(self, words: Words, trunk: Trunk, state: Tensor | None = None) -> Prompt:
        """The rows that are no picture. state [1, width]: where the words have a place for it."""
        asked = [*words.tail, *words.ending]
        said = len(asked) - self.unread
        gaps = words.gap[: self._gaps]
        text = [*asked[said:], *gaps, *[0] * self.spare(words), *asked[:said]]
        tokens = torch.tensor([*words.head, *text], device=trunk.norm.weight.device)
        rows = trunk.embed(tokens.clamp(min=0)) * (tokens >= 0)[:, None]
        if state is not None:
            rows = torch.where((tokens == STATE)[:, None], state, rows)
        ends = [self._first, self._late + self._text_rows, self.readouts]
        return Prompt(*rows.split(ends))

    def positions(self, words: Words) -> Tensor:
        """int64 [rows] places in the sequence, pictures in raster order; spare rows at 0."""
        n, gap = self.patches, self.gap
        first, late = torch.arange(self.head).tensor_split([self._first])
        each = torch.arange(self.pictures)[:, None] * (n + gap) + self.head
        pictures = (each + torch.arange(n)).flatten()
        gaps = (each[:-1] + n + torch.arange(gap)).flatten()
        spare = torch.zeros(self.spare(words), dtype=torch.long)
        asked = torch.arange(len(words.tail) + len(words.ending))
        asked = asked + self.head + self.visual + self._gaps
        said, unread = asked.tensor_split([len(asked) - self.unread])
        return torch.cat([first, pictures, late, unread, gaps, spare, said])

    def used(self, words: Words) -> Tensor:
        """bool [rows]: not spare."""
        first = self.head + self.visual + self.unread + self._gaps
        used = torch.ones(first + self.text - self.unread, dtype=torch.bool)
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
