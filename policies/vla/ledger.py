"""How much of what is cached a plan renews, and how old the rest becomes, level by level."""

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.strategy import Plan


class Ledger:
    """Without levels all pictures are one: refreshed when every row of them is computed anew."""

    def __init__(self, layout: Layout, depth: int) -> None:
        levels = range(len(layout.levels))
        ranges = [layout.level_rows(level) for level in levels] or [layout.visual_rows]
        self._groups = [torch.tensor(rows) for rows in ranges]
        self._depth = depth
        self._age = torch.zeros(layout.rows, dtype=torch.long)
        self.version = [0] * len(ranges)
        self.share = [0.0] * len(ranges)  # of the level's work that the last plan asked for
        self.refreshed = [False] * len(ranges)

    @property
    def age_frames(self) -> list[int]:
        """Since the oldest row of each level was computed in all layers."""
        return [int(self._age[rows].max()) for rows in self._groups]

    def note(self, plan: Plan) -> None:
        layers = torch.zeros(len(self._age), dtype=torch.long)
        layers[plan.rows] = self._depth
        for layer, gone in plan.leave.items():
            layers[gone] = layers[gone].clamp(max=layer)
        self._age = torch.where(layers == self._depth, 0, self._age + 1)
        for level, rows in enumerate(self._groups):
            self.share[level] = float(layers[rows].float().mean() / self._depth)
            self.refreshed[level] = bool((layers[rows] == self._depth).all())
            self.version[level] += self.refreshed[level]
