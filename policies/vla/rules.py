"""The caches of a configuration, by name, for any number of cameras."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tandem.policies.caches.dual_cache import DualCache
from tandem.policies.caches.lac_networks import load
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.strategy import Attention, Image, Plan, Strategy
from tandem.policies.caches.ttf import Ttf, channels
from tandem.policies.caches.vla_cache import VlaCache
from tandem.policies.caches.whole import Interval, Whole
from tandem.policies.vla.eyes import Seeing
from tandem.policies.vla.families import Family
from tandem.policies.vla.options import Options
from tandem.policies.vla.places import Room
from tandem.policies.vla.words import Words
from torch import Tensor


def rule(options: Options, family: Family, backbone: Seeing, room: Room) -> Strategy:
    """A fresh rule for each camera, as one; the strategy is one of RULES.

    Raises:
        WeightsError: LAC's networks cannot be used.
    """
    each = [_rule(options, family, backbone, layout) for layout in room.camera_layouts()]
    return Cameras(each, room)


def _rule(options: Options, family: Family, backbone: Seeing, layout: Layout) -> Strategy:
    vision, depth = backbone.vision, backbone.trunk.config.depth
    match options.strategy:
        case "none":
            return Whole(layout)
        case "fixed_interval":
            return Interval(layout, options.max_age_frames)
        case "vla_cache":
            return VlaCache(layout, vision.grid, depth, family.vla_cache)
        case "ttf":
            return Ttf(layout, vision.grid, depth, channels(vision))
        case "lac":
            # They bring OpenCV, which no other rule needs.
            from tandem.policies.caches.flow import dis
            from tandem.policies.caches.lac import Lac

            networks = load(Path(options.lac_weights).expanduser(), vision.grid)
            return Lac(layout, networks.to(backbone.device), dis())
        case "dual_cache":
            return DualCache(layout, vision.grid, depth, vision.norms)
    raise AssertionError(options.strategy)


class Cameras:
    """One rule a camera; together they plan the rows of all pictures.

    image [cameras, S, S, 3]; features of the cameras one below the other.
    """

    def __init__(self, rules: Sequence[Strategy], room: Room) -> None:
        self._rules, self._patches = rules, room.patches

    def reset(self) -> None:
        for one in self._rules:
            one.reset()

    def patches(self, image: Image) -> Tensor | None:
        wanted = [one.patches(picture) for one, picture in zip(self._rules, image, strict=True)]
        if all(part is None for part in wanted):
            return None
        everything = torch.ones(self._patches, dtype=torch.bool)
        return torch.cat([everything if part is None else part for part in wanted])

    def plan(self, image: Image, features: Tensor) -> Plan:
        each = zip(self._rules, image, features.split(self._patches), strict=True)
        plans = [one.plan(picture, part) for one, picture, part in each]
        layers = sorted({layer for plan in plans for layer in plan.leave})
        return Plan(
            torch.cat([plan.rows for plan in plans]),
            torch.cat([plan.features for plan in plans]),
            leave={layer: _gone(plans, layer) for layer in layers},
            watch=plans[0].watch,  # rules of one kind ask for the same
            macs=sum(plan.macs for plan in plans),
        )

    def learn(self, attention: Attention) -> None:
        for one in self._rules:
            one.learn(attention)


def _gone(plans: Sequence[Plan], layer: int) -> Tensor:
    return torch.cat([plan.leave[layer] for plan in plans if layer in plan.leave])


class Placed:
    """Rows stand, and see, as in the prompt. Call `ask` first."""

    def __init__(self, inner: Strategy, room: Room) -> None:
        self._inner, self._room = inner, room

    def ask(self, words: Words) -> None:
        """Another instruction: pictures stay where they are."""
        self._positions, self._seen = self._room.positions(words), self._room.seen(words)

    def reset(self) -> None:
        self._inner.reset()

    def patches(self, image: Image) -> Tensor | None:
        return self._inner.patches(image)

    def plan(self, image: Image, features: Tensor) -> Plan:
        plan = self._inner.plan(image, features)
        return replace(plan, positions=self._positions, seen=self._seen)

    def learn(self, attention: Attention) -> None:
        self._inner.learn(attention)
