"""What LAC learns from on the shipped System 2: pairs of frames of the demonstrations.

The cubes in them lie, slide, jump, are carried. A pair is a frame and one some frames before, for
that is how long a row may have been kept at work. Who only ever saw two frames in succession takes
a slow slide for stillness.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tandem.policies.caches.flow import Flow, dis
from tandem.policies.caches.lac_data import Watching
from tandem.policies.caches.lac_networks import motion_input
from tandem.policies.caches.lac_training import Aligning
from tandem.policies.caches.relevance import scaled
from tandem.policies.caches.strategy import Image
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.patchwise import Patchwise, patch_layout
from tandem.policies.s2.text import table
from tandem.tools.train import data
from torch import Tensor

_STRIDE = 2  # System 2 sees every second frame of a demonstration
_TOKENS = table()  # [task, way to say it, colour, 12]
_NAMED = 0.5  # share of questions about the cube of the demonstration; the others about any cube


@dataclass(frozen=True)
class Seen:
    """One frame of a demonstration."""

    image: Image
    features: Tensor  # [64, width]
    attention: Tensor  # [64] of the question's words to the patches
    frame: int  # of its episode
    task: int
    colour: int  # that the demonstration is about
    colours: tuple[int, ...]  # all that are there


@dataclass(frozen=True)
class Pairs:
    """A batch of stage II; rows of the trunk as in `S2Config`."""

    motion: Tensor  # [B, 5, H, W] from the frame before to now
    before: Tensor  # [B, statics, width] trunk inputs
    now: Tensor  # [B, rows, width]


@torch.no_grad()
def watch(model: S2Model, folder: Path, episodes: int, seed: int = 0) -> list[Seen]:
    """Demonstrations as System 2 sees them, everything computed anew."""
    demos = data.load(folder)
    rng, seen = np.random.default_rng(seed), list[Seen]()
    chosen = rng.permutation(np.unique(demos["episode"]))[:episodes]
    for episode in chosen.tolist():
        rows = np.flatnonzero(demos["episode"] == episode)[::_STRIDE]
        task, colour = int(demos["task"][rows[0]]), int(demos["colour"][rows[0]])
        there = np.flatnonzero(np.isfinite(demos["cubes"][rows]).all((0, 2)))
        images = [demos["images"][row] for row in rows]  # mapped: read when a pair is drawn
        seen += watched(model, images, task, colour, tuple(there.tolist()))
    return seen


def watched(
    model: S2Model, images: list[Image], task: int, colour: int, colours: tuple[int, ...]
) -> Iterator[Seen]:
    """The frames of one episode."""
    rule = Watching(patch_layout(model.config), scaled(15, model.config.depth))  # VLA-Cache's layer
    stream, question = Patchwise(model, rule), asked(model, [task], [0], [colour])
    for i, image in enumerate(images):
        features = model.features(torch.from_numpy(np.array(image))[None])
        stream.step(image, features, question, lambda stage: None)
        assert rule.relevance.scores is not None  # the plan asked for it
        yield Seen(image, features[0], rule.relevance.scores, i, task, colour, colours)


def asked(model: S2Model, tasks: list[int], words: list[int], colours: list[int]) -> Tensor:
    """Rows of text and read-out [B, 14, width]; `words`: which way to say it."""
    return model.tokens.question(torch.from_numpy(_TOKENS[tasks, words, colours]))


def aligning(seen: list[Seen], batch: int, batches: int, seed: int = 0) -> Iterator[Aligning]:
    """Batches of stage I."""
    rng, flow = np.random.default_rng(seed), dis()
    moving = [i for i, frame in enumerate(seen) if frame.frame > 0]
    for _ in range(batches):
        drawn = rng.choice(moving, batch)
        motion = torch.stack([_motion(flow, seen[i - 1], seen[i]) for i in drawn])
        yield Aligning(motion, torch.stack([seen[i].attention for i in drawn]))


def pairs(
    model: S2Model, seen: list[Seen], batch: int, batches: int, longest: int, seed: int = 0
) -> Iterator[Pairs]:
    """Batches of stage II; fewer than `longest` frames apart, as often 1 as 2 to 3 or 4 to 7."""
    rng, flow = np.random.default_rng(seed), dis()
    usable = [i for i, frame in enumerate(seen) if frame.frame >= model.config.frames]
    for _ in range(batches):
        rows = rng.choice(usable, batch)
        apart = (longest ** rng.random(batch)).astype(int)
        then = [max(i - k, i - seen[i].frame) for i, k in zip(rows, apart, strict=True)]
        motion = [_motion(flow, seen[i], seen[j]) for i, j in zip(then, rows, strict=True)]
        with torch.no_grad():
            question = _any_question(model, [seen[i] for i in rows], rng)
            before = statics(model, torch.stack([seen[i].features for i in then]))
            now = inputs(model, window(model.config, seen, rows), question)
        yield Pairs(torch.stack(motion), before, now)


def window(config: S2Config, seen: list[Seen], rows: np.ndarray) -> Tensor:
    """Features [B, frames, 64, width], newest first."""
    ages = range(config.frames)
    return torch.stack([torch.stack([seen[i - age].features for age in ages]) for i in rows])


def statics(model: S2Model, features: Tensor) -> Tensor:
    """Trunk inputs [B, statics, width] of features [B, 64, width]."""
    return torch.cat([model.tokens.l1(features), model.tokens.l2(features)], 1)


def inputs(model: S2Model, frames: Tensor, question: Tensor) -> Tensor:
    """Trunk inputs [B, rows, width] of features [B, frames, 64, width]; the newest is reference."""
    newest = frames[:, :1].expand_as(frames)
    moving = model.tokens.frame(frames.flatten(0, 1), newest.flatten(0, 1))[0]
    moving = moving.unflatten(0, frames.shape[:2]).flatten(1, 2)
    return torch.cat([statics(model, frames[:, 0]), moving, question], 1)


def _any_question(model: S2Model, seen: list[Seen], rng: np.random.Generator) -> Tensor:
    colours = [
        frame.colour if rng.random() < _NAMED else int(rng.choice(frame.colours)) for frame in seen
    ]
    words = rng.integers(_TOKENS.shape[1], size=len(seen)).tolist()
    return asked(model, [frame.task for frame in seen], words, colours)


def _motion(flow: Flow, before: Seen, now: Seen) -> Tensor:
    a, b = np.array(before.image), np.array(now.image)
    return motion_input(b, flow(a, b))
