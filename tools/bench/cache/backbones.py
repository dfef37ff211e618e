"""Backbones by name: the shapes of published models, with random weights.

Time and multiply-adds do not depend on weights. Errors do: random weights mix more strongly than
trained ones, so an error here says which cache is closer, not what a policy would notice.
"""

from dataclasses import dataclass, replace

import torch
from tandem.policies.caches.session import Backbone
from tandem.policies.caches.vla_cache import VlaCacheRule
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.graphs import GraphedTrunk
from tandem.policies.trunk.packed import pack
from tandem.policies.trunk.shapes import DINOV2_L, OPENVLA, SIGLIP_B, SIGLIP_SO400M, SMOLVLM2
from tandem.policies.trunk.trunk import Trunk
from tandem.policies.trunk.vision import HALF, IMAGENET, Norm, Projector, Tower, Vision
from tandem.policies.trunk.vit import Vit, VitConfig
from tandem.policies.vla.eyes import Seeing
from tandem.policies.vla.families import FAMILIES
from tandem.runtime.errors import ConfigError, DeviceError
from torch import nn


@dataclass(frozen=True)
class Asked:
    """What follows the pictures of a prompt, in rows."""

    text: int = 35  # OpenVLA's on LIBERO
    readouts: int = 1  # its first action token
    unread: int = 0  # after those
    bidirectional: bool = False  # every row sees every other
    vla_cache: VlaCacheRule | None = None  # what its authors took; None: as for OpenVLA


@dataclass(frozen=True)
class Shape:
    """All of a backbone but its weights."""

    trunk: TrunkConfig
    towers: tuple[tuple[VitConfig, Norm], ...]
    projector: tuple[int, ...]  # sizes between the tower's features and the trunk, both left out
    accelerator: bool = False  # takes minutes a step on a CPU
    asked: Asked = Asked()
    speedup: float = 2.26  # of the whole step, published of SD-VLA (arXiv 2602.03983) on CogACT


_OFT = FAMILIES["openvla_oft"]

_OPENVLA = Shape(
    OPENVLA, ((DINOV2_L, IMAGENET), (SIGLIP_SO400M, HALF)), (8704, 4096), accelerator=True
)

SHAPES = {
    "small": Shape(
        TrunkConfig(6, 128, 4, 2, 32, 384, vocab=256),
        ((VitConfig(depth=3, width=96, heads=3, mlp=384, patch=16, grid=14), HALF),),
        (),
    ),
    # SmolVLM2-500M's language model behind SigLIP-B/16 at 224 pixels, patch by patch.
    "half": Shape(SMOLVLM2, ((SIGLIP_B, HALF),), ()),
    # OpenVLA-7B.
    "seven": _OPENVLA,
    # OpenVLA-OFT: 8 actions of 7 numbers at once; the last slot and the end token are not read.
    "oft": replace(
        _OPENVLA,
        asked=Asked(33, _OFT.slots, 2, bidirectional=True, vla_cache=_OFT.vla_cache),
        speedup=1.70,  # published on the same
    ),
}


def build(
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    insist: bool = False,
    cameras: int = 1,
) -> Backbone:
    """Of several cameras it takes pictures [cameras, S, S, 3]. Steps are recorded on a GPU, and
    weights packed on a CPU, as the daemon has it.

    Raises:
        ConfigError: there is no such shape.
        DeviceError: it wants an accelerator, and neither is there one nor does the user insist.
    """
    if name not in SHAPES:
        raise ConfigError(f"no backbone {name!r}; there are shipped, {', '.join(SHAPES)}")
    shape = SHAPES[name]
    if shape.accelerator and device.type == "cpu" and not insist:
        raise DeviceError(
            f"the backbone {name!r} takes minutes a step on a CPU; give --device cuda on a machine "
            "with a GPU, or --insist to wait"
        )
    vision, trunk = _networks(shape)
    torch.manual_seed(0)
    for part in (vision, trunk):
        part.to(dtype).to_empty(device=device)
        part.requires_grad_(False).eval()
        _fill(part, shape.trunk.depth)
    if device.type == "cuda":
        trunk = GraphedTrunk(trunk)
    pack(vision), pack(trunk)
    return Seeing(vision, trunk, cameras) if cameras > 1 else Backbone(vision, trunk)


def _networks(shape: Shape) -> tuple[Vision, Trunk]:
    """Without memory for weights yet."""
    configs, norms = zip(*shape.towers, strict=True)
    widths = [sum(config.width for config in configs), *shape.projector, shape.trunk.width]
    with torch.device("meta"):
        towers = [Tower(Vit(config)) for config in configs]
        return Vision(towers, norms, Projector(widths, bias=True)), Trunk(shape.trunk)


def _fill(part: nn.Module, depth: int) -> None:
    """Normal, of the variance that keeps a row's size; what a block adds is small, as in GPT-2."""
    for name, weight in part.named_parameters():
        leaf = name.split(".")[-2:]
        if weight.dim() < 2:
            nn.init.constant_(weight, 0.0 if leaf[-1] == "bias" else 1.0)
        elif "embedding" in name or leaf[-1] in ("position", "prefix"):
            nn.init.normal_(weight, std=0.5)
        else:
            adds = leaf[0] in ("out", "down")
            std = weight.shape[1] ** -0.5 * ((2 * depth) ** -0.5 if adds else 1.0)
            nn.init.normal_(weight, std=std)
