"""Training pairs from recorded episodes: a moment, its last frames, and an older frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tandem.policies.caches.sdvla.recipe import Pairs
from tandem.runtime.errors import ConfigError
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Episode:
    """One recording, as the vision tower saw it."""

    features: Tensor  # [T, N, D]
    time_s: Tensor  # [T] float64, from the beginning of the episode
    text: Tensor  # [text] token numbers
    target: Tensor  # [T, …] what the task asks for in each frame


@dataclass(frozen=True)
class Draw:
    """How pairs are drawn. The age of the older frame is uniform in 0 … longest_gap (SD-VLA §3.4).

    For the share `eventful` of the pairs two older frames are drawn and the one that differs more
    is taken: most of what is recorded stands still, and a trunk that never sees its static tokens
    contradicted learns to ignore the dynamic ones.
    """

    batch: int = 32
    frames: int = 1  # of dynamic history
    longest_gap: int = 40
    eventful: float = 0.5

    def __post_init__(self) -> None:
        if min(self.batch, self.frames, self.longest_gap) < 1 or not 0 <= self.eventful <= 1:
            raise ConfigError(f"{self}: counts are at least 1, eventful is a share")


def pairs(episodes: Sequence[Episode], draw: Draw, seed: int = 0) -> Iterator[Pairs]:
    """Batches for ever. Raises ConfigError if every episode is shorter than the history."""
    usable = [i for i, e in enumerate(episodes) if len(e.features) >= draw.frames]
    if not usable:
        raise ConfigError(f"no episode has the {draw.frames} frames that a history takes")
    random = torch.Generator().manual_seed(seed)
    while True:
        which = [usable[i] for i in _below(len(usable), draw.batch, random)]
        yield _batch([episodes[i] for i in which], which, draw, random)


def _batch(
    chosen: Sequence[Episode], which: Sequence[int], draw: Draw, random: torch.Generator
) -> Pairs:
    windows, then, now, gaps = [], [], [], []
    for i, episode in enumerate(chosen):
        first = draw.frames - 1
        moment = first + _below(len(episode.features) - first, 1, random)[0]
        eventful = i < draw.eventful * draw.batch
        gap = _gap(episode.features, moment, draw.longest_gap, 2 if eventful else 1, random)
        windows.append(torch.arange(moment - first, moment + 1))
        then.append(episode.features[moment - gap])
        now.append(moment)
        gaps.append(gap)
    return Pairs(
        then=torch.stack(then),
        window=torch.stack([e.features[w] for e, w in zip(chosen, windows, strict=True)]),
        time_s=torch.stack([e.time_s[w] for e, w in zip(chosen, windows, strict=True)]),
        gap_frames=torch.tensor(gaps),
        episode=torch.tensor(which),
        text=torch.stack([e.text for e in chosen]),
        target=torch.stack([e.target[moment] for e, moment in zip(chosen, now, strict=True)]),
    )


def _gap(features: Tensor, moment: int, longest: int, tries: int, random: torch.Generator) -> int:
    """Age in frames of the older frame: of so many tries the one that differs most."""
    ages = _below(min(moment, longest) + 1, tries, random)
    if tries == 1:
        return ages[0]
    frames = features[[moment, *(moment - age for age in ages)]]
    normed = functional.layer_norm(frames, frames.shape[-1:])
    apart = (normed[1:] - normed[0]).square().mean((1, 2))
    return ages[int(apart.argmax())]


def _below(limit: int, count: int, random: torch.Generator) -> list[int]:
    drawn: list[int] = torch.randint(limit, (count,), generator=random).tolist()
    return drawn
