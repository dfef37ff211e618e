"""Sizes of published backbones, for random weights where none are at hand."""

from typing import NamedTuple

from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.vit import VitConfig

# openvla/openvla-7b: Llama 2, DINOv2-L with 4 registers and SigLIP-so400m, second-to-last layers.
OPENVLA = TrunkConfig(32, 4096, 32, 32, 128, 11008, 32064)
DINOV2_L = VitConfig(
    23, 1024, 16, 4096, 14, 16, prefix=5, activation="gelu", scaled=True, final_norm=False
)
SIGLIP_SO400M = VitConfig(26, 1152, 16, 4304, 14, 16, activation="gelu", final_norm=False)
# google/siglip-base-patch16-224
SIGLIP_B = VitConfig(12, 768, 12, 3072, 16, 14)
# google/paligemma-3b-pt-224, the backbone of π0
PALIGEMMA = TrunkConfig(
    18, 2048, 8, 1, 256, 16384, 257216,
    activation="gelu_tanh", norm_offset=True, embed_scale=2048**0.5, tied=True,
)  # fmt: skip
# HuggingFaceTB/SmolVLM2-500M-Video-Instruct
SMOLVLM2 = TrunkConfig(32, 960, 15, 5, 64, 2560, 49280, rope_theta=1e5, eps=1e-5)


class Backbone(NamedTuple):
    trunk: TrunkConfig
    towers: tuple[VitConfig, ...]


BACKBONES = {
    "openvla": Backbone(OPENVLA, (DINOV2_L, SIGLIP_SO400M)),
    "paligemma": Backbone(PALIGEMMA, (VitConfig(27, 1152, 16, 4304, 14, 16),)),
    "smolvlm2": Backbone(SMOLVLM2, (VitConfig(12, 768, 12, 3072, 16, 32),)),
    # For trying things out: everything of it runs in milliseconds on one core.
    "tiny": Backbone(
        TrunkConfig(2, 64, 4, 2, 16, 96, 100), (VitConfig(2, 48, 4, 64, patch=14, grid=4),)
    ),
}
