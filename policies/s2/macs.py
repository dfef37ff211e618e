"""Multiply-adds of a step, counted from shapes: what the cache saves, whatever the load."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.gate import Gate
from tandem.policies.s2.readout import HIDDEN
from tandem.policies.s2.trunk import MLP


@dataclass(frozen=True)
class Macs:
    """Per stage of one step."""

    vision: int
    gate: int
    static: int
    trunk: int
    readout: int

    @property
    def total(self) -> int:
        return self.vision + self.gate + self.static + self.trunk + self.readout


def step(config: S2Config, top: int | None, frames: int, gated: bool = True) -> Macs:
    """A step that refreshes from level `top` (None: nothing) while `frames` frames are held."""
    width, patches = config.width, config.patches
    static, trunk = 0, 0
    fetched = config.changed
    dynamic_frames = 1 if top is None else frames
    seen = config.statics + config.changed
    trunk += _rows(config, config.changed * dynamic_frames, seen)
    trunk += dynamic_frames * config.changed * 2 * width * width
    trunk += _rows(config, config.question, seen + config.dynamics + config.question)
    if top is not None:
        fetched += patches
        trunk += _rows(config, patches, config.statics)
        static += _block(width, patches, patches, config.static_mlp)
    if top == 0:
        trunk += _rows(config, config.registers, config.registers)
        static += _cross(width, config.registers, patches, config.static_mlp)
    gate = gate_macs(config, refreshes=top is not None) if gated else 0
    return Macs(vision(config), gate, static, trunk, _readout(config, fetched))


def patchwise(
    config: S2Config, planned: int, anew: Sequence[int], frames: int, watched: int, decided: int
) -> Macs:
    """A step in which only some patch rows run; registers, frames and question all do.

    `planned` patches are embedded and `anew[l]` of them run in layer l; of `watched` queries, over
    all layers, the attention is looked at; `decided` went into the networks of the rule itself.
    """
    width, patches = config.width, config.patches
    whole = step(config, 0, frames, gated=False)
    kept = _rows(config, patches, config.statics)
    kept -= sum(_block(width, rows, config.statics, MLP) for rows in anew)
    spared = patches - planned  # their keys and values are still needed by their neighbours
    static = whole.static - _block(width, spared, patches, config.static_mlp)
    static += spared * 3 * width * width
    gate = decided + watched * config.rows * width
    read = _readout(config, config.changed + anew[-1])
    return Macs(whole.vision, gate, static, whole.trunk - kept, read)


def vision(config: S2Config) -> int:
    """The stem, on every frame."""
    total, side = 0, config.image
    channels = (3, *config.stem, config.width)
    for i, (before, after) in enumerate(pairwise(channels)):
        side //= 2
        total += side * side * before * after * (25 if i == 0 else 9)
    return total


@lru_cache
def gate_macs(config: S2Config, refreshes: bool) -> int:
    """Both levels: the current frame's share once, the mixer against each reference.

    A frame that refreshes is the next reference: its share as that comes on top.
    """
    with torch.device("meta"):
        gate = Gate(config)
    return gate.macs(gate.levels, before=refreshes)


def _rows(config: S2Config, rows: int, seen: int) -> int:
    """`rows` rows through the trunk, each attending to `seen` rows."""
    return config.depth * _block(config.width, rows, seen, MLP)


def _block(width: int, rows: int, seen: int, mlp: int) -> int:
    return rows * width * ((4 + 2 * mlp) * width + 2 * seen)


def _cross(width: int, rows: int, seen: int, mlp: int) -> int:
    """A cross block: keys and values of `seen` context rows besides the queries."""
    # The queries' own unused keys and values run too: one matrix makes all three.
    context = seen * 3 * width * width
    return _block(width, rows, seen, mlp) + context


def _readout(config: S2Config, candidates: int) -> int:
    width, size = config.width, config.latent_tokens * config.latent_width
    fetch = candidates * width * (config.pointer + config.pointed)
    choose = (config.patches + config.changed) * (config.pointer + config.pointed)
    pointed = 3 + config.pointed
    hidden = (config.readouts * width + pointed) * HIDDEN
    ask = width * (config.pointer + config.kinds)
    return fetch + ask + choose + hidden + (HIDDEN + pointed) * size
