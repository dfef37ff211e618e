"""From config.json to `TrunkConfig`.

What config.json says is law. What it leaves to a library's defaults is written here, and sizes that
nobody states are read off the tensors: published policies often name only their language model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tandem.policies.trunk.checkpoint import Checkpoint
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.names import ROOTS, Root
from tandem.runtime.errors import WeightsError


@dataclass(frozen=True)
class Family:
    """Defaults of a kind of language model, as its library has them."""

    head_dim: int = 128  # if config.json gives neither this nor the number of heads
    head_dim_fixed: bool = False  # not width / heads
    eps: float = 1e-6
    rope_theta: float = 10_000.0
    scaled: bool = False  # embedded words by √width
    traits: Mapping[str, Any] = field(default_factory=dict)


_QWEN3 = {"qk_norm": True}

FAMILIES = {
    "llama": Family(),
    "llama2": Family(eps=1e-5),  # meta-llama/Llama-2-7b-hf
    "smollm2": Family(head_dim=64, eps=1e-5, rope_theta=1e5),  # HuggingFaceTB/SmolLM2-360M
    # huggingface/lerobot, policies/smolvla: words are scaled (embed_prefix), and its own rotation
    # keeps Llama's base, not SmolLM2's (smolvlm_with_expert.py, apply_rope)
    "smolvla": Family(head_dim=64, eps=1e-5, scaled=True),
    "gemma": Family(
        head_dim=256,
        head_dim_fixed=True,
        scaled=True,
        traits={"norm_offset": True, "activation": "gelu_tanh", "tied": True},
    ),
    "qwen2": Family(traits={"qkv_bias": True}),
    "qwen3": Family(head_dim_fixed=True, traits=_QWEN3),
    # Qwen3-1.7B, cut; nvidia/GR00T-N1.5-3B keeps its configuration in its code
    "groot": Family(head_dim_fixed=True, rope_theta=1e6, traits={**_QWEN3, "tied": True}),
}
_ALIASES = {"qwen2_5_vl": "qwen2", "qwen2_5_vl_text": "qwen2"}
# What is refused, and why: PaliGemma 2 is one (google/gemma_pytorch, gemma/config.py)
_REFUSED = {"gemma2": " (soft-capped attention, a window in every second layer, four norms)"}
_ACTIVATIONS = {"silu", "gelu_pytorch_tanh", "gelu_tanh"}


def find_root(checkpoint: Checkpoint) -> Root:
    """Where the language model stands.

    Raises:
        WeightsError: no name is known to us.
    """
    for root in ROOTS:
        if f"{root.prefix}layers.0.self_attn.q_proj.weight" in checkpoint:
            return root
    raise WeightsError(
        f"{checkpoint.folder} has no language model under a known name; add its prefix to ROOTS "
        f"in policies/trunk/names.py. Known: {', '.join(root.prefix for root in ROOTS)}"
    )


def trunk_config(checkpoint: Checkpoint, root: Root) -> TrunkConfig:
    """What `Trunk` must be to hold the language model at `root`.

    Raises:
        WeightsError: an architecture, or a variant of one, that the trunk does not compute.
    """
    text, family = _text_config(checkpoint, root)
    embedding = next(
        (n for n in (f"{root.prefix}embed_tokens.weight", root.head) if n in checkpoint), root.head
    )
    vocab, stored_width = checkpoint.shape(embedding)
    attention = f"{root.prefix}layers.0.self_attn"
    head_dim = _head_dim(text, family, stored_width)
    width = text.get("hidden_size") or stored_width
    layers = text.get("num_hidden_layers") or checkpoint.numbered(f"{root.prefix}layers.")
    scaled = {"embed_scale": width**0.5} if family.scaled else {}
    tied = text.get("tie_word_embeddings") or checkpoint.config.get("tie_word_embeddings") or False
    return TrunkConfig(
        depth=min(layers, _used_layers(checkpoint.config) or layers),
        width=width,
        heads=text.get("num_attention_heads")
        or checkpoint.shape(f"{attention}.q_proj.weight")[0] // head_dim,
        kv_heads=text.get("num_key_value_heads")
        or checkpoint.shape(f"{attention}.k_proj.weight")[0] // head_dim,
        head_dim=head_dim,
        mlp=text.get("intermediate_size")
        or checkpoint.shape(f"{root.prefix}layers.0.mlp.gate_proj.weight")[0],
        vocab=vocab,
        eps=text.get("rms_norm_eps") or family.eps,
        **{"tied": tied, **_rope(text, family), **scaled, **family.traits},
    )


def _text_config(checkpoint: Checkpoint, root: Root) -> tuple[Mapping[str, Any], Family]:
    """What config.json says of the language model, and its family."""
    config = checkpoint.config
    text = (config.get("vlm_config") or config).get("text_config") or config
    kind = text.get("model_type")
    kind = _ALIASES.get(kind, kind)
    if text is config and kind not in FAMILIES:
        return {}, FAMILIES[root.family]  # a policy's own configuration: nothing of the trunk in it
    if kind not in FAMILIES:
        raise WeightsError(
            f"{checkpoint.folder / 'config.json'} asks for the architecture {kind!r}"
            f"{_REFUSED.get(kind or '', '')}; the trunk computes {', '.join(FAMILIES)}: take a "
            "checkpoint of one of them"
        )
    _check(text, checkpoint)
    return text, FAMILIES[kind]


def _check(text: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Refuses what would be computed wrongly without a word."""
    activation = text.get("hidden_activation") or text.get("hidden_act") or "silu"
    # Early Gemma files say "gelu" and mean its tanh form, which is what every library computes.
    known = activation in _ACTIVATIONS or (text["model_type"] == "gemma" and activation == "gelu")
    refused = {
        f"hidden_act {activation!r}": not known,
        "attention_bias": text.get("attention_bias"),
        "mlp_bias": text.get("mlp_bias"),
        "use_sliding_window": text.get("use_sliding_window"),
    }
    for what, present in refused.items():
        if present:
            raise WeightsError(
                f"{checkpoint.folder / 'config.json'} asks for {what}, which the trunk does not "
                f"compute; teach it to policies/trunk/layers.py first"
            )


def _head_dim(text: Mapping[str, Any], family: Family, width: int) -> int:
    if text.get("head_dim"):
        return text["head_dim"]
    if text.get("num_attention_heads") and not family.head_dim_fixed:
        return width // text["num_attention_heads"]
    return family.head_dim


def _rope(text: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Base and sections, as transformers 5 writes them (`rope_parameters`) or 4 did."""
    parameters = text.get("rope_parameters") or text.get("rope_scaling") or {}
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind not in ("default", "mrope"):
        raise WeightsError(f"rotary positions of type {kind!r} are not computed by the trunk")
    theta = parameters.get("rope_theta") or text.get("rope_theta") or family.rope_theta
    return {"rope_theta": theta, "mrope": tuple(parameters.get("mrope_section", ()))}


def _used_layers(config: Mapping[str, Any]) -> int:
    """How many layers a policy's own configuration keeps (SmolVLA, GR00T N1.5); 0: all of them."""
    backbone = config.get("backbone_cfg") or {}
    return max(config.get("num_vlm_layers") or backbone.get("select_layer") or 0, 0)
