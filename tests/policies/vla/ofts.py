"""A small OpenVLA-OFT, what is shown to it, and what the library's Llama computes of it."""

from pathlib import Path

import numpy as np
import torch
from tandem.policies.trunk.towers import load_vision
from tandem.policies.vla.policy import Vla
from torch import Tensor

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints

SIDE, PATCHES = checkpoints.SIDE_PX, 16
ACTIONS, SLOTS = (2, 3), 6
ASKED = "In : What action should the robot take to pick up the red cube ? Out : ▁"
CAMERAS = ("front", "wrist")


def policy(folder: Path, cameras: int = 1, **given: object) -> Vla:
    return checkpoints.policy(folder, CAMERAS[:cameras], **({"actions": ACTIONS} | given))


def film(cameras: int, frames: int = 6) -> list[list[np.ndarray]]:
    """Some corner of each camera's picture changes from frame to frame, one more every time."""
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (cameras, SIDE, SIDE, 3), dtype=np.uint8))
    shown = []
    for frame in range(frames):
        for picture in pictures if frame else ():
            patch = rng.integers(0, 256, (14, 14, 3))
            picture[: 14 * (frame % 3), 14:28] = np.tile(patch, (frame % 3, 1, 1))
        shown.append([picture.copy() for picture in pictures])
    return shown


def sequence(pictures: Tensor) -> Tensor:
    """BOS, pictures [n, width], words, empty slots, the end token: [places, width]."""
    embedding = checkpoints.library_llama().embed_tokens
    words = embedding(torch.tensor(checkpoints.tokens(f"<s> {ASKED} </s>")))
    empty = torch.zeros(SLOTS, zoo.WIDTH)
    return torch.cat([words[:1], pictures, words[1:-1], empty, words[-1:]])


def looked(folder: Path, pictures: list[np.ndarray]) -> Tensor:
    vision = load_vision(folder)
    return torch.cat([vision.projector(vision.look(picture)) for picture in pictures])


def whole(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The library's hidden states at the rows that are read, mask bool [places, places]."""
    mask = torch.ones(len(x), len(x), dtype=torch.bool) if mask is None else mask
    bias = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))[None, None]
    model = checkpoints.library_llama()
    hidden = model(inputs_embeds=x[None], attention_mask=bias).last_hidden_state[0]
    return hidden[len(x) - SLOTS - 2 : -2]  # each number one row before its slot
