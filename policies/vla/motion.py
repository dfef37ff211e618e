"""SD-VLA without training: what moves least is static and refreshed by age alone.

A trained gate needs pairs of moments, a trained partition needs the vision tower to be tuned; where
there is neither, patches are sorted by how much their features moved (the control of SD-VLA's
ablation), and `max_age_frames` says how old a static row may become.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.caches.sdvla.geometry import Geometry
from tandem.policies.caches.sdvla.partition import MotionPartition
from tandem.policies.caches.sdvla.strategy import StaticDynamic
from tandem.policies.caches.strategy import Image, Plan
from tandem.policies.trunk.masks import block_ids, block_seen
from tandem.policies.vla.eyes import Seeing
from tandem.policies.vla.places import Room, among
from tandem.policies.vla.rules import Placed
from tandem.policies.vla.words import Words
from tandem.runtime.errors import ConfigError
from torch import Tensor


class Blind(Gate):
    """Sees no change, ever."""

    def __init__(self) -> None:
        super().__init__(width=1, patches=1, levels=1)

    def now(self, features: Tensor) -> Tensor:
        return features[:, :0]

    def before(self, reference: Tensor) -> Tensor:
        return reference[:, :0]

    def scores(self, now: Tensor, before: Sequence[Tensor]) -> Tensor:
        return torch.zeros(1, self.levels)

    def macs(self, mixes: int, before: bool) -> int:
        return 0


class ByMotion(Placed):
    """Rows are sorted by motion, but stand where their patches are: positions go with the order."""

    def __init__(self, backbone: Seeing, room: Room, max_age_frames: int) -> None:
        self._layout = room.layout()
        groups = [*room.levels, self._layout.dynamic]
        self._partition = MotionPartition(groups).to(backbone.device)
        self._geometry = Geometry(self._layout, bidirectional=room.bidirectional)
        recache = Recache((1.0,), max_age_frames=max_age_frames)
        super().__init__(
            StaticDynamic(self._geometry, self._partition, Blind(), recache),
            room,
        )

    def ask(self, words: Words) -> None:
        super().ask(words)
        seen = self._blocks() if self._room.bidirectional else self._geometry.seen(1)
        self._seen = among(seen, self._room.used(words))

    def plan(self, image: Image, features: Tensor) -> Plan:
        plan = super().plan(image, features)
        visual, positions = self._layout.visual_rows, self._positions.clone()
        places = self._positions[visual.start : visual.stop]
        positions[visual.start : visual.stop] = places[self._partition.order.cpu()]
        return replace(plan, positions=positions)

    def _blocks(self) -> Tensor:
        """Head, each level, and all that every step computes: both ways inside, causal across.

        As near to a prompt that sees all of itself as one can be of which something is kept.
        """
        layout = self._layout
        anew = layout.rows - layout.bos - layout.static
        blocks = block_ids([(rows, False) for rows in (layout.bos, *layout.levels, anew)])
        return block_seen(blocks, blocks)


def static_patches(share: float, patches: int) -> int:
    """
    Raises:
        ConfigError: the share leaves no patch static, or none dynamic.
    """
    count = round(share * patches)
    if not 0 < count < patches:
        raise ConfigError(
            f"s2.options.static {share:g} makes {count} of {patches} patches static; at least one "
            "must be, and one must not"
        )
    return count
