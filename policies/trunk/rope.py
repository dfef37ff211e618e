"""Rotary positions, plain (arXiv 2104.09864) and in three axes (M-RoPE, arXiv 2409.12191).

Halves are rotated against each other, as all public checkpoints in transformers' layout expect.
"""

import torch
from tandem.policies.trunk.config import TrunkConfig
from torch import Tensor

Rope = tuple[Tensor, Tensor]  # cos, sin, each [..., N, head_dim / 2]


def rope(config: TrunkConfig, positions: Tensor, dtype: torch.dtype) -> Rope:
    """Rotations for positions [N] or [B, N]; with M-RoPE also [3, N] or [3, B, N].

    Under M-RoPE a one-dimensional `positions` stands for text: equal on all three axes.
    """
    half = torch.arange(0, config.head_dim, 2, device=positions.device, dtype=torch.float32)
    frequencies = config.rope_theta ** (-half / config.head_dim)
    if config.mrope and positions.dim() > 1:
        axes = zip(positions, frequencies.split(config.mrope), strict=True)
        angles = torch.cat([places[..., None].float() * part for places, part in axes], -1)
    else:
        angles = positions[..., None].float() * frequencies
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, by: Rope) -> Tensor:
    """x [B, heads, N, head_dim] turned by the rotation of its row."""
    cos, sin = (part.unsqueeze(-3) for part in by)
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
