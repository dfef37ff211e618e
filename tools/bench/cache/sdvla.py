"""SD-VLA for the table of caches, set up from a film instead of fine-tuned.

94 % of the patches are static (the share of the paper's SimplerEnv runs); which ones is read off
the film: those whose features moved least. The gate is trained to say how far a level's features
have moved, 1 being what hardly any two frames of the film exceed, and on dimmed frames besides: a
short film has no change of light. Its thresholds are set for the refresh rate that the trained gate
of the shipped model has in the simulator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla.calibrate import Calibration, Shares
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.caches.sdvla.geometry import Geometry
from tandem.policies.caches.sdvla.losses import gate_loss
from tandem.policies.caches.sdvla.partition import IndexPartition
from tandem.policies.caches.sdvla.strategy import StaticDynamic
from tandem.policies.caches.session import Backbone
from tandem.policies.caches.strategy import Image, Plan
from tandem.tools.bench.cache.films import Film
from torch import Tensor

STATIC = 0.94
FIRST_LEVEL = 2 / 3  # of the static tokens; the paper does not say how they are split
# Shares of frames that refresh L1 and L2. Measured by `tandem eval` over still, jumping and sliding
# cubes: L1 0, L2 0.02, 0.04 and 0.12.
RATES = (0.01, 0.08)
INTERVAL_FRAMES = round(1 / RATES[1])  # a fixed interval of the same cost
_PAIRS, _GATE_STEPS, _DIMMED = 16, 150, 0.75


class AlwaysFresh(StaticDynamic):
    """All levels anew in every frame: what the cached one is to be compared with."""

    def plan(self, image: Image, features: Tensor) -> Plan:
        self.decision.force()
        return super().plan(image, features)


@dataclass(frozen=True)
class Parts:
    """What was learnt from a film."""

    partition: IndexPartition
    gate: Gate
    thresholds: tuple[float, ...]

    def strategies(
        self, text: int, readout: int, text_first: bool = False, bidirectional: bool = False
    ) -> tuple[StaticDynamic, AlwaysFresh]:
        """The cached one, and its yardstick. bidirectional: inside each block, see `Geometry`."""
        *levels, dynamic = (len(span) for span in self.partition.spans)
        layout = Layout(1, tuple(levels), dynamic, 1, text, readout, text_first)
        cached, always = (
            kind(
                Geometry(layout, bidirectional=bidirectional),
                self.partition,
                self.gate,
                Recache(self.thresholds),
            )
            for kind in (StaticDynamic, AlwaysFresh)
        )
        return cached, always


def learn(backbone: Backbone, film: Film) -> Parts:
    """Partition, gate and thresholds from a film."""
    clips = [_features(backbone, clip) for clip in film.clips]
    features = torch.cat(clips)
    some = film.images[::4]
    dimmed = _features(backbone, [(image * _DIMMED).astype(np.uint8) for image in some])
    partition = IndexPartition(group_sizes(features.shape[1]), by_motion(features))
    gate = trained_gate(features, dimmed, partition)
    fitted = Calibration(gate, [Shares.of(gate, clip) for clip in clips]).fit(RATES)
    gate.to(backbone.device, backbone.dtype)
    return Parts(partition.to(backbone.device), gate, fitted.thresholds)


def _features(backbone: Backbone, images: Sequence[np.ndarray]) -> Tensor:
    return torch.stack([backbone.vision.look(image).float().cpu() for image in images])


def group_sizes(patches: int) -> tuple[int, int, int]:
    """Tokens of L1, of L2 and dynamic ones."""
    static = round(STATIC * patches)
    first = round(FIRST_LEVEL * static)
    return first, static - first, patches - static


def by_motion(features: Tensor) -> Tensor:
    """Patches [N] of features [T, N, F], the stillest first."""
    return features.var(0).mean(-1).argsort(stable=True)


def trained_gate(features: Tensor, dimmed: Tensor, partition: IndexPartition) -> Gate:
    """Scores follow how much a level's features differ between two frames of [T, N, F]."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    levels = len(partition.spans) - 1
    gate = Gate(features.shape[-1], features.shape[1], levels)
    optimizer = torch.optim.AdamW(gate.parameters(), 1e-3)
    unit = _changes(features, partition).flatten(0, 1).quantile(0.95, 0)
    features = torch.cat([features, dimmed])
    changes = _changes(features, partition)
    with torch.enable_grad():
        for _ in range(_GATE_STEPS):
            one, other = torch.randint(len(features), (2, _PAIRS), generator=generator)
            wanted = (changes[one, other] / unit).clamp(max=1)
            loss = gate_loss(gate(features[one], features[other]), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return gate.requires_grad_(False).eval()


def _changes(features: Tensor, partition: IndexPartition) -> Tensor:
    """[T, T, levels] mean distance of a level's features between any two frames."""
    levels = range(len(partition.spans) - 1)
    groups = [features[:, partition.indices(level)].flatten(1) for level in levels]
    return torch.stack([torch.cdist(group, group) for group in groups], -1)
