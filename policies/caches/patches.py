"""What two pictures say about each patch, and picking the best of them. Raster order throughout.

Pictures are [H, W, 3] uint8 RGB; `grid` is patches a side and must divide both sides. Everything is
small enough (256 patches of a 224 px picture) for numpy on the CPU, away from the accelerator.
"""

import numpy as np
import torch
from tandem.policies.caches.strategy import Image
from tandem.policies.trunk.vision import Norm
from tandem.runtime.errors import ConfigError
from torch import Tensor

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def blocks(image: Image, grid: int) -> np.ndarray:
    """float32 [grid², pixels of a patch, channels].

    Raises:
        ConfigError: the grid does not divide the picture.
    """
    height, width = image.shape[:2]
    if height % grid or width % grid:
        raise ConfigError(
            f"a picture of {width}×{height} has no {grid}×{grid} patches; resize it to a multiple"
        )
    split = image.reshape(grid, height // grid, grid, width // grid, -1)
    ordered = split.transpose(0, 2, 1, 3, 4)
    return ordered.reshape(grid * grid, -1, ordered.shape[-1]).astype(np.float32)


def cosine(before: Image, now: Image, grid: int) -> Tensor:
    """[N] cosine similarity of the raw pixels of each patch."""
    a, b = (blocks(image, grid).reshape(grid * grid, -1) for image in (before, now))
    product = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return torch.from_numpy((a * b).sum(1) / (product + 1e-8))


def luma_change(before: Image, now: Image, grid: int, norm: Norm) -> Tensor:
    """[N] mean over the pixels of a patch of |Δ luma|, in the units of normalised pixels."""
    weights = _LUMA / (255 * np.array(norm.std, np.float32))
    change = (now.astype(np.float32) - before.astype(np.float32)) @ weights
    return torch.from_numpy(np.abs(blocks(change[..., None], grid)).mean((1, 2)))


def top(scores: Tensor, count: int) -> Tensor:
    """bool [N]: the `count` highest of scores [N]; of equals the earlier patch."""
    chosen = torch.zeros(len(scores), dtype=torch.bool)
    order = scores.sort(descending=True, stable=True).indices
    chosen[order[:count].to(chosen.device)] = True
    return chosen
