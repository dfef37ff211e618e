"""LAC's networks for a benchmark: trained in it, in a minute, against a small trunk.

They look at pictures and flow and choose patches, whatever the trunk behind; a small one with the
same patches teaches them what a patch that changed does to a read-out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from tandem.policies.caches import lac_data, lac_training
from tandem.policies.caches.flow import dis
from tandem.policies.caches.lac_networks import LacNetworks
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.relevance import scaled
from tandem.policies.caches.session import Backbone, Prompt
from tandem.policies.caches.vla_cache import VlaCacheRule
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.trunk import Trunk
from tandem.policies.trunk.vision import HALF, Projector, Tower, Vision
from tandem.policies.trunk.vit import Vit, VitConfig
from torch import Tensor
from torch.nn import functional

_TRUNK = TrunkConfig(depth=4, width=64, heads=4, kv_heads=2, head_dim=16, mlp=128, vocab=8)
_TEXT = 4
_BATCH, _ALIGNED, _FINETUNED = 4, 40, 120


def trained(grid: int, images: Sequence[np.ndarray]) -> LacNetworks:
    """Both stages on successive pictures of one clip."""
    torch.manual_seed(0)
    backbone = _teacher(grid, images[0].shape[0])
    layout = Layout(1, (), grid**2, 1, _TEXT, 1)
    words = Prompt(*torch.randn(layout.bos + _TEXT + 1, _TRUNK.width).split((1, _TEXT, 1)))
    layer = scaled(VlaCacheRule.attention_layer, _TRUNK.depth)
    seen = lac_data.watch(backbone, layout, words, images, dis(), layer)
    networks = LacNetworks(grid)
    with torch.enable_grad():
        lac_training.align(networks, lac_data.aligning(seen, _BATCH, _ALIGNED))
        lac_training.finetune(
            networks,
            backbone.trunk,
            layout,
            lac_data.pairs(seen, _BATCH, _FINETUNED),
            _Staleness(backbone.trunk, layout, next(lac_data.pairs(seen, 16, 1))),
        )
    return networks


class _Staleness:
    """Distance from the read-out of a full computation; 1 is computing nothing anew."""

    def __init__(self, trunk: Trunk, layout: Layout, batch: lac_training.Pairs) -> None:
        nothing = batch.now.new_zeros(len(batch.now), len(layout.visual_rows))
        hidden = lac_training.cached_forward(trunk, layout, batch.before, batch.now, nothing)
        self._unit = functional.mse_loss(hidden[:, -layout.readout :], batch.target)

    def __call__(self, hidden: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(hidden, target) / self._unit


def _teacher(grid: int, size: int) -> Backbone:
    """A tower that sees each patch on its own, and a shallow trunk."""
    vit = Vit(VitConfig(0, 24, 1, 8, size // grid, grid, final_norm=False))
    vision = Vision([Tower(vit)], [HALF], Projector([24, _TRUNK.width], bias=True))
    trunk = Trunk(_TRUNK)
    for name, weight in [*vision.named_parameters(), *trunk.named_parameters()]:
        if weight.dim() > 1 and "position" not in name:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return Backbone(vision.requires_grad_(False), trunk.requires_grad_(False))
