"""Small random checkpoints in folders of their own: config.json, safetensors, tokenizer.json."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from tandem.policies.vla.make import make
from tandem.policies.vla.options import Options
from tandem.policies.vla.policy import Vla
from tandem.runtime import arm_file
from tandem.runtime.interfaces import Frame, Observation
from tandem.runtime.messages import RobotState
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

from tests.policies.trunk import zoo
from tests.policies.trunk.test_vision import dino_config, timm_names

_MODEL = arm_file.load(Path("configs/limits/panda.yaml"))
PANDA, HOME_Q = _MODEL.spec, _MODEL.home_q
SIDE_PX = 56
KINDS = ("openvla", "openvla_oft", "smolvlm", "paligemma")
RED = "pick up the red cube"
SPECIAL = [
    "<unk>", "<s>", "</s>", "▁", "<bos>", "<|im_start|>", "<fake_token_around_image>",
    "<global-img>", "<end_of_utterance>",
]  # fmt: skip
WORDS = "In : What action should the robot take to Out ? ?: User Assistant pick up red green cube"
IMAGE = zoo.VOCAB - 1  # the token that stands for a patch in the libraries' prompts


def tokenizer() -> Tokenizer:
    """A word is a token."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS.split()])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def tokens(text: str) -> list[int]:
    """Words and special tokens, separated by blanks, to their numbers."""
    return [tokenizer().token_to_id(word) for word in text.split()]


def save(kind: str, folder: Path) -> Path:
    """One of KINDS, with its publisher's own names."""
    if kind.startswith("openvla"):
        _save_openvla(folder)
        if kind == "openvla_oft":
            beside(folder, "action_head")
    else:
        library(kind).save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


@cache
def library(kind: str) -> nn.Module:
    """The library's own model, the yardstick."""
    return zoo.stir({"smolvlm": zoo.smolvlm, "paligemma": zoo.paligemma}[kind]())


def library_llama() -> nn.Module:
    """The language model of both kinds of OpenVLA, as the library has it."""
    return zoo.library("openvla").model


def beside(folder: Path, part: str) -> None:
    """A part of an OpenVLA-OFT that lies beside its weights, as torch pickles it."""
    torch.save({"module.fc2.weight": torch.zeros(7, 2)}, folder / f"{part}--10_checkpoint.pt")


def _save_openvla(folder: Path) -> None:
    """A Llama, DINOv2 and SigLIP side by side, and a projector of three layers."""
    zoo.save("openvla", folder)
    config = {**zoo.PICTURE, "hidden_size": 48, "num_attention_heads": 16, "hidden_act": "gelu"}
    dino = zoo.stir(hf.Dinov2WithRegistersModel(dino_config()))
    siglip = zoo.stir(hf.SiglipVisionModel(hf.SiglipVisionConfig(**config, vision_use_head=False)))
    tensors = zoo.read(folder)
    tensors |= timm_names(dino, "vision_backbone.featurizer.", folder / "dino")
    tensors |= timm_names(siglip, "vision_backbone.fused_featurizer.", folder / "siglip")
    tensors |= _projector((80, 96), (96, zoo.WIDTH), (zoo.WIDTH, zoo.WIDTH))
    zoo.write(tensors, zoo.CASES["openvla"].config or {}, folder)


def _projector(*sizes: tuple[int, int]) -> dict[str, Tensor]:
    layers = zoo.stir(nn.ModuleList(nn.Linear(*size) for size in sizes))
    named = (layer.state_dict().items() for layer in layers)
    return {f"projector.fc{i}.{name}": p for i, items in enumerate(named, 1) for name, p in items}


def pixels(image: Tensor) -> Tensor:
    """[H, W, 3] uint8 to [3, H, W], as SigLIP takes it."""
    return image.permute(2, 0, 1).float() / 127.5 - 1


def as_tensor(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers)[None]


def policy(folder: Path, cameras: tuple[str, ...] = ("front",), **given: object) -> Vla:
    """Asked for the red cube. In float32 on a CPU, unless told otherwise."""
    given = {"dtype": "float32", "text_tokens": 24, "threads": None, "device": "cpu"} | given
    given = {"arm": PANDA} | given
    made = make(Options(weights=str(folder), cameras=cameras, **given))  # type: ignore[arg-type]
    made.reset(RED)
    return made


def seen(*images: np.ndarray, seq: int = 0, state: RobotState | None = None) -> Observation:
    names = ("front", "wrist")
    frames = {n: Frame(i, 1000 + seq, seq) for n, i in zip(names, images, strict=False)}
    return Observation(0, frames, state)


def arm_state(seed: int) -> RobotState:
    """A Panda somewhere around its home."""
    rng = np.random.default_rng(seed)
    q, still = HOME_Q + rng.normal(0, 0.3, 7), np.zeros(7)
    return RobotState(
        q=q, dq=still, tau=still, q_cmd=q, dq_cmd=still, ddq_cmd=still, gripper_cmd=1.0,
        width_m=rng.uniform(0, 0.08), mode="hold", epoch=0,
    )  # fmt: skip
