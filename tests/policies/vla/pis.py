"""Small random π0.5 as LeRobot and openpi save them, and the words that they are asked in."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from safetensors.torch import save_file
from tandem.runtime.messages import RobotState
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch import nn

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints
from tests.policies.vla.checkpoints import RED

STATE = "q+opening"
_MIDDLE = np.array([*checkpoints.HOME_Q, 0.5])
LOW, HIGH = _MIDDLE - 0.4, _MIDDLE + 0.6
LEROBOT, OPENPI = "model.paligemma_with_expert.", "paligemma_with_expert."
_LETTERS = dict.fromkeys("Task: pick up the red green cube, State: -0123456789;\nAction: ")


def tokenizer() -> Tokenizer:
    """A letter is a token, as a digit is one of Gemma's; blanks and line feeds are letters."""
    letters = [{" ": "Ġ", "\n": "Ċ"}.get(letter, letter) for letter in _LETTERS]
    made = Tokenizer(models.BPE({one: n for n, one in enumerate(letters)}, [], unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens([AddedToken("<bos>", normalized=False)])
    return made


@cache
def paligemma() -> nn.Module:
    """Of the heads that both projects leave to PaliGemma: 256 wide, 16 of them that look."""
    text = {**zoo.SIZES, "model_type": "gemma", "head_dim": 256, "num_key_value_heads": 1}
    vision = {**zoo.PICTURE, "hidden_size": 32, "num_attention_heads": 16}
    vision |= {"model_type": "siglip_vision_model", "vision_use_head": False}
    config = hf.PaliGemmaConfig(
        text_config=text,
        vision_config={**vision, "projection_dim": zoo.WIDTH},
        projection_dim=zoo.WIDTH,
        image_token_index=checkpoints.IMAGE,
    )
    return zoo.stir(hf.PaliGemmaForConditionalGeneration(config))


def save(folder: Path, prefix: str, config: dict) -> Path:
    """The language model and the tower; the action expert is nothing to System 2."""
    theirs = paligemma().state_dict().items()
    zoo.write({f"{prefix}paligemma.{name}": tensor for name, tensor in theirs}, config, folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def normalise(folder: Path, **stats: np.ndarray) -> None:
    named = {f"observation.state.{name}": torch.tensor(bound) for name, bound in stats.items()}
    named["action.mean"] = torch.zeros(7)
    save_file(named, folder / "policy_preprocessor_step_2_normalizer_processor.safetensors")


def tokens(state: RobotState, instruction: str = RED) -> list[int]:
    """openpi, models/tokenizer.py, over a state normalised by its quantiles."""
    numbers = np.array([*state.q, state.width_m / 0.08])
    told = 2 * (numbers - LOW) / (HIGH - LOW + 1e-8) - 1
    bins = np.digitize(told.astype(np.float32), bins=np.linspace(-1, 1, 256 + 1)[:-1]) - 1
    text = f"Task: {instruction}, State: {' '.join(map(str, bins))};\nAction: "
    return tokenizer().encode(f"<bos>{text}", add_special_tokens=False).ids
