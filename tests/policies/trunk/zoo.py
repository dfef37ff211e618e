"""Small random checkpoints, saved to a folder the way their publishers save them.

Random in everything, norms and biases too, and strong enough that rows mix: a wrong scale, a
forgotten bias or a leaking mask would be seen.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WIDTH, VOCAB = 32, 64
SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
}
PICTURE = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
_ROPE_QWEN = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}


@dataclass(frozen=True)
class Case:
    """A published kind of checkpoint."""

    build: Callable[[], nn.Module]  # the library's model
    text: Callable[[nn.Module], nn.Module]  # its language model, without the head
    rename: Callable[[str], str | None] | None = None  # None: saved by the library itself
    config: dict | None = None  # config.json, where the library does not write it


def stir(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    model.eval().requires_grad_(False)
    tied = set()
    for parameter in model.parameters():
        if parameter.data_ptr() in tied:
            continue
        tied.add(parameter.data_ptr())
        if parameter.dim() >= 2:
            parameter.copy_(torch.randn_like(parameter) * parameter[0].numel() ** -0.5 * 1.5)
        else:
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def _under(prefix: str, head: str | None = None) -> Callable[[str], str | None]:
    """Renames `model.…` and `lm_head.weight` of a causal language model."""

    def rename(name: str) -> str | None:
        if name == "lm_head.weight":
            return head
        return prefix + name.removeprefix("model.")

    return rename


def _openpi(name: str) -> str | None:
    if name == "model.embed_tokens.weight":  # openpi drops the tied twin that we would read
        return "paligemma_with_expert.paligemma.lm_head.weight"
    return _under("paligemma_with_expert.paligemma.model.language_model.")(name)


def _llama(**other: object) -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**{**SIZES, **other}))


def _gemma(**other: object) -> nn.Module:
    return hf.GemmaForCausalLM(hf.GemmaConfig(**{**SIZES, "num_key_value_heads": 1, **other}))


def _qwen3(**other: object) -> nn.Module:
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**{**SIZES, "head_dim": 16, **other}))


def paligemma() -> nn.Module:
    text = {**SIZES, "model_type": "gemma", "head_dim": 8, "num_key_value_heads": 1}
    vision = {**PICTURE, "model_type": "siglip_vision_model", "vision_use_head": False}
    config = hf.PaliGemmaConfig(
        text_config=text,
        vision_config={**vision, "projection_dim": WIDTH},
        projection_dim=WIDTH,
        image_token_index=VOCAB - 1,
    )
    return hf.PaliGemmaForConditionalGeneration(config)


def smolvlm() -> nn.Module:
    text = {
        **SIZES,
        "model_type": "llama",
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
    }
    config = hf.SmolVLMConfig(
        text_config=text, vision_config=PICTURE, scale_factor=2, image_token_id=VOCAB - 1
    )
    return hf.SmolVLMForConditionalGeneration(config)


def qwen2_5_vl() -> nn.Module:
    vision = {"depth": 3, "hidden_size": 32, "num_heads": 2, "intermediate_size": 40}
    config = hf.Qwen2_5_VLConfig(
        text_config={**SIZES, "rope_parameters": _ROPE_QWEN},
        vision_config={**vision, "out_hidden_size": WIDTH, "fullatt_block_indexes": [1]},
        vision_start_token_id=61,
        image_token_id=62,
        video_token_id=63,
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config)


def _inner(model: nn.Module) -> nn.Module:
    return model.model


# As published: the sizes are a library's defaults, so nobody states them.
OPENVLA_TEXT = {"model_type": "llama", "pad_token_id": 0, "vocab_size": VOCAB}

CASES = {
    "llama": Case(_llama, _inner),
    "openvla": Case(
        lambda: _llama(head_dim=128),
        _inner,
        _under("language_model.model.", "language_model.lm_head.weight"),
        {"model_type": "openvla", "text_config": OPENVLA_TEXT},
    ),
    # No word of the language model in config.json: sizes come from the tensors, 128 from the table.
    "cogact": Case(
        lambda: _llama(head_dim=128, rms_norm_eps=1e-5),
        _inner,
        _under("llm_backbone.llm.model.", "llm_backbone.llm.lm_head.weight"),
        {"model": {"type": "cogact"}},
    ),
    "smolvlm2": Case(smolvlm, lambda model: model.model.text_model),
    "gemma": Case(lambda: _gemma(head_dim=8), _inner),
    "paligemma": Case(paligemma, lambda model: model.model.language_model),
    "pi0 openpi": Case(lambda: _gemma(head_dim=256), _inner, _openpi, {"type": "pi0"}),
    "pi0 transformers": Case(
        lambda: _gemma(head_dim=8),
        _inner,
        _under("model.vlm.language_model."),
        {
            "model_type": "pi0",
            "vlm_config": {
                "text_config": {
                    **SIZES,
                    "num_key_value_heads": 1,
                    "model_type": "gemma",
                    "head_dim": 8,
                }
            },
        },
    ),
    "qwen2.5-vl": Case(qwen2_5_vl, lambda model: model.model.language_model),
    "qwen3": Case(_qwen3, _inner),
    "groot": Case(
        lambda: _qwen3(head_dim=128, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
        _inner,
        _under(
            "backbone.eagle_model.language_model.model.",
            "backbone.eagle_model.language_model.lm_head.weight",
        ),
        {"model_type": "gr00t_n1_5"},
    ),
}


@cache
def library(name: str) -> nn.Module:
    """The library's own model, the yardstick."""
    return stir(CASES[name].build())


def save(name: str, folder: Path) -> Path:
    """The checkpoint of that kind, as published."""
    case, model = CASES[name], library(name)
    if case.rename is None:
        model.save_pretrained(folder, max_shard_size="20KB")
        return folder
    renamed = {case.rename(old): tensor for old, tensor in model.state_dict().items()}
    write({new: tensor for new, tensor in renamed.items() if new}, case.config or {}, folder)
    return folder


def write(tensors: dict[str, Tensor], config: dict, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    save_file(
        {name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(config))


def read(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same(ours: Tensor, theirs: Tensor, bound: float = 1e-5) -> None:
    """Equal to within `bound` of the largest hidden value."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= bound * theirs.abs().max().item()
