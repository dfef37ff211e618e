"""How pictures of any size become the square that a tower was trained on."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Fit = Callable[[np.ndarray, int], np.ndarray]  # [H, W, 3] uint8, S to [S, S, 3] uint8


def resize(image: np.ndarray, size: int, mode: str = "bicubic") -> np.ndarray:
    """[H, W, 3] uint8 to [size, size, 3] uint8 as PIL does it, not keeping proportions.

    OpenVLA ("resize-naive"), PaliGemma, and GR00T N1.5 in LeRobot were trained so.
    """
    if image.shape[:2] == (size, size):
        return image
    small = functional.interpolate(_planes(image), (size, size), mode=mode, antialias=True)
    return _image(small)


# Isaac-GR00T's own pictures: gr00t/data/transform/video.py, VideoResize(interpolation="linear")
linear = partial(resize, mode="bilinear")


def padded(image: np.ndarray, size: int) -> np.ndarray:
    """Proportions kept, black at the left and above; bilinear without smoothing.

    So SmolVLA was trained: huggingface/lerobot, policies/smolvla/modeling_smolvla.py,
    resize_with_pad. There the result is not rounded to whole grey levels.
    """
    if image.shape[:2] == (size, size):
        return image
    height, width = image.shape[:2]
    ratio = max(width, height) / size
    inner = (int(height / ratio), int(width / ratio))
    small = _image(functional.interpolate(_planes(image), inner, mode="bilinear"))
    whole = np.zeros((size, size, 3), np.uint8)
    whole[size - inner[0] :, size - inner[1] :] = small
    return whole


def _planes(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def _image(planes: Tensor) -> np.ndarray:
    return planes[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
