"""How far a cache is from having computed everything anew, frame by frame."""

import torch
from torch import Tensor


def relative_error(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖ / ‖truth‖ over all entries; 0 is the same, √2 about unrelated."""
    found, truth = found.float(), truth.float()
    return float((found - truth).norm() / truth.norm().clamp(min=torch.finfo(truth.dtype).tiny))


def same_choice(found: Tensor, truth: Tensor) -> float:
    """Share of the read-out rows whose most likely token [rows, vocab] is the same."""
    return float((found.argmax(-1) == truth.argmax(-1)).float().mean())
