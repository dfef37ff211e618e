"""Small trunks of three families on random weights, large enough that rows mix strongly."""

import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.sdvla.engine import Engine
from tandem.policies.caches.sdvla.geometry import Geometry, Mode
from tandem.policies.caches.sdvla.history import Keep
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.trunk import Trunk
from torch import Tensor

TOLERANCE = 1e-5
WIDTH = 32

CONFIGS = {
    "llama": TrunkConfig(3, WIDTH, 4, 4, 8, 64, 50),
    "gemma": TrunkConfig(
        3, WIDTH, 4, 1, 8, 64, 50, norm_offset=True, activation="gelu_tanh", embed_scale=WIDTH**0.5
    ),
    "qwen": TrunkConfig(3, WIDTH, 4, 2, 8, 64, 50, rope_theta=1e6, qkv_bias=True, mrope=(1, 1, 2)),
}
FAMILIES = list(CONFIGS)


def trunk(family: str) -> Trunk:
    torch.manual_seed(1)
    made = Trunk(CONFIGS[family]).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.copy_(torch.randn_like(parameter) * (0.4 if parameter.dim() == 2 else 0.2))
    for name, parameter in made.named_parameters():
        if "norm" in name and not made.config.norm_offset:
            parameter.add_(1)
    return made


TRUNKS = {family: trunk(family) for family in FAMILIES}


def grid(layout: Layout) -> Tensor:
    """Places of the visual tokens in the picture, in an order that is not raster."""
    count = layout.static + layout.dynamic
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(2))
    return torch.stack([shuffled // 4, shuffled % 4], 1)


def engine(
    family: str, layout: Layout, mode: Mode = "frame_isolated", keep: Keep | None = None
) -> Engine:
    """As the family needs it: Gemma sees both ways inside a block, Qwen counts in three axes."""
    axes = grid(layout) if family == "qwen" else None
    return Engine(TRUNKS[family], Geometry(layout, mode, family == "gemma", axes), keep)


def difference(a: Tensor, b: Tensor) -> float:
    """Greatest deviation, relative to the greatest value where that is above 1."""
    return ((a - b).abs().max() / max(1.0, b.abs().max().item())).item()
