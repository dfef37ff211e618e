"""Small random policies as LeRobot and Isaac-GR00T save them, and what they compute of a prompt.

Here the language model is transformers', told its inputs outright, and the vision tower too: what
the two projects do around them is written down from their code (sources in the docstrings).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints

SIDE_PX = 56
SMOLVLA = "model.vlm_with_expert.vlm."
EAGLE = {"groot": "_groot_model.backbone.eagle_model.", "gr00t_n1_5": "backbone.eagle_model."}
KINDS = ("smolvla", *EAGLE)
KEPT = 2  # layers that the configuration keeps, of three
_SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>",
]  # fmt: skip
_LETTERS = [*"pickuterdgnbsymaolhfv", *"YP12<>'[].", "Ġ", "Ċ"]


def tokenizer() -> Tokenizer:
    """A letter is a token; blanks and line feeds are letters, as in GPT-2's and Qwen's."""
    vocabulary = {one: number for number, one in enumerate(dict.fromkeys(_LETTERS))}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens([AddedToken(name, normalized=False) for name in _SPECIAL])
    return made


def tokens(text: str) -> list[int]:
    return tokenizer().encode(text, add_special_tokens=False).ids


def pictures(images: Sequence[np.ndarray]) -> Tensor:
    return torch.stack([checkpoints.pixels(torch.from_numpy(image)) for image in images])


@cache
def smolvla() -> nn.Module:
    """Sizes that LeRobot's config.json leaves to SmolVLM2's: heads of 64, 12 of them that look."""
    text = {**zoo.SIZES, "model_type": "llama", "head_dim": 64, "rms_norm_eps": 1e-5}
    rope = {"rope_type": "default", "rope_theta": 1e4}
    config = hf.SmolVLMConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config={**zoo.PICTURE, "num_attention_heads": 12},
        scale_factor=2,
        image_token_id=zoo.VOCAB - 1,
    )
    return zoo.stir(hf.SmolVLMForConditionalGeneration(config))


@dataclass(frozen=True)
class Eagle:
    """GR00T N1.5's parts: SigLIP, one linear layer, Qwen 3."""

    tower: nn.Module
    mlp: nn.Module
    language: nn.Module


@cache
def eagle() -> Eagle:
    picture = {**zoo.PICTURE, "hidden_size": 32, "num_attention_heads": 16}
    rope = {"rope_type": "default", "rope_theta": 1e6}
    qwen = hf.Qwen3Config(**zoo.SIZES, head_dim=128, rope_parameters=rope, tie_word_embeddings=True)
    return Eagle(
        zoo.stir(hf.SiglipVisionModel(hf.SiglipVisionConfig(**picture, vision_use_head=False))),
        zoo.stir(nn.Linear(32, zoo.WIDTH)),
        zoo.stir(hf.Qwen3ForCausalLM(qwen)),
    )


def save(kind: str, folder: Path) -> Path:
    if kind == "smolvla":
        tensors = {f"{SMOLVLA}{name}": t for name, t in smolvla().state_dict().items()}
        tensors["model.state_proj.weight"] = torch.zeros(zoo.WIDTH, 32)
        config = {"type": kind, "num_vlm_layers": KEPT}
        config |= {"resize_imgs_with_padding": [SIDE_PX] * 2, "add_image_special_tokens": False}
    else:
        tensors = _eagle_tensors(EAGLE[kind])
        key = "type" if kind == "groot" else "model_type"
        config = {key: kind, "backbone_cfg": {"select_layer": KEPT}}
    zoo.write(tensors, config, folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _eagle_tensors(prefix: str) -> dict[str, Tensor]:
    """As safetensors keeps tied weights: under one of their two names."""
    parts = eagle()
    tower = parts.tower.state_dict().items()
    tensors = {f"{prefix}vision_model.vision_model.{name}": t for name, t in tower}
    tensors |= {f"{prefix}mlp1.0.{name}": t for name, t in parts.mlp.state_dict().items()}
    language = parts.language.state_dict().items()
    tensors |= {f"{prefix}language_model.{name}": t for name, t in language}
    del tensors[f"{prefix}language_model.model.embed_tokens.weight"]
    return tensors


def smolvla_says(images: Sequence[np.ndarray], instruction: str) -> Tensor:
    """Pictures, then words, all scaled by √width and seeing each other; layers that are kept.

    huggingface/lerobot, policies/smolvla/modeling_smolvla.py, embed_prefix; the state token, which
    none of these rows sees, is left out.
    """
    model = smolvla().model
    seen = model.get_image_features(pictures(images)[None]).pooler_output
    words = model.text_model.embed_tokens(torch.tensor(tokens(f"{instruction}\n")))
    rows = [one.reshape(-1, zoo.WIDTH) for one in seen]
    x = torch.cat([*rows, words])[None] * zoo.WIDTH**0.5
    return _through(model.text_model, x, torch.zeros(x.shape[1], x.shape[1]))


def eagle_says(images: Sequence[np.ndarray], asked: str) -> Tensor:
    """The chat template of Eagle 2.5 around pictures that are numbered from 1.

    huggingface/lerobot, policies/groot/groot_n1.py (EagleBackbone: the hidden states of the last
    layer that is kept, after the norm) and eagle2_hg_model/processing_eagle2_5_vl.py.
    """
    parts = eagle()
    embed = parts.language.model.embed_tokens
    rows = parts.mlp(parts.tower(pictures(images)).last_hidden_state)
    start = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    x = [embed(torch.tensor(tokens(start)))]
    for number, seen in enumerate(rows, 1):
        x += [embed(torch.tensor(tokens(f"<image {number}><img>"))), seen]
        x += [embed(torch.tensor(tokens("</img>")))]
    x += [embed(torch.tensor(tokens(f"{asked}<|im_end|>\n<|im_start|>assistant\n")))]
    whole = torch.cat(x)[None]
    causal = torch.full((whole.shape[1], whole.shape[1]), torch.finfo(torch.float32).min).triu(1)
    return _through(parts.language.model, whole, causal)


def _through(model: nn.Module, x: Tensor, bias: Tensor) -> Tensor:
    """The first layers, then the norm, of every row."""
    layers, model.layers = model.layers, model.layers[:KEPT]
    try:
        return model(inputs_embeds=x, attention_mask=bias[None, None]).last_hidden_state[0]
    finally:
        model.layers = layers
