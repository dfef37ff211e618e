"""Who sees whom, and where each row stands in the rotary sense. Positions never grow.

Three ways to carry past frames:

`recompute_window`  every frame held goes through the trunk in every step. Exact, and dear.
`append_causal`     a frame sees the frames before it and is computed once. Exact while the window
                    fills; after an eviction the others still carry what they saw of the lost frame,
                    and their keys are turned to their new places.
`frame_isolated`    a frame sees the static rows and itself; text and read-out see all frames. All
                    frames stand at the same positions, those that directly follow the static rows:
                    what was computed for a frame holds wherever it stands and whichever frames come
                    and go. How old a frame is must be told by its content (`model.TimeCode`).

Inside a block rows see each other causally, or both ways for trunks that were trained with a
bidirectional prefix (PaliGemma, OpenVLA-OFT); across blocks sight is always causal, or nothing
could be kept (block masks as in openpi's make_att_2d_masks).
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from tandem.policies.caches.layout import Layout, flat
from tandem.policies.trunk.masks import block_seen, isolated
from tandem.runtime.errors import ConfigError
from torch import Tensor

Mode = Literal["recompute_window", "append_causal", "frame_isolated"]
Selection = tuple[Tensor, Tensor, Tensor]  # rows, positions, sight


class Geometry:
    """Masks and positions of one layout."""

    def __init__(
        self,
        layout: Layout,
        mode: Mode = "frame_isolated",
        bidirectional: bool = False,
        grid: Tensor | None = None,
    ) -> None:
        """grid: for M-RoPE int64 [static + dynamic, 2], row and column of each visual token."""
        if mode not in get_args(Mode):
            raise ConfigError(f"history mode {mode!r} does not exist; {', '.join(get_args(Mode))}")
        self.layout, self.mode = layout, mode
        self.bidirectional, self.grid = bidirectional, grid
        self.ordered = mode != "frame_isolated"
        self.positions = _linear(layout, self.ordered)
        if grid is not None:
            self.positions = _axes(layout, self.ordered, grid)
        self._seen = self._sight(bidirectional)
        self._known: dict[int, Tensor] = {}  # per number of frames held

    @property
    def prefix(self) -> list[range]:
        """Rows of what comes before the frames, group by group: BOS, text if first, levels."""
        layout = self.layout
        return [*layout.head, *map(layout.level_rows, range(len(layout.levels)))]

    def shift(self) -> Tensor:
        """What a key must be turned by when its frame moves down by one place: [], or [3, 1]."""
        later, earlier = (self.layout.frame_rows(slot)[0] for slot in (1, 0))
        return self.positions[..., [earlier]] - self.positions[..., [later]]

    def seen(self, frames: int) -> Tensor:
        """bool [rows, rows] with frames in the first so many slots. Empty slots are not seen."""
        if frames not in self._known:
            rows = self.layout.rows
            empty = torch.zeros(rows, dtype=torch.bool)
            empty[self.layout.frame_rows(frames).start : self.layout.visual_rows.stop] = True
            # A row that sees nothing would become NaN: it sees itself.
            self._known[frames] = (self._seen & ~empty) | torch.eye(rows, dtype=torch.bool)
        return self._known[frames]

    def select(self, stale: int, slots: Sequence[int], frames: int) -> Selection:
        """Rows of the prefix from group `stale` on, of the frames in `slots` and of the tail.

        frames: how many are held in all, computed now or not. Returns rows [n], their positions
        and what they see [n, rows].
        """
        layout = self.layout
        now = [layout.frame_rows(slot) for slot in slots]
        rows = torch.tensor(flat([*self.prefix[stale:], *now, *layout.tail]))
        return rows, self.positions[..., rows], self.seen(frames)[rows]

    def _sight(self, bidirectional: bool) -> Tensor:
        layout = self.layout
        frame = torch.full((layout.rows,), -1)
        for slot in range(layout.frames):
            frame[list(layout.frame_rows(slot))] = slot
        blocks = [*self.prefix, *map(layout.frame_rows, range(layout.frames)), *layout.tail]
        number = torch.repeat_interleave(torch.tensor([len(block) for block in blocks]))
        place = torch.arange(layout.rows)
        seen = block_seen(number, number, None if bidirectional else (place, place))
        return seen if self.ordered else seen & isolated(frame, frame)


def _linear(layout: Layout, ordered: bool) -> Tensor:
    """Positions [rows]: the row itself, but frames may all stand at the first frame's place."""
    positions = torch.arange(layout.rows)
    if not ordered:
        first, behind = layout.frame_rows(0), layout.visual_rows.stop
        for slot in range(1, layout.frames):
            positions[list(layout.frame_rows(slot))] = torch.tensor(list(first))
        positions[behind:] -= behind - first.stop
    return positions


def _axes(layout: Layout, ordered: bool, grid: Tensor) -> Tensor:
    """Positions [3, rows] of time, height, width (M-RoPE): visual tokens keep their true places.

    Text goes on after the greatest position there can be, so that it never moves.
    """
    if grid.shape != (layout.static + layout.dynamic, 2):
        raise ConfigError(
            f"the grid has shape {[*grid.shape]}; a row and a column for each of the "
            f"{layout.static} static and {layout.dynamic} dynamic tokens are needed"
        )
    visual = layout.visual_rows
    positions = torch.arange(layout.rows).repeat(3, 1)
    static, dynamic = grid.T.split([layout.static, layout.dynamic], 1)
    places = torch.cat([static, dynamic.repeat(1, layout.frames)], 1)
    positions[1:, list(visual)] = visual.start + places
    positions[0, list(visual)] = visual.start
    for slot in range(layout.frames if ordered else 0):
        positions[0, list(layout.frame_rows(slot))] += slot
    extent = max(int(places.max()) + 1, layout.frames if ordered else 1)
    positions[:, visual.stop :] += visual.start + extent - visual.stop
    return positions
