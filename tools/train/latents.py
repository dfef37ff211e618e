"""What System 2 says at every frame of the demonstrations, fresh and through its gated cache."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tandem.policies.s2.storage import load_model
from tandem.policies.s2.stream import Schedule, encode_episodes
from tandem.policies.s2.text import COLOURS, INSTRUCTIONS
from tandem.tools.train.corpus import LEAD_STEPS, Track
from tandem.tools.train.expert import PICK

Array = np.ndarray
_AT_ONCE = 8  # episodes


def tracks_of(
    demos: dict[str, Array], s2_weights: Path, seed: int, advance: Callable[[int], None]
) -> list[Track]:
    """Two tracks: fresh latents on the even frames, latents of the gated cache on the odd ones."""
    model = load_model(s2_weights)
    schedules = [Schedule("none", every=2, phase=0), Schedule("sdvla", every=2, phase=1)]
    return [track_of(model, demos, s, seed, advance) for s in schedules]


def track_of(
    model: torch.nn.Module,
    demos: dict[str, Array],
    schedule: Schedule,
    seed: int,
    advance: Callable[[int], None],
) -> Track:
    """All episodes through S2 with random paraphrases of their instructions."""
    rng = np.random.default_rng([seed, 23])
    edges = np.flatnonzero(np.diff(demos["episode"], prepend=-1, append=-1))
    parts: list[Array] = []
    for i in range(0, len(edges) - 1, _AT_ONCE):
        spans = list(pairwise(edges))[i : i + _AT_ONCE]
        films = [_led_in(demos["images"][a:b]) for a, b in spans]
        told = [instruction(demos["task"][a], demos["colour"][a], rng) for a, _ in spans]
        parts += [s.latent for s in encode_episodes(model, films, told, schedule)]
        advance(len(spans))
    lengths = np.array([len(p) for p in parts])
    last = np.cumsum(lengths) - 1
    latent = np.concatenate(parts).reshape(lengths.sum(), -1)
    return Track(latent, last - lengths + 1, last, schedule.every, schedule.phase)


def instruction(task: int, colour: int, rng: np.random.Generator) -> str:
    """A random way to say it."""
    templates = INSTRUCTIONS["pick" if task == PICK else "bin"]
    return templates[rng.integers(len(templates))].format(COLOURS[colour])


def _led_in(images: Array) -> Array:
    return np.concatenate([np.repeat(images[:1], LEAD_STEPS, axis=0), images])
