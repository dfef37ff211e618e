"""Latents of recorded frames, fresh or as the gated cache would have delivered them, in batches.

Training System 1 needs thousands of these. Because the read-out is a pure function of (reference of
L1, reference of L2, window of frames, text), the gate can be run first over time and the trunk
afterwards over many frames at once: the result equals `SdVla.step` frame by frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.s2 import interval
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.text import encode
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """How S2 ran. `strategy` "none" recomputes every frame: its latents are the fresh ones."""

    strategy: str = "sdvla"  # "sdvla" or "none"
    every: int = 2  # S2 sees every n-th frame: 2 is 10 Hz of a 20 Hz recording
    phase: int = 0  # index of the first frame that it sees
    thresholds: Sequence[float] = Recache.thresholds
    max_age_frames: int = Recache.max_age_frames
    hysteresis: float = Recache.hysteresis


@dataclass(frozen=True)
class Stream:
    """What S2 said at each of the N frames that it saw."""

    frame: np.ndarray  # [N] int64, index of the image that was newest
    latent: np.ndarray  # [N, K, D] float16
    refreshed: np.ndarray  # [N, 2] bool per level
    age_frames: np.ndarray  # [N, 2] int64, S2 frames since the level's refresh
    gate: np.ndarray  # [N, 2] float32 scores


@torch.inference_mode()
def encode_episodes(
    model: S2Model,
    episodes: Sequence[np.ndarray],
    instructions: Sequence[str],
    schedule: Schedule = Schedule(),
    batch: int = 128,
) -> list[Stream]:
    """Several episodes, each [T_i, 128, 128, 3] uint8 with an instruction; a Stream each."""
    seen = [np.arange(schedule.phase, len(images), schedule.every) for images in episodes]
    features = [model_features(model, e[i], batch) for e, i in zip(episodes, seen, strict=True)]
    plans = [plan(model, f, schedule) for f in features]
    tokens = [torch.from_numpy(encode(instruction)) for instruction in instructions]
    read = _fresh if schedule.strategy == "none" else _streamed
    latents = [read(model, f, p, t, batch) for f, p, t in zip(features, plans, tokens, strict=True)]
    return [
        Stream(i, latent, p.refreshed, p.age_frames, p.scores)
        for i, latent, p in zip(seen, latents, plans, strict=True)
    ]


@torch.inference_mode()
def model_features(model: S2Model, images: np.ndarray, batch: int = 128) -> Tensor:
    """Patch features [N, 64, width] float32 of images [N, 128, 128, 3]."""
    parts = [
        model.features(torch.from_numpy(np.ascontiguousarray(images[i : i + batch])))
        for i in range(0, len(images), batch)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, model.config.patches, model.config.width)


@dataclass(frozen=True)
class Plan:
    """What the gate decided for each of N frames; references are indices of frames."""

    reference: np.ndarray  # [N, 2] int64, frame at which each level was last refreshed
    refreshed: np.ndarray  # [N, 2] bool
    age_frames: np.ndarray  # [N, 2] int64
    scores: np.ndarray  # [N, 2] float32


@torch.inference_mode()
def plan(model: S2Model, features: Tensor, schedule: Schedule) -> Plan:
    """Runs only the gate over features [N, 64, width] in order of time."""
    count = len(features)
    frames = np.arange(count)[:, None].repeat(2, 1)
    if schedule.strategy == "none":
        yes = np.ones((count, 2), bool)
        return Plan(frames, yes, np.zeros((count, 2), np.int64), np.ones((count, 2), np.float32))
    recache = Recache(schedule.thresholds, schedule.hysteresis, schedule.max_age_frames)
    now, before = model.gate.now(features), model.gate.before(features)
    reference, ages, scores = frames.copy(), np.zeros_like(frames), np.ones((count, 2), np.float32)
    for i in range(count):
        if i:
            hidden = now[i] - before[torch.from_numpy(reference[i - 1])]
            scores[i] = torch.sigmoid(model.gate.mix(hidden).diagonal()).numpy()
        top = recache.decide(scores[i].tolist(), None if i else 0)
        reference[i] = reference[i - 1] if i else 0
        if top is not None:
            reference[i, top:] = i
        ages[i] = recache.age_frames
    return Plan(reference, reference == frames, ages, scores)


def _fresh(model: S2Model, features: Tensor, plan: Plan, text: Tensor, batch: int) -> np.ndarray:
    """Latents [N, K, D] float16, each frame its own reference."""
    parts = [
        model.latent(
            features[chunk],
            features[chunk],
            _window(model, features, chunk),
            text.expand(len(chunk), -1),
        )
        for chunk in _alike(model, len(features), batch)
    ]
    return _stored(model, parts)


def _alike(model: S2Model, count: int, batch: int) -> list[Tensor]:
    """Frames in batches with equally long windows: the first few have fewer predecessors."""
    early = min(count, model.config.frames - 1)
    later = [torch.arange(i, min(i + batch, count)) for i in range(early, count, batch)]
    return [torch.tensor([i]) for i in range(early)] + later


def _window(model: S2Model, features: Tensor, frames: Tensor) -> Tensor:
    """[B, W, 64, width], newest first."""
    reach = min(int(frames[0]) + 1, model.config.frames)
    return features[frames[:, None] - torch.arange(reach)]


def _streamed(model: S2Model, features: Tensor, plan: Plan, text: Tensor, batch: int) -> np.ndarray:
    """Latents [N, K, D] float16, interval by interval between refreshes."""
    edges = [*np.flatnonzero(plan.refreshed.any(1)).tolist(), len(features)]
    parts = []
    for start, end in pairwise(edges):
        first, second = (features[r] for r in plan.reference[start])
        past = max(start - model.config.frames + 1, 0)
        frames = features[past:end]
        parts.append(interval.latents(model, first, second, frames, start - past, text))
    return _stored(model, parts)


def _stored(model: S2Model, parts: list[Tensor]) -> np.ndarray:
    shape = (0, model.config.latent_tokens, model.config.latent_width)
    joined: np.ndarray = torch.cat([torch.zeros(shape), *parts]).half().numpy()
    return joined
