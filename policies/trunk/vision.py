"""From a picture to rows of the trunk: one tower or two side by side, then a projector."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from tandem.policies.trunk.vision_fit import Fit, resize
from tandem.policies.trunk.vision_qwen import QwenVit
from tandem.policies.trunk.vit import Vit, VitStore
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Norm:
    """How a tower normalises pixels in 0…1, channel by channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


HALF = Norm((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # SigLIP
IMAGENET = Norm((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # DINOv2


class Tower(nn.Module):
    """A transformer and what it computed of the last picture. One robot's."""

    def __init__(self, vit: Vit | QwenVit) -> None:
        super().__init__()
        self.vit = vit
        self._store: VitStore | None = None

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [1, 3, H, W] to [1, N, F], every patch computed."""
        self._store = self._store or self.vit.store()
        return self.vit(pixels, self._store)

    def partial(self, pixels: Tensor, patches: Tensor) -> Tensor:
        """The same, but only the patches in bool [N]; needs one whole picture before."""
        if self._store is None:
            raise RuntimeError("there is no picture yet to keep patches of; call forward first")
        return self.vit.partial(pixels, patches, self._store)


class Projector(nn.Module):
    """Linear layers with GELU between, row by row: features [..., N, F] to [..., N, width].

    OpenVLA 2176 → 8704 → width → width (three layers), PaliGemma, SmolVLM2 and GR00T N1.5 one.
    """

    def __init__(self, sizes: Sequence[int], bias: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale  # of what comes out
        self.layers = nn.ModuleList(nn.Linear(i, o, bias=bias) for i, o in pairwise(sizes))

    def forward(self, features: Tensor) -> Tensor:
        x = self.layers[0](features)
        for layer in self.layers[1:]:
            x = layer(functional.gelu(x))
        return x if self.scale == 1 else x * self.scale


class Vision(nn.Module):
    """`look` at a picture, then `projector`. Features of several towers stand side by side.

    Where the projector takes several patches at once (SmolVLM's pixel shuffle), `shuffle` patches
    a side are one row: N and `patches` count such rows.
    """

    def __init__(
        self,
        towers: Sequence[Tower],
        norms: Sequence[Norm],
        projector: Projector | nn.Identity,
        fit: Fit = resize,
    ) -> None:
        super().__init__()
        configs = [tower.vit.config for tower in towers]
        width = sum(config.width for config in configs)
        self.towers = nn.ModuleList(towers)
        self.norms = tuple(norms)
        self.projector = projector
        self.fit = fit
        taken = projector.layers[0].in_features if isinstance(projector, Projector) else width
        self.shuffle = round((taken / width) ** 0.5)
        self.size = configs[0].size
        self.grid = configs[0].grid // self.shuffle

    @property
    def patches(self) -> int:
        return self.grid**2

    def own(self) -> "Vision":
        """The same weights for one more camera: what a tower keeps of a picture is its own."""
        towers = [Tower(tower.vit) for tower in self.towers]
        return Vision(towers, self.norms, self.projector, self.fit)

    def macs(self, patches: int) -> int:
        """Multiply-adds of the towers; the projector is counted apart."""
        fine = patches * self.shuffle**2
        return sum(tower.vit.config.macs(fine) for tower in self.towers)

    def pixels(self, image: np.ndarray) -> list[Tensor]:
        """image [H, W, 3] uint8 RGB of any size to [1, 3, size, size] for each tower."""
        at = next(self.towers.parameters())
        raw = torch.from_numpy(self.fit(image, self.size)).to(at.device).permute(2, 0, 1)
        unit = raw[None].float() / 255
        return [_normalised(unit, norm).to(at.dtype) for norm in self.norms]

    @torch.no_grad()
    def look(self, image: np.ndarray, patches: Tensor | None = None) -> Tensor:
        """Features [N, F] of a picture [H, W, 3] uint8; computes only `patches` bool [N] anew."""
        if patches is not None:  # wherever it was decided
            fine = patches.to(next(self.towers.parameters()).device).view(self.grid, self.grid)
            fine = fine.repeat_interleave(self.shuffle, 0).repeat_interleave(self.shuffle, 1)
            patches = fine.flatten()
        seen = [
            tower(pixels) if patches is None else tower.partial(pixels, patches)
            for tower, pixels in zip(self.towers, self.pixels(image), strict=True)
        ]
        return shuffled(torch.cat(seen, -1)[0], self.shuffle)


def _normalised(unit: Tensor, norm: Norm) -> Tensor:
    mean, std = (torch.tensor(v, device=unit.device)[:, None, None] for v in (norm.mean, norm.std))
    return (unit - mean) / std


def shuffled(features: Tensor, by: int) -> Tensor:
    """[N, F] of a square to [N / by², F · by²]: by × by neighbours side by side, row by row."""
    if by == 1:
        return features
    side = int(len(features) ** 0.5) // by
    return features.view(side, by, side, by, -1).transpose(1, 2).reshape(side * side, -1)
