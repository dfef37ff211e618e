"""Optical flow between two pictures, [H, W, 2] float32 pixels (u to the right, v downwards).

LAC's source takes RAFT-small; its weights cannot be had everywhere, and flow that is estimated on
the CPU beside the accelerator costs it nothing. DIS (Kroeger et al. 2016) in its fastest preset
takes about a millisecond at 224 px.
"""

from collections.abc import Callable

import cv2
import numpy as np
from tandem.policies.caches.strategy import Image

Flow = Callable[[Image, Image], np.ndarray]  # (before, now) → where each pixel has moved


def dis() -> Flow:
    """Holds its buffers from call to call; one for each stream."""
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    return lambda before, now: search.calc(_grey(before), _grey(now), None)


def _grey(image: Image) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
