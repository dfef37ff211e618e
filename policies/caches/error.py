"""How far a cache is from having computed everything anew, frame by frame."""

import torch
from torch import Tensor


def relative_error(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖ / ‖truth‖ over all entries; 0 is the same, √2 about unrelated."""
    found, truth = found.float(), truth.float()
    return float((found - truth).norm() / truth.norm().clamp(min=torch.finfo(truth.dtype).tiny))
