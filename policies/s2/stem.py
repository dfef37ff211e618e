"""Convolutional stem: one frame to 8×8 patch features, normalised per position.

GroupNorm, which averages over the image, would leak motion into unchanged patches and the gate and
the dynamic tokens would see changes everywhere; a LayerNorm over channels keeps changes local.
"""

from itertools import pairwise

import torch
from tandem.policies.s2.config import S2Config
from torch import Tensor, nn
from torch.nn import functional


class PositionNorm(nn.Module):
    """LayerNorm over the channels of each pixel of [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        # Free of copies while the tensor is channels_last.
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
        return x.permute(0, 3, 1, 2)


def _stage(index: int, before: int, after: int) -> list[nn.Module]:
    kernel = 5 if index == 0 else 3
    layers: list[nn.Module] = [nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2)]
    if index > 0:  # at full size the norm would cost as much as all the rest
        layers.append(PositionNorm(after))
    return layers


class Stem(nn.Module):
    """[B, 3, 128, 128] in −1 … 1 to patch features [B, 64, width], rows of the grid first."""

    def __init__(self, config: S2Config) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise((3, *config.stem, config.width))):
            layers += [*_stage(i, before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(2).transpose(1, 2)


def to_input(images: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] to float [B, 3, H, W] in −1 … 1; channels_last without a copy."""
    return (images.float() * (1 / 127.5) - 1).permute(0, 3, 1, 2)
