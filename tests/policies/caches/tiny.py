"""A backbone small enough to think about: 16 patches, a few layers, random weights."""

import numpy as np
import torch
from tandem.policies.caches.eyes import Eyes
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.patches import SIGLIP
from tandem.policies.caches.session import Backbone, Prompt, Session
from tandem.policies.caches.strategy import Strategy
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.trunk import Trunk
from torch import Tensor, nn

GRID, PATCH_PX, FEATURES = 4, 8, 6
SIDE_PX = GRID * PATCH_PX
LAYOUT = Layout(bos=1, levels=(), dynamic=GRID**2, frames=1, text=3, readout=2)
CONFIG = TrunkConfig(depth=4, width=32, heads=4, kv_heads=2, head_dim=8, mlp=48, vocab=20)


class PatchTower(nn.Module):
    """Each patch on its own: what one patch shows changes no other, so truth is easy to say."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, FEATURES, PATCH_PX, PATCH_PX)
        self.kept: Tensor | None = None
        self.looked: list[int] = []  # patches computed, picture by picture

    def forward(self, pixels: Tensor) -> Tensor:
        self.kept = self.embed(pixels).flatten(2).transpose(1, 2)
        self.looked.append(GRID**2)
        return self.kept

    def partial(self, pixels: Tensor, patches: Tensor) -> Tensor:
        before = self.kept
        assert before is not None
        self.kept = torch.where(patches[None, :, None], self.forward(pixels), before)
        self.looked[-1] = int(patches.sum())
        return self.kept

    def macs(self, patches: int) -> int:
        return patches * self.embed.weight.numel()


def backbone(seed: int = 0, config: TrunkConfig = CONFIG) -> Backbone:
    torch.manual_seed(seed)
    eyes = Eyes([PatchTower()], [SIGLIP])
    projector = nn.Sequential(nn.Linear(FEATURES, 24), nn.GELU(), nn.Linear(24, config.width))
    trunk = Trunk(config)
    for name, weight in trunk.named_parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=1.0 if "embedding" in name else weight.shape[1] ** -0.5)
    parts = [part.requires_grad_(False) for part in (eyes, projector, trunk)]
    return Backbone(*parts, grid=GRID)


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
