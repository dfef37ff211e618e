"""LAC's two networks: which patches are computed anew, and how many (arXiv 2602.00686).

The paper says "light CNN", input picture and flow, output a score a patch and logits over cache
ratios; sizes are ours. What is light follows the trunk: the default has 0.26 M weights and takes
0.25 G multiply-adds at 224 px.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tandem.policies.caches.strategy import Image
from tandem.runtime.errors import WeightsError
from torch import Tensor, nn

CHANNELS = (32, 64, 128)  # beside trunks of billions of weights
RATIOS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # shares of the patches that keep their old rows
_FLOW_UNIT_PX = 0.25
_MOTION = 5  # channels of `motion_input`


def motion_input(image: Image, flow: np.ndarray) -> Tensor:
    """[5, H, W]: RGB in 0…1 and flow [H, W, 2], its signed logarithm from a quarter of a pixel on.

    In proportion, a slide of a quarter of a pixel would be lost beside the picture, or a jump of
    twenty would drown it.
    """
    strength = np.copysign(np.log1p(np.abs(flow) / np.float32(_FLOW_UNIT_PX)), flow)
    stacked = np.concatenate([image / np.float32(255), strength], -1)
    return torch.from_numpy(stacked).permute(2, 0, 1)


@dataclass(frozen=True)
class Choice:
    """What the networks say about a batch."""

    scores: Tensor  # [B, N] in 0…1; high: compute anew
    ratio_logits: Tensor  # [B, ratios]


class LacNetworks(nn.Module):
    """Cached-token selector and cache-ratio predictor on one stem."""

    def __init__(self, grid: int, channels: tuple[int, ...] = CHANNELS) -> None:
        """`grid` patches a side; `channels` of the stem, each half as large as the one before."""
        super().__init__()
        self.grid = grid
        self.ratios = RATIOS
        wide = channels[-1]
        self.stem = nn.Sequential(*_downs(channels))
        self.selector = nn.Sequential(
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(grid),
            nn.Conv2d(wide, 1, 1),
            nn.Flatten(),
            nn.Sigmoid(),
        )
        self.predictor = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(wide, 64),
            nn.GELU(),
            nn.Linear(64, len(RATIOS)),
        )

    def forward(self, motion: Tensor) -> Choice:
        """motion [B, 5, H, W] of `motion_input`."""
        seen = self.stem(motion)
        return Choice(self.selector(seen), self.predictor(seen))

    def macs(self, side: int) -> int:
        """Multiply-adds for one square picture of `side` pixels."""
        total = 0
        for layer in self.stem:
            if isinstance(layer, nn.Conv2d):
                side = -(-side // 2)
                total += side * side * layer.weight.numel()
        wide, score = (part for part in self.selector if isinstance(part, nn.Conv2d))
        total += side * side * wide.weight.numel() + self.grid**2 * score.weight.numel()
        linears = (part for part in self.predictor if isinstance(part, nn.Linear))
        return total + sum(part.weight.numel() for part in linears)


def _downs(channels: tuple[int, ...]) -> list[nn.Module]:
    parts: list[nn.Module] = []
    for before, after in pairwise((_MOTION, *channels)):
        parts += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GELU()]
    return parts


def load(path: Path, grid: int, channels: tuple[int, ...] = CHANNELS) -> LacNetworks:
    """Trained ones, to evaluate.

    Raises:
        WeightsError: missing, damaged, or for another number of patches or channels.
    """
    networks = LacNetworks(grid, channels)
    try:
        networks.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"{path} are no LAC networks for {grid}×{grid} patches ({error}); train them on this "
            "backbone (`tandem train lac` for the shipped one)"
        ) from error
    return networks.float().eval().requires_grad_(False)
