"""The cached step: what has changed goes through the trunk, and what follows from it.

    nothing refreshed   the newest frame (recompute_window: all frames), text, read-out
    L2 refreshed        L2 on the cached L1, all frames held, text, read-out
    L1 refreshed        everything but BOS (and the text, where it stands first)

Every row's keys and values then equal those of a full forward over the same tokens, however old
the static ones are; only `append_causal` departs from that, after an eviction. The tokens of levels
and frames are kept, so recomputing them needs no vision tower.

With twenty frames of history most of a refresh is history. `renew` spreads it over the next steps:
so many older frames are computed anew in each, the newest first, and until they all are, the others
are seen as they were under the old static rows. A step then never costs much more than another.
"""

from collections.abc import Sequence

import torch
from tandem.policies.caches.layout import flat
from tandem.policies.caches.sdvla.geometry import Geometry, Selection
from tandem.policies.caches.sdvla.history import Frame, Keep, Last, Window
from tandem.policies.trunk.trunk import Trunk
from tandem.runtime.errors import ConfigError
from torch import Tensor

_KINDS = 256  # kinds of steps remembered; more only occur where `renew` meets an odd history


class Engine:
    """One stream of frames on one trunk. Tokens are embedded already: [n, width]."""

    def __init__(
        self,
        trunk: Trunk,
        geometry: Geometry,
        keep: Keep | None = None,
        renew: int | None = None,
    ) -> None:
        """renew: older frames that one step computes anew after a refresh; None, all: exact.

        Raises:
            ConfigError: `renew` where frames see each other, so that none can be renewed alone.
        """
        if renew is not None and geometry.ordered:
            raise ConfigError(f"renew needs frame_isolated history; this is {geometry.mode}")
        self.renew = renew
        self.trunk, self.geometry, self.layout = trunk, geometry, geometry.layout
        self.kv = trunk.store(self.layout.rows)
        self.keep = keep or Last()
        self._indices: dict[tuple[int, tuple[int, ...], int], Selection] = {}
        self.reset()

    def reset(self) -> None:
        """Forgets everything: static tokens, text and frames."""
        self.prefix: list[Tensor | None] = [None] * len(self.geometry.prefix)
        self.stale = 0  # first group of the prefix whose keys and values must be computed anew
        self.text: Tensor | None = None
        self.window = Window(self.layout.frames, self.keep, self.geometry.ordered)

    @property
    def _levels(self) -> int:
        """Group of the prefix that is level 0."""
        return len(self.prefix) - len(self.layout.levels)

    def instruct(self, bos: Tensor, text: Tensor) -> None:
        """Tokens of BOS and of the text. Where the text stands first, all follows from it."""
        for group, tokens in enumerate([bos, text] if self.layout.text_first else [bos]):
            known = self.prefix[group]
            if known is None or not torch.equal(known, tokens):
                self._put(group, tokens)
        self.text = text

    def refresh(self, top: int, levels: Sequence[Tensor]) -> None:
        """New tokens for level `top` and all below it; they are computed with the next frame."""
        if len(levels) != len(self.layout.levels) - top:
            raise ValueError(f"refreshing from level {top} needs tokens of every level below it")
        for level, tokens in enumerate(levels, top):
            self._put(self._levels + level, tokens)

    def advance(self, tokens: Tensor, readout: Tensor, time_s: float) -> Tensor:
        """Takes in the newest frame's dynamic tokens; returns the read-out's hidden [n, width].

        Call `instruct` and `refresh` before the first frame, and whenever they are due.
        """
        if any(group is None for group in self.prefix):
            raise ValueError("instruct and refresh from level 0 come before the first frame")
        gone = self.window.admit(tokens, time_s)
        if gone is not None and self.geometry.mode == "append_causal":
            self._close_gap(gone)
        due = self._due()
        x, (rows, positions, seen) = self._gather(self.stale, due, readout)
        hidden = self.trunk.step(x[None], rows, positions, seen, self.kv)
        self.stale = len(self.prefix)
        for frame in due:
            frame.behind = False
        return hidden[0, -len(readout) :]

    def whole(self, readout: Tensor) -> Tensor:
        """The read-out's hidden over the same tokens by one full forward: the yardstick."""
        x, (rows, positions, seen) = self._gather(0, self.window.by_slot(), readout)
        return self.trunk(x[None], positions, seen[:, rows])[0, -len(readout) :]

    def _put(self, group: int, tokens: Tensor) -> None:
        self.prefix[group] = tokens
        self.stale = min(self.stale, group)
        for frame in self.window.frames:
            frame.behind = True

    def _due(self) -> list[Frame]:
        """Frames that this step computes, by slot; the newest is always among them."""
        behind = [frame for frame in reversed(self.window.frames) if frame.behind]
        if self.geometry.mode == "recompute_window" or (self.geometry.ordered and len(behind) > 1):
            return self.window.by_slot()
        if self.renew is not None:
            behind = behind[: 1 + self.renew]
        return sorted(behind, key=lambda frame: frame.slot)

    def _gather(self, stale: int, frames: list[Frame], readout: Tensor) -> tuple[Tensor, Selection]:
        """Tokens of the prefix from group `stale` on, of these frames and of the tail."""
        prefix = [group for group in self.prefix[stale:] if group is not None]
        tail = [readout] if self.text is None or self.layout.text_first else [self.text, readout]
        x = torch.cat([*prefix, *(frame.tokens for frame in frames), *tail])
        return x, self._index(stale, tuple(frame.slot for frame in frames))

    def _index(self, stale: int, slots: tuple[int, ...]) -> Selection:
        """Made once for each kind of step and kept on the device."""
        key = (stale, slots, len(self.window.frames))
        if key not in self._indices:
            if len(self._indices) > _KINDS:
                self._indices.clear()
            rows, positions, seen = self.geometry.select(*key)
            device = self.kv.keys.device
            self._indices[key] = rows.to(device), positions.to(device), seen.to(device)
        return self._indices[key]

    def _close_gap(self, gone: Frame) -> None:
        """The frames after the lost one move down by one place, keys turned with them."""
        places = range(gone.slot, self.layout.frames - 1)
        if not places:
            return
        device = self.kv.keys.device
        rows = torch.tensor(flat([self.layout.frame_rows(slot) for slot in places])).to(device)
        self.kv.copy(rows + self.layout.dynamic, rows)
        by = self.geometry.shift().to(device)
        self.kv.turn(rows, by.expand(*by.shape[:-1], len(rows)))
