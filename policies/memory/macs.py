"""Multiply-adds of the model that remembers, stage by stage, counted from shapes."""

from tandem.policies.memory.config import MemoryConfig
from tandem.policies.memory.model import AGE_INPUTS
from tandem.policies.s2 import macs


def look(config: MemoryConfig) -> int:
    """What every frame costs once: the stem and its dynamic tokens."""
    return macs.vision(config.seeing) + _mixer(config, config.dynamic)


def statics(config: MemoryConfig, top: int) -> int:
    """A refresh of level `top` and all below it."""
    return sum(
        _mixer(config, count) + _rows(config, count, sum(config.levels[: level + 1]))
        for level, count in enumerate(config.levels)
        if level >= top
    )


def frames(config: MemoryConfig, count: int) -> int:
    """Rows of so many frames in the trunk."""
    return _rows(config, count * config.dynamic, config.statics + config.dynamic)


def ask(config: MemoryConfig, count: int) -> int:
    """The question to the statics and so many frames."""
    age = config.depth * count * AGE_INPUTS * 2 * config.width
    seen = config.statics + count * config.dynamic + 2
    return age + _rows(config, 2, seen) + config.width * config.answers


def _mixer(config: MemoryConfig, count: int) -> int:
    squeezed = config.seeing.patches * config.squeeze
    return squeezed * config.width * (1 + count)


def _rows(config: MemoryConfig, rows: int, seen: int) -> int:
    """Rows through all layers, each attending to `seen` rows: attention, and an MLP four times as
    wide."""
    return config.depth * rows * config.width * (12 * config.width + 2 * seen)
