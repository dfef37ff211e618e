"""Simulated rooms, as a vision tower would describe them, and a small model that looks at them.

A background of its own for every episode with the light on or off (L1), a drawer open or shut (L2),
a hand (dynamic). The task asks for light, drawer and hand, so that old static tokens are wrong
exactly where light or drawer have changed.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.caches.sdvla.geometry import Geometry
from tandem.policies.caches.sdvla.model import SdVla
from tandem.policies.caches.sdvla.partition import IndexPartition
from tandem.policies.caches.sdvla.recipe import Pairs
from tandem.policies.trunk.trunk import Trunk
from torch import Tensor, nn
from torch.nn import functional

from tests.policies.caches.sdvla.families import CONFIGS, WIDTH

SIZES, FEATURES, TEXT = (4, 3, 3), 12, 2
PATCHES = sum(SIZES)
LAYOUT = Layout(1, SIZES[:2], SIZES[2], 3, TEXT, 1)


def build(partition: nn.Module | None = None) -> SdVla:
    torch.manual_seed(0)
    return SdVla(
        Trunk(replace(CONFIGS["llama"], depth=2)),
        nn.Linear(FEATURES, WIDTH),
        partition or IndexPartition(SIZES),  # type: ignore[arg-type]
        Gate(FEATURES, PATCHES, 2, hidden=(32, 16), mixed=(16, 8)),
        Geometry(LAYOUT),
    )


class Rooms:
    """Pictures of simulated rooms, as a vision tower would describe them."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        looks = torch.Generator().manual_seed(9)
        light, drawer, hand = (2 * torch.randn(size, FEATURES, generator=looks) for size in SIZES)
        self.looks = light, drawer, hand

    def look(self, place: Tensor, state: Tensor) -> Tensor:
        """Backgrounds [B, FEATURES] and light, drawer, hand [B, 3] to [B, patches, FEATURES]."""
        parts = [state[:, i, None, None] * look for i, look in enumerate(self.looks)]
        parts[0] = parts[0] + place[:, None]
        seen = torch.cat(parts, 1)
        return seen + 0.1 * torch.randn(seen.shape, generator=self.random)

    def states(self, size: int) -> Tensor:
        """Light and drawer ±1, hand −1 … 1: [size, 3]."""
        state = 2 * torch.rand(size, 3, generator=self.random) - 1
        state[:, :2] = state[:, :2].sign()
        return state

    def places(self, size: int) -> Tensor:
        return torch.randn(size, FEATURES, generator=self.random)

    def moved(self, now: Tensor) -> Tensor:
        """The hand elsewhere; in some of the rooms the drawer, in fewer the light."""
        then = self.states(len(now))
        kept = torch.rand(len(now), 2, generator=self.random) < torch.tensor([0.7, 0.5])
        then[:, :2] = torch.where(kept, now[:, :2], then[:, :2])
        return then

    def film(self, count: int) -> list[Tensor]:
        """Frames [1, patches, FEATURES] of one room in which everything changes now and then."""
        place, states = self.places(1), self.states(count)
        return [self.look(place, state[None]) for state in states]

    def batches(self, size: int = 24) -> Iterator[Pairs]:
        while True:
            place, now = self.places(size), self.states(size)
            then, just = self.moved(now), now.clone()
            just[:, 2] = then[:, 2]
            yield Pairs(
                then=self.look(place, then),
                window=torch.stack([self.look(place, state) for state in (just, now)], 1),
                time_s=torch.tensor([0.0, 0.1], dtype=torch.float64).repeat(size, 1),
                gap_frames=torch.randint(1, 9, (size,), generator=self.random),
                episode=torch.arange(size),
                text=torch.ones(size, TEXT, dtype=torch.int64),
                target=now,
            )


class Head(nn.Module):
    """An action head of three numbers, with its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, hidden: Tensor, target: Tensor) -> Tensor:
        said = self.out(hidden[:, 0])
        return functional.smooth_l1_loss(said, target, reduction="none", beta=0.3).mean(1)


@torch.no_grad()
def hidden(model: SdVla, pairs: Pairs) -> Tensor:
    levels = [model.static(pairs.then, level) for level in range(2)]
    frames = [model.dynamic(pairs.window[:, i], pairs.time_s[:, i]) for i in range(2)]
    return model(levels, torch.stack(frames, 1), pairs.text, model.asks(pairs.time_s[:, -1]))
