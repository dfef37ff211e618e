"""A scene on an engine, and what one full forward makes of it, written from the rules: not from the
engine's masks and positions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.sdvla.engine import Engine
from torch import Tensor

from tests.policies.caches.sdvla.families import TRUNKS, WIDTH, grid

LEVELS = (5, 4)
LAYOUT = Layout(1, LEVELS, 3, 4, 3, 2)
READOUT = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(3))


def tokens(count: int) -> Tensor:
    return torch.randn(count, WIDTH)


@dataclass
class Scene:
    """Drives an engine and remembers, by itself, what a full forward has to know."""

    engine: Engine
    family: str
    levels: list[Tensor] = field(default_factory=list)
    text: Tensor = field(default_factory=lambda: torch.zeros(0))
    bos: Tensor = field(default_factory=lambda: tokens(1))
    steps: int = 0

    def instruct(self) -> None:
        self.text = tokens(self.engine.layout.text)
        self.engine.instruct(self.bos, self.text)

    def refresh(self, top: int) -> None:
        fresh = [tokens(size) for size in self.engine.layout.levels[top:]]
        self.levels = [*self.levels[:top], *fresh]
        self.engine.refresh(top, fresh)

    def advance(self) -> Tensor:
        if not self.steps:
            self.instruct()
            self.refresh(0)
        self.steps += 1
        frame = tokens(self.engine.layout.dynamic)
        return self.engine.advance(frame, READOUT, 0.1 * self.steps)

    def expected(self) -> Tensor:
        """One full forward, oldest frame first."""
        layout, mode = self.engine.layout, self.engine.geometry.mode
        blocks = [("bos", self.bos), *([("text", self.text)] if layout.text_first else [])]
        blocks += [(f"level{i}", level) for i, level in enumerate(self.levels)]
        blocks += [(f"frame{i}", f.tokens) for i, f in enumerate(self.engine.window.frames)]
        blocks += [*([] if layout.text_first else [("text", self.text)]), ("readout", READOUT)]
        kinds = [kind for kind, x in blocks for _ in x]
        number = [i for i, (_, x) in enumerate(blocks) for _ in x]
        count = len(kinds)
        seen = torch.zeros(count, count, dtype=torch.bool)
        for q in range(count):
            for k in range(count):
                before = number[k] < number[q] or (k <= q or self.family == "gemma")
                apart = kinds[q] != kinds[k] and kinds[q][:5] == kinds[k][:5] == "frame"
                seen[q, k] = number[k] <= number[q] and before
                seen[q, k] &= not (apart and mode == "frame_isolated")
        x = torch.cat([x for _, x in blocks])
        positions = self.positions([(kind, len(x)) for kind, x in blocks])
        return TRUNKS[self.family](x[None], positions, seen)[0, -len(READOUT) :]

    def positions(self, blocks: Sequence[tuple[str, int]]) -> Tensor:
        layout, ordered = self.engine.layout, self.engine.geometry.mode != "frame_isolated"
        frames = layout.frames if ordered else 1
        places = grid(layout).T if self.family == "qwen" else None
        at, taken, columns = 0, 0, []
        for i, (kind, count) in enumerate(blocks):
            if kind[:5] in ("level", "frame"):
                slot = int(kind[5:]) * ordered if kind.startswith("frame") else 0
                if places is None:
                    start = at + slot * count
                    columns += [torch.arange(start, start + count).expand(3, -1)]
                    at += count if kind.startswith("level") else 0
                else:
                    start = layout.static if kind.startswith("frame") else taken
                    taken += count
                    where = places[:, start : start + count] + at
                    columns += [torch.cat([torch.full((1, count), at + slot), where])]
                if kind.startswith("frame") and not blocks[i + 1][0].startswith("frame"):
                    behind = frames * layout.dynamic
                    at += behind if places is None else max(int(places.max()) + 1, frames)
            else:
                columns += [torch.arange(at, at + count).expand(3, -1)]
                at += count
        joined = torch.cat(columns, 1)
        return joined if self.family == "qwen" else joined[0]
