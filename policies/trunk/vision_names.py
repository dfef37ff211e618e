"""Whose vision tensors are called what. Tables only; `|` separates alternatives.

Three spellings of the same transformer: transformers' SigLIP, its DINOv2 with registers, and
timm's, which OpenVLA and CogACT use for both.
"""

from typing import NamedTuple

from tandem.policies.trunk.vision import HALF, IMAGENET, Norm
from tandem.policies.trunk.vision_fit import Fit, centred, centred_smooth, linear, padded, resize


class Spelling(NamedTuple):
    """Names of modules (weight and bias below them) and of single tensors."""

    patch: str
    position: str
    layers: str  # prefix of the numbered layers
    norm: str
    block: dict[str, tuple[str, ...]]  # module of our block: theirs, one below the other
    scale: tuple[str, str] | None = None  # learned scales after attention, after the MLP
    prefix: tuple[str, ...] = ()  # tokens before the patches
    position_of_class: bool = False  # the first position is the class token's


SIGLIP = Spelling(
    patch="embeddings.patch_embedding",
    position="embeddings.position_embedding.weight",
    layers="encoder.layers.",
    norm="post_layernorm",
    block={
        "norm_attention": ("layer_norm1",),
        "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "out": ("self_attn.out_proj",),
        "norm_mlp": ("layer_norm2",),
        "up": ("mlp.fc1",),
        "down": ("mlp.fc2",),
    },
)
DINOV2 = Spelling(
    patch="embeddings.patch_embeddings.projection",
    position="embeddings.position_embeddings",
    layers="encoder.layer.",
    norm="layernorm",
    block={
        "norm_attention": ("norm1",),
        "qkv": tuple(f"attention.attention.{name}" for name in ("query", "key", "value")),
        "out": ("attention.output.dense",),
        "norm_mlp": ("norm2",),
        "up": ("mlp.fc1",),
        "down": ("mlp.fc2",),
    },
    scale=("layer_scale1.lambda1", "layer_scale2.lambda1"),
    prefix=("embeddings.cls_token", "embeddings.register_tokens"),
    position_of_class=True,
)
_TIMM_BLOCK = {
    "norm_attention": ("norm1",),
    "qkv": ("attn.qkv",),
    "out": ("attn.proj",),
    "norm_mlp": ("norm2",),
    "up": ("mlp.fc1",),
    "down": ("mlp.fc2",),
}
TIMM_SIGLIP = Spelling("patch_embed.proj", "pos_embed", "blocks.", "norm", _TIMM_BLOCK)
# OpenVLA writes scale_factor: transformers would take "gamma" for an old spelling of "weight".
TIMM_DINOV2 = TIMM_SIGLIP._replace(
    scale=("ls1.scale_factor|ls1.gamma", "ls2.scale_factor|ls2.gamma"),
    prefix=("cls_token", "reg_token"),
)


class TowerAt(NamedTuple):
    prefix: str
    spelling: Spelling
    norm: Norm = HALF
    heads: int = 16  # where config.json does not say: ViT-L and so400m
    exact_gelu: bool = False
    second_to_last: bool = False  # the last layer and the final norm are not used


class VisionAt(NamedTuple):
    """The towers of a published model and the layers of its projector."""

    towers: tuple[TowerAt, ...]
    projector: tuple[str, ...] = ()
    fit: Fit = resize
    scaled: bool = False  # rows of pictures by √width, as embedded words are


def _pair(dino: str, siglip: str, projector: tuple[str, ...]) -> VisionAt:
    """DINOv2-L and SigLIP-so400m of timm 0.9.10, whose GELU is exact in both."""
    return VisionAt(
        (
            TowerAt(dino, TIMM_DINOV2, IMAGENET, exact_gelu=True, second_to_last=True),
            TowerAt(siglip, TIMM_SIGLIP, exact_gelu=True, second_to_last=True),
        ),
        projector,
    )


def _paligemma(prefix: str, fit: Fit = resize) -> tuple[VisionAt, ...]:
    """As published, with "vision_model.", and as newer libraries save it, without."""
    projector = (f"{prefix}multi_modal_projector.linear",)
    return tuple(
        VisionAt((TowerAt(f"{prefix}vision_tower.{inner}", SIGLIP),), projector, fit)
        for inner in ("vision_model.", "")
    )


def _smolvlm(prefix: str) -> VisionAt:
    tower = TowerAt(f"{prefix}vision_model.", SIGLIP, heads=12)
    return VisionAt((tower,), (f"{prefix}connector.modality_projection.proj",))


def _smolvla(prefix: str) -> VisionAt:
    """huggingface/lerobot, policies/smolvla/modeling_smolvla.py, embed_prefix.

    Places are in raster order, as there in bfloat16; in float32, transformers 4.55 to 4.57 read
    them one row and one column off (huggingface/transformers, issue 41190).
    """
    return _smolvlm(prefix)._replace(fit=padded, scaled=True)


def _eagle(prefix: str, fit: Fit) -> tuple[VisionAt, ...]:
    """GR00T N1.5's SigLIP 2, one linear layer and no pixel shuffle (mlp1.0 is [2048, 1152]).

    As published, with a second "vision_model.", and as newer libraries save it, without.
    """
    return tuple(
        VisionAt((TowerAt(f"{prefix}vision_model.{inner}", SIGLIP),), (f"{prefix}mlp1.0",), fit)
        for inner in ("vision_model.", "")
    )


VISIONS = (
    _pair(
        "vision_backbone.featurizer.",
        "vision_backbone.fused_featurizer.",
        ("projector.fc1", "projector.fc2", "projector.fc3"),
    ),
    _pair(
        "vision_backbone.dino_featurizer.",
        "vision_backbone.siglip_featurizer.",
        ("projector.projector.0", "projector.projector.2", "projector.projector.4"),
    ),
    *_paligemma(""),
    *_paligemma("model."),
    # π0 by openpi, by lerobot, by transformers (with openpi's weights)
    *_paligemma("paligemma_with_expert.paligemma.model.", centred_smooth),
    *_paligemma("model.paligemma_with_expert.paligemma.model.", centred),
    *_paligemma("model.vlm.", centred_smooth),
    _smolvlm("model."),
    _smolvla("model.vlm_with_expert.vlm.model."),
    *_eagle("backbone.eagle_model.", linear),  # by Isaac-GR00T
    *_eagle("_groot_model.backbone.eagle_model.", resize),  # by LeRobot
    # Towers alone, as transformers saves them
    VisionAt((TowerAt("vision_model.", SIGLIP, heads=12),)),
    VisionAt((TowerAt("", SIGLIP, heads=12),)),
    VisionAt((TowerAt("", DINOV2, IMAGENET, exact_gelu=True),)),
)
