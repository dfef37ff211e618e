"""All frames between two refreshes at once: their static rows are the same and run only once.

The same numbers as `engine.py` gives frame by frame, for recordings.
"""

import torch
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.trunk import Block, attend, attention_bias
from torch import Tensor
from torch.nn import functional


def latents(
    model: S2Model, first: Tensor, second: Tensor, frames: Tensor, before: int, text: Tensor
) -> Tensor:
    """Normalised latents [N, K, D] of frames that share their references.

    Args:
        first, second: features [64, width] at the refresh of L1 and of L2.
        frames: features [before + N, 64, width] in order of time; the first `before` only serve as
            the past of the others.
        text: tokens [12].
    """
    config, tokens = model.config, model.tokens
    static = torch.cat([tokens.l1(first[None]), tokens.l2(second[None])], 1)
    dynamic, _ = tokens.frame(frames, second.expand_as(frames))
    newest = torch.arange(before, len(frames))
    asked = tokens.question(text[None]).expand(len(newest), -1, -1)
    window = newest[:, None] - torch.arange(config.frames)
    whole = attention_bias(config, range(config.frames))
    static_bias = whole[:, : config.statics, : config.statics]
    asked_bias = _without_missing(whole[:, -config.question :], window < 0, config)
    for module in model.trunk.blocks:
        assert isinstance(module, Block)
        query, key, value = module.split(static)
        static = module.join(static, attend(query, key, value, static_bias))
        own = module.split(dynamic)
        dynamic = module.join(dynamic, attend(own[0], *_joined((key, value), own[1:])))
        past = [_windows(t, window.clamp(min=0)) for t in own[1:]]
        ask = module.split(asked)
        seen = _joined((key, value), past, ask[1:])
        asked = module.join(asked, attend(ask[0], *seen, asked_bias))
    rows = [model.trunk.norm(x) for x in (static, dynamic, asked)]
    return _read(model, *rows, newest)


def _read(model: S2Model, static: Tensor, dynamic: Tensor, asked: Tensor, newest: Tensor) -> Tensor:
    config, readout = model.config, model.readout
    prepared = readout.pointer.candidates(static[:, config.registers :])
    moving = readout.pointer.candidates(dynamic[newest])
    keys, values = (
        torch.cat([a.expand(len(newest), -1, -1), b], 1)
        for a, b in zip(prepared, moving, strict=True)
    )
    readouts = asked[:, None, -config.readouts :]
    _, pointed = readout.pointer.point(readouts[:, :, 0], keys, values)
    return readout.normalised(readout.raw(readouts, pointed))[:, 0]


def _joined(*parts: tuple[Tensor, ...] | list[Tensor]) -> tuple[Tensor, Tensor]:
    """Keys and values of several groups of rows side by side; a batch of one serves all."""
    batch = max(len(key) for key, _ in parts)
    keys, values = zip(*parts, strict=True)
    return tuple(  # type: ignore[return-value]
        torch.cat([t.expand(batch, -1, -1, -1) for t in group], 2) for group in (keys, values)
    )


def _windows(rows: Tensor, window: Tensor) -> Tensor:
    """[F, heads, 16, d] of frames to [N, heads, 4·16, d] of windows [N, 4] of frames."""
    return rows[window].transpose(1, 2).flatten(2, 3)


def _without_missing(bias: Tensor, missing: Tensor, config: S2Config) -> Tensor:
    """Hides the frames before the beginning: bias [N, heads, 14, rows], missing [N, 4]."""
    columns = missing.repeat_interleave(config.changed, 1)
    columns = functional.pad(columns, (config.statics, config.question))
    return bias.masked_fill(columns[:, None, None], float("-inf"))
