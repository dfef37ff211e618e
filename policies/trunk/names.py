"""Whose tensors are called what. Tables only; `|` separates alternatives.

Names of published files as transformers, openpi, lerobot and Prismatic write them.
"""

from typing import NamedTuple


class Root(NamedTuple):
    """Where a language model stands inside a checkpoint."""

    prefix: str
    head: str
    family: str  # what it is, where config.json does not say


# The first whose layers are there counts: π0's action expert is a Gemma too and is not listed.
ROOTS = (
    # OpenVLA, and PaliGemma as published
    Root("language_model.model.", "language_model.lm_head.weight", "llama"),
    # CogACT and other Prismatic checkpoints
    Root("llm_backbone.llm.model.", "llm_backbone.llm.lm_head.weight", "llama2"),
    # SmolVLM2, and SmolVLA around it
    Root("model.text_model.", "lm_head.weight", "smollm2"),
    Root(
        "model.vlm_with_expert.vlm.model.text_model.",
        "model.vlm_with_expert.vlm.lm_head.weight",
        "smolvla",
    ),
    # PaliGemma and Qwen2.5-VL as newer transformers save them
    Root("model.language_model.", "lm_head.weight", "gemma"),
    # π0 by openpi, by lerobot, by transformers
    Root(
        "paligemma_with_expert.paligemma.model.language_model.",
        "paligemma_with_expert.paligemma.lm_head.weight",
        "gemma",
    ),
    Root(
        "model.paligemma_with_expert.paligemma.model.language_model.",
        "model.paligemma_with_expert.paligemma.lm_head.weight",
        "gemma",
    ),
    Root("model.vlm.language_model.", "model.vlm.lm_head.weight", "gemma"),
    # GR00T N1.5 by Isaac-GR00T, by LeRobot
    Root(
        "backbone.eagle_model.language_model.model.",
        "backbone.eagle_model.language_model.lm_head.weight",
        "groot",
    ),
    Root(
        "_groot_model.backbone.eagle_model.language_model.model.",
        "_groot_model.backbone.eagle_model.language_model.lm_head.weight",
        "groot",
    ),
    # Language models alone, and Qwen2.5-VL as published
    Root("model.", "lm_head.weight", "llama"),
)

# Parameter of our Block: tensors of a published layer, one below the other.
BLOCK = {
    "norm_attention.weight": ("input_layernorm.weight",),
    "qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "qkv.bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "norm_query.weight": ("self_attn.q_norm.weight",),
    "norm_key.weight": ("self_attn.k_norm.weight",),
    "out.weight": ("self_attn.o_proj.weight",),
    "norm_mlp.weight": ("post_attention_layernorm.weight",),
    "gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "down.weight": ("mlp.down_proj.weight",),
}


def trunk_names(root: Root, depth: int) -> dict[str, tuple[str, ...]]:
    """Every parameter of a Trunk of that depth. Tied models name their one matrix either way."""
    embedding = f"{root.prefix}embed_tokens.weight|{root.head}"
    names = {
        "embedding.weight": (embedding,),
        "norm.weight": (f"{root.prefix}norm.weight",),
        "head.weight": (root.head,),
    }
    for layer in range(depth):
        prefix = f"{root.prefix}layers.{layer}."
        for ours, theirs in BLOCK.items():
            names[f"blocks.{layer}.{ours}"] = tuple(prefix + name for name in theirs)
    return names
