"""What a cache decides, frame by frame, and nothing of how it is carried out.

A strategy sees the picture before the vision tower does and the features after it, and answers
with a `Plan`: which visual rows go through the trunk, what goes into them, at which layer some of
them leave. `session.py` carries plans out. So a cache is its rule and nothing else, every cache
runs on every trunk, and what a step costs is counted from its plan (`cost.py`).

What prunes instead of keeping fits in too: rows that leave early are a `leave` like VLA-Cache's,
and a strategy that answers from its own prediction can wrap a session and stand in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

Image = np.ndarray  # [H, W, 3] uint8 RGB, exactly what the vision tower is given
Attention = Mapping[int, Tensor]  # layer → weights [queries, rows of the store], mean over heads


@dataclass(frozen=True)
class Watch:
    """Attention that the next step shall collect, for `Strategy.learn`."""

    layers: tuple[int, ...]
    queries: Tensor  # int64: rows of the store, among those that the step computes


@dataclass(frozen=True)
class Plan:
    """One step. Text and read-out are computed in every step and are in no plan.

    Rows that are not in `rows` are attended to with the keys and values that they have; so are rows
    that left, in the layers that they did not reach.
    """

    rows: Tensor  # int64 [n] ascending: visual rows of the store that are computed anew
    features: Tensor  # [n, F] what the projector turns into those rows
    leave: Mapping[int, Tensor] = field(default_factory=dict)  # layer → rows gone from it on
    watch: Watch | None = None
    seen: Tensor | None = None  # bool [rows, rows] of the store; None: causal, in raster order
    positions: Tensor | None = None  # rotary ones [rows] or [3, rows] of the store; None: the rows
    macs: int = 0  # multiply-adds that the strategy itself has spent on the decision


class Strategy(Protocol):
    """One stream of pictures; belongs to one thread."""

    def reset(self) -> None:
        """Forget everything: another scene, another instruction."""

    def patches(self, image: Image) -> Tensor | None:
        """bool [N] in raster order: what the vision tower must compute anew; None: everything."""

    def plan(self, image: Image, features: Tensor) -> Plan:
        """features [N, F] of the vision tower, in raster order; the first plan holds every row."""

    def learn(self, attention: Attention) -> None:
        """The attention that the plan asked to be watched, after its step."""
