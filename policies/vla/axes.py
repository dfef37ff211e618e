"""Places of a prompt in three axes: time, row and column (M-RoPE, arXiv 2409.12191, section 2.1).

A picture takes one step of time, its rows and columns count on from there, and what follows it
begins one after the largest of them. Words have the same place on all axes.
"""

from dataclasses import replace

import torch
from tandem.policies.caches.strategy import Image, Plan
from tandem.policies.vla.places import Room
from tandem.policies.vla.rules import Placed
from tandem.policies.vla.words import Words
from torch import Tensor


class InAxes(Placed):
    """Another's plans, with each place in the sequence as its three."""

    def __init__(self, inner: Placed, room: Room, grid: int) -> None:
        """grid: rows, and columns, of a picture."""
        super().__init__(inner, room)
        self._placed, self._axes = inner, three_axes(room, grid)

    def ask(self, words: Words) -> None:
        self._placed.ask(words)

    def plan(self, image: Image, features: Tensor) -> Plan:
        plan = self._placed.plan(image, features)
        return replace(plan, positions=self._axes[:, plan.positions])


def three_axes(room: Room, grid: int) -> Tensor:
    """int64 [3, places]: of each place in the sequence."""
    side = torch.arange(grid)
    rows_columns = torch.cartesian_prod(side, side).T
    picture = torch.cat([torch.zeros(1, grid**2, dtype=torch.long), rows_columns])
    parts, at = [], 0
    for words in (room.head, *[room.gap] * (room.pictures - 1)):
        parts += [at + _line(words), at + words + picture]
        at += words + grid
    return torch.cat([*parts, at + _line(room.text)], 1)


def _line(count: int) -> Tensor:
    return torch.arange(count).expand(3, -1)
