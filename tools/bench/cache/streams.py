"""The caches of the table, by name, each ready to look at pictures."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from tandem.policies.caches import cost
from tandem.policies.caches.dual_cache import DualCache
from tandem.policies.caches.flow import dis
from tandem.policies.caches.lac import Lac
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.session import Backbone, Session
from tandem.policies.caches.strategy import Image, Strategy
from tandem.policies.caches.ttf import Ttf, channels
from tandem.policies.caches.vla_cache import VlaCache
from tandem.policies.caches.whole import Interval, Whole
from tandem.policies.vla.places import Room
from tandem.policies.vla.rules import Cameras, Placed
from tandem.policies.vla.words import Words
from tandem.runtime.errors import ConfigError
from tandem.tools.bench.cache import lac, sdvla
from tandem.tools.bench.cache.backbones import Asked
from tandem.tools.bench.cache.films import Film
from tandem.tools.bench.cache.samples import Spent
from torch import Tensor

# The text before the picture is kept, too; a published backbone must be fine-tuned to that order.
TEXT_FIRST = "sd-vla-text-first"
NAMES = ("none", "interval", "vla-cache", "ttf", "lac", "dual-cache", "sd-vla", TEXT_FIRST)


class Stream(Protocol):
    """One cache at work on one film, and what its read-out is compared with."""

    def reset(self) -> None: ...
    def step(self, image: Image, errand: str) -> Tensor: ...  # the read-out
    def spent(self) -> Spent: ...  # of the last step
    def truth(self, image: Image) -> Tensor | None: ...  # None: what "none" has read out
    def held_bytes(self) -> int: ...  # kept from frame to frame


class OnTrunk:
    """On a backbone of `backbones`; whatever the errand, its prompt is the same."""

    def __init__(self, session: Session, truth: Session | None = None) -> None:
        """`truth` None: "none" computes the same rows in the same order."""
        self.session, self._truth = session, truth

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

    def held_bytes(self) -> int:
        return self.session.held_bytes()

    def truth(self, image: Image) -> Tensor | None:
        """The read-out of the same picture with everything computed anew."""
        return self._truth.step(image).hidden if self._truth is not None else None

    def _fresh(self, work: cost.Work) -> float:
        layout = self.session.layout
        visual = np.mean(work.trunk) - sum(map(len, layout.tail))
        return float(min(visual / len(layout.visual_rows), 1.0))


def streams(
    names: Sequence[str], backbone: Backbone, rehearsal: Film, asked: Asked
) -> dict[str, OnTrunk]:
    """All of them on the same weights; what has to be learnt is learnt from `rehearsal`.

    Raises:
        ConfigError: a name that is not in NAMES.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError(f"no cache {unknown[0]!r}; there are {', '.join(NAMES)}")
    made: dict[str, OnTrunk] = {}
    parts: sdvla.Parts | None = None
    for name in names:
        if name in ("sd-vla", TEXT_FIRST):
            parts = parts or sdvla.learn(backbone, rehearsal)
            made[name] = _sd_vla(parts, backbone, asked, name == TEXT_FIRST)
        else:
            made[name] = _stream(name, backbone, asked, rehearsal)
    return made


def _sd_vla(parts: sdvla.Parts, backbone: Backbone, asked: Asked, text_first: bool) -> OnTrunk:
    """Its read-out tokens are its own: nothing follows them. BOS sees nothing but itself."""
    own = replace(asked, unread=0, bidirectional=False)
    prompt = _room(backbone, own).prompt(_words(backbone, own), backbone.trunk)
    strategies = parts.strategies(own.text, own.readouts, text_first, asked.bidirectional)
    return OnTrunk(*(Session(backbone, one.layout, one, prompt) for one in strategies))


def _stream(name: str, backbone: Backbone, asked: Asked, rehearsal: Film) -> OnTrunk:
    """One rule a camera, and all of them as one."""
    room, words = _room(backbone, asked), _words(backbone, asked)
    rule = _rule(name, backbone, asked, rehearsal)
    rules = [rule(layout) for layout in room.camera_layouts()]
    strategy: Strategy = Cameras(rules, room) if room.pictures > 1 else rules[0]
    if asked.bidirectional:
        strategy = Placed(strategy, room)
        strategy.ask(words)
    return OnTrunk(Session(backbone, room.layout(), strategy, room.prompt(words, backbone.trunk)))


def _room(backbone: Backbone, asked: Asked) -> Room:
    patches = backbone.vision.grid**2
    return Room(
        head=1,
        gap=0,
        pictures=backbone.vision.patches // patches,
        patches=patches,
        text=asked.text + asked.readouts + asked.unread,
        readouts=asked.readouts,
        unread=asked.unread,
        bidirectional=asked.bidirectional,
    )


def _words(backbone: Backbone, asked: Asked) -> Words:
    """Random tokens: there is no tokeniser without a checkpoint."""
    generator = torch.Generator().manual_seed(0)
    count = 1 + asked.text + asked.readouts + asked.unread
    tokens = torch.randint(backbone.trunk.config.vocab, (count,), generator=generator).tolist()
    return Words(tokens[:1], [], tokens[1:])


def _rule(
    name: str, backbone: Backbone, asked: Asked, rehearsal: Film
) -> Callable[[Layout], Strategy]:
    vision, grid, depth = backbone.vision, backbone.vision.grid, backbone.trunk.config.depth
    match name:
        case "none":
            return Whole
        case "interval":
            return partial(Interval, every=sdvla.INTERVAL_FRAMES)
        case "vla-cache":
            return lambda layout: VlaCache(layout, grid, depth, asked.vla_cache)
        case "ttf":
            return lambda layout: Ttf(layout, grid, depth, channels(vision))
        case "lac":
            networks = lac.trained(grid, rehearsal.pictures).to(backbone.device)
            return lambda layout: Lac(layout, networks, dis())
        case "dual-cache":
            return lambda layout: DualCache(layout, grid, depth, vision.norms)
    raise AssertionError(name)
