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


def padded(image: np.ndarray, size: int, centred: bool = False, smooth: bool = False) -> np.ndarray:
    """Proportions kept, black around the middle or at the left and above; bilinear.

    SmolVLA and π0 in LeRobot are trained without smoothing (huggingface/lerobot,
    policies/smolvla/modeling_smolvla.py, resize_with_pad; policies/pi0, resize_with_pad_torch),
    where floating-point pictures are not rounded to whole grey levels; openpi smooths, as PIL does
    (Physical-Intelligence/openpi, openpi_client/image_tools.py).
    """
    if image.shape[:2] == (size, size):
        return image
    height, width = image.shape[:2]
    ratio = max(width, height) / size
    inner = (int(height / ratio), int(width / ratio))
    small = functional.interpolate(_planes(image), inner, mode="bilinear", antialias=smooth)
    top, left = ((size - side) // (2 if centred else 1) for side in inner)
    whole = np.zeros((size, size, 3), np.uint8)
    whole[top : top + inner[0], left : left + inner[1]] = _image(small)
    return whole


centred = partial(padded, centred=True)
centred_smooth = partial(padded, centred=True, smooth=True)


def _planes(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def _image(planes: Tensor) -> np.ndarray:
    return planes[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
