"""Latents of recorded frames, fresh or as the gated cache would have delivered them, in batches.

Training System 1 needs thousands of these. Because the read-out is a pure function of (reference of
L1, reference of L2, window of frames, text), the gate can be run first over time and the trunk
afterwards over everything at once: the result equals `SdVla.step` frame by frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tandem.policies.s2.model import S2Model


@dataclass(frozen=True)
class Schedule:
    """How S2 ran. `strategy` "none" recomputes every frame: its latents are the fresh ones."""

    strategy: str = "sdvla"  # "sdvla" or "none"
    every: int = 2  # S2 sees every n-th frame: 2 is 10 Hz of a 20 Hz recording
    phase: int = 0  # index of the first frame that it sees
    thresholds: tuple[float, float] = (0.5, 0.5)
    max_age_frames: int = 200


@dataclass(frozen=True)
class Stream:
    """What S2 said at each of the N frames that it saw."""

    frame: np.ndarray  # [N] int64, index of the image that was newest
    latent: np.ndarray  # [N, K, D] float16
    refreshed: np.ndarray  # [N, 2] bool per level
    age_frames: np.ndarray  # [N, 2] int64, S2 frames since the level's refresh
    gate: np.ndarray  # [N, 2] float32 scores


def encode_stream(
    model: "S2Model", images: np.ndarray, instruction: str, schedule: Schedule = Schedule()
) -> Stream:
    """One episode: images [T, 128, 128, 3] uint8 in order of time."""
    return encode_episodes(model, [images], [instruction], schedule)[0]


def encode_episodes(
    model: "S2Model",
    episodes: Sequence[np.ndarray],
    instructions: Sequence[str],
    schedule: Schedule = Schedule(),
    batch: int = 128,
) -> list[Stream]:
    """Several episodes, each [T_i, 128, 128, 3] uint8 with its instruction; one Stream an episode."""
    raise NotImplementedError
