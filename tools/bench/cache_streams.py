"""The caches of the table, by name, each ready to look at pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from tandem.policies.caches import cost
from tandem.policies.caches.dual_cache import DualCache
from tandem.policies.caches.flow import flow_method
from tandem.policies.caches.lac import Lac
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.session import Backbone, Prompt, Session
from tandem.policies.caches.strategy import Image, Strategy
from tandem.policies.caches.ttf import Ttf, channels
from tandem.policies.caches.vla_cache import VlaCache
from tandem.policies.caches.whole import Interval, Whole
from tandem.policies.vla.places import Room
from tandem.policies.vla.rules import Cameras
from tandem.runtime.errors import ConfigError
from tandem.tools.bench import cache_lac, cache_sdvla
from tandem.tools.bench.cache_films import Film
from torch import Tensor

# The text before the picture is kept, too; a published backbone must be fine-tuned to that order.
TEXT_FIRST = "sd-vla-text-first"
NAMES = ("none", "interval", "vla-cache", "ttf", "lac", "dual-cache", "sd-vla", TEXT_FIRST)
TEXT, READOUT = 35, 1  # rows: OpenVLA's prompt on LIBERO, and its first action token


@dataclass(frozen=True)
class Spent:
    """What a step took and computed, by the stages of `caches/stages.py`."""

    stages_s: dict[str, float]
    macs: dict[str, int]
    fresh: float  # share of the visual rows computed, mean over the layers


class Stream(Protocol):
    """One cache at work on one film, and what its read-out is compared with."""

    def reset(self) -> None: ...
    def step(self, image: Image, errand: str) -> Tensor: ...  # the read-out
    def spent(self) -> Spent: ...  # of the last step
    def truth(self, image: Image) -> Tensor | None: ...  # None: what "none" has read out
    def held_bytes(self) -> int: ...  # kept from frame to frame


class OnTrunk:
    """On a backbone of `cache_backbones`; whatever the errand, its prompt is the same."""

    def __init__(self, session: Session, truth: Session | None = None) -> None:
        """`truth` None: "none" computes the same rows in the same order."""
        self.session, self._truth = session, truth
        self.held_bytes = session.held_bytes

    def reset(self) -> None:
        self.session.reset()
        if self._truth is not None:
            self._truth.reset()

    def step(self, image: Image, errand: str) -> Tensor:
        """[readout, width]"""
        reading = self.session.step(image)
        self._work = reading.work
        return reading.hidden

    def spent(self) -> Spent:
        macs = self.session.backbone.macs(self._work).stages()
        return Spent(self.session.stages.take(), macs, self._fresh(self._work))

    def truth(self, image: Image) -> Tensor | None:
        """The read-out of the same picture with everything computed anew."""
        return self._truth.step(image).hidden if self._truth is not None else None

    def _fresh(self, work: cost.Work) -> float:
        layout = self.session.layout
        asking = layout.readout + (0 if layout.text_first else layout.text)
        visual = np.mean(work.trunk) - asking
        return float(min(visual / len(layout.visual_rows), 1.0))


def streams(names: Sequence[str], backbone: Backbone, rehearsal: Film) -> dict[str, OnTrunk]:
    """All of them on the same weights; what has to be learnt is learnt from `rehearsal`.

    Raises:
        ConfigError: a name that is not in NAMES.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError(f"no cache {unknown[0]!r}; there are {', '.join(NAMES)}")
    made: dict[str, OnTrunk] = {}
    parts: cache_sdvla.Parts | None = None
    for name in names:
        if name in ("sd-vla", TEXT_FIRST):
            parts = parts or cache_sdvla.learn(backbone, rehearsal)
            made[name] = _sd_vla(parts, backbone, name == TEXT_FIRST)
        else:
            made[name] = _stream(name, backbone, rehearsal)
    return made


def _sd_vla(parts: cache_sdvla.Parts, backbone: Backbone, text_first: bool) -> OnTrunk:
    sessions = (
        Session(backbone, strategy.layout, strategy, prompt(backbone))
        for strategy in parts.strategies(TEXT, READOUT, text_first)
    )
    return OnTrunk(*sessions)


def _stream(name: str, backbone: Backbone, rehearsal: Film) -> OnTrunk:
    """One rule a camera, and all of them as one."""
    patches = backbone.vision.grid**2
    pictures = backbone.vision.patches // patches
    room = Room(1, 0, pictures, patches, TEXT + READOUT, READOUT)
    rule = _rule(name, backbone, rehearsal)
    rules = [rule(layout) for layout in room.camera_layouts()]
    strategy = Cameras(rules, room) if pictures > 1 else rules[0]
    return OnTrunk(Session(backbone, room.layout(), strategy, prompt(backbone)))


def prompt(backbone: Backbone, seed: int = 0) -> Prompt:
    """Random tokens: there is no tokeniser without a checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    vocab = backbone.trunk.config.vocab
    tokens = torch.randint(vocab, (1 + TEXT + READOUT,), generator=generator)
    rows = backbone.trunk.embed(tokens.to(backbone.device)).detach()
    return Prompt(*rows.split((1, TEXT, READOUT)))


def _rule(name: str, backbone: Backbone, rehearsal: Film) -> Callable[[Layout], Strategy]:
    vision, grid, depth = backbone.vision, backbone.vision.grid, backbone.trunk.config.depth
    match name:
        case "none":
            return Whole
        case "interval":
            return partial(Interval, every=cache_sdvla.INTERVAL_FRAMES)
        case "vla-cache":
            return lambda layout: VlaCache(layout, grid, depth)
        case "ttf":
            return lambda layout: Ttf(layout, grid, depth, channels(vision))
        case "lac":
            networks = cache_lac.trained(grid, rehearsal.pictures).to(backbone.device)
            return lambda layout: Lac(layout, networks, flow_method("dis"))
        case "dual-cache":
            return lambda layout: DualCache(layout, grid, depth, vision.norms)
    raise AssertionError(name)
