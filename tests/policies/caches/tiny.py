"""A backbone small enough to think about: 16 patches, a few layers, random weights."""

import numpy as np
import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.session import Backbone, Prompt, Session
from tandem.policies.caches.strategy import Strategy
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.trunk import Trunk
from tandem.policies.trunk.vision import HALF, Projector, Tower, Vision
from tandem.policies.trunk.vit import Vit, VitConfig
from torch import Tensor, nn

GRID, PATCH_PX, FEATURES = 4, 8, 6
SIDE_PX = GRID * PATCH_PX
LAYOUT = Layout(bos=1, levels=(), dynamic=GRID**2, frames=1, text=3, readout=2)
CONFIG = TrunkConfig(depth=4, width=32, heads=4, kv_heads=2, head_dim=8, mlp=48, vocab=20)


class WatchedTower(Tower):
    """Remembers how many patches it computed, picture by picture."""

    def __init__(self, vit: Vit) -> None:
        super().__init__(vit)
        self.looked: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.looked.append(self.vit.config.patches)
        return super().forward(pixels)

    def partial(self, pixels: Tensor, patches: Tensor) -> Tensor:
        self.looked.append(int(patches.sum()))
        return super().partial(pixels, patches)


def backbone(seed: int = 0, grid: int = GRID, layers: int = 0) -> Backbone:
    """A tower without layers sees each patch on its own, so truth is easy to say."""
    torch.manual_seed(seed)
    vit = Vit(VitConfig(layers, FEATURES, 1, 8, PATCH_PX, grid, final_norm=False))
    vision = Vision([Tower(vit)], [HALF], Projector([FEATURES, 24, CONFIG.width], bias=True))
    trunk = Trunk(CONFIG)
    for name, weight in trunk.named_parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=1.0 if "embedding" in name else weight.shape[1] ** -0.5)
    return Backbone(vision.requires_grad_(False), trunk.requires_grad_(False))


def prompt(layout: Layout = LAYOUT, width: int = CONFIG.width) -> Prompt:
    rows = torch.randn(layout.bos + layout.text + layout.readout, width)
    return Prompt(*rows.split((layout.bos, layout.text, layout.readout)))


def session(strategy: Strategy, net: Backbone, words: Prompt, layout: Layout = LAYOUT) -> Session:
    return Session(net, layout, strategy, words)


def picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


def repainted(image: np.ndarray, patches: list[int], rng: np.random.Generator) -> np.ndarray:
    """The same picture with other pixels in some patches."""
    image = image.copy()
    for patch in patches:
        y, x = (PATCH_PX * place for place in divmod(patch, GRID))
        image[y : y + PATCH_PX, x : x + PATCH_PX] = rng.integers(
            0, 256, (PATCH_PX, PATCH_PX, 3), dtype=np.uint8
        )
    return image
