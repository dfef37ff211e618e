"""From recordings to weights, in two stages: first to see a frame, then to remember.

Seeing (stem and dynamic tokens) is learned from single frames, by telling from a frame's tokens
where the cans and the tool are; that label alone is the simulator's truth. Then every frame becomes
four tokens once and for all, and the trunk learns what the oracle decided.

A part of the questions is asked with the history cut to the newest frame, so that the same weights
are also the best memoryless policy of their kind: what differs between the two is memory alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tandem.policies.memory import history
from tandem.policies.memory.model import MemoryModel
from tandem.tools.memory.record import WHERES, Recording
from torch import Tensor, nn
from torch.nn import functional

Array = np.ndarray
_SEEN = 2 * WHERES + 1  # logits: which wheres hold a can, where the tool is, something in the hand


@dataclass(frozen=True)
class Budget:
    """How long to learn. The default takes minutes on one core."""

    seeing: int = 500  # steps
    remembering: int = 600
    batch: int = 64
    rate: float = 2e-3
    cut: float = 0.3  # share of questions asked with the newest frame alone
    seed: int = 0


def learn_to_see(
    model: MemoryModel, data: Recording, budget: Budget, advance: Callable[..., None]
) -> float:
    """Trains stem and dynamic tokens; returns the loss of the last tenth."""
    config = model.config
    probe = nn.Linear(config.dynamic * config.width, _SEEN)
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng([budget.seed, 1])
    parts = [*model.stem.parameters(), *model.dynamic.parameters(), *probe.parameters()]
    optimiser, schedule = _optimiser(parts, budget, budget.seeing)
    losses: list[float] = []
    for _ in range(budget.seeing):
        rows = np.sort(rng.choice(len(data), budget.batch, replace=False))
        with torch.autocast("cpu", torch.bfloat16):
            tokens = model.dynamic(model.features(torch.from_numpy(data.images[rows])))
        loss = _seen_loss(probe(tokens.float().flatten(1)), data, rows)
        _descend(loss, optimiser, schedule)
        losses.append(loss.item())
        advance(1, note=f"loss {losses[-1]:.3f}")
    return float(np.mean(losses[-max(1, budget.seeing // 10) :]))


def _seen_loss(logits: Tensor, data: Recording, rows: Array) -> Tensor:
    cans = torch.zeros(len(rows), WHERES)
    cans.scatter_(1, torch.from_numpy(data.cans[rows]), 1.0)
    tool = torch.from_numpy(data.tool[rows])
    holding = torch.from_numpy(data.holding[rows]).float()
    return (
        functional.binary_cross_entropy_with_logits(logits[:, :WHERES], cans)
        + 0.3 * functional.cross_entropy(logits[:, WHERES:-1], tool)
        + 0.3 * functional.binary_cross_entropy_with_logits(logits[:, -1], holding)
    )


@dataclass
class Questions:
    """Every tick of a recording, with what was to be remembered then: rows of its frames.

    On the way the oracle's answer is asked for as well, though nobody would follow it: what is true
    at one moment of a long way back is true all along it.
    """

    tokens: Tensor  # [N, dynamic, width] of all frames
    features: Tensor  # [R, 64, width] of the frames that were references
    frames: Tensor  # [Q, FRAMES] rows of `tokens`, in order of time, the newest last; padded
    ages_s: Tensor  # [Q, FRAMES]
    held: Tensor  # [Q, FRAMES] bool
    reference: Tensor  # [Q] rows of `features`
    seconds: Tensor  # [Q]
    answer: Tensor  # [Q]
    free: Array  # [Q] bool: the answer counts

    def __len__(self) -> int:
        return len(self.answer)


@torch.inference_mode()
def questions(model: MemoryModel, data: Recording, advance: Callable[[int], None]) -> Questions:
    """Looks at every frame once."""
    tokens = torch.empty(len(data), model.config.dynamic, model.config.width)
    references = _references(data)
    refreshed, row_of = np.unique(references, return_inverse=True)
    features: list[Tensor] = []
    for start in range(0, len(data), 256):
        rows = np.arange(start, min(start + 256, len(data)))
        seen = model.features(torch.from_numpy(data.images[rows]))
        tokens[rows] = model.dynamic(seen)
        features.append(seen[np.isin(rows, refreshed)])
        advance(len(rows))
    frames, ages, held = _histories(data)
    return Questions(
        tokens=tokens,
        features=torch.cat(features),
        frames=torch.from_numpy(frames),
        ages_s=torch.from_numpy(ages),
        held=torch.from_numpy(held),
        reference=torch.from_numpy(row_of),
        seconds=torch.from_numpy(data.seconds),
        answer=torch.from_numpy(data.answer),
        free=data.free,
    )


def _references(data: Recording) -> Array:
    """[N] of each tick, the tick at which the statics were last refreshed: System 1 came free."""
    new = np.r_[True, data.episode[1:] != data.episode[:-1]]
    came_free = data.free & ~np.r_[False, data.free[:-1]]
    ticks = np.arange(len(data))
    return np.maximum.accumulate(np.where(new | came_free, ticks, 0))


def _histories(data: Recording) -> tuple[Array, Array, Array]:
    """Frames, ages and what is held, [N, FRAMES] each, the newest last."""
    shape = (len(data), history.FRAMES)
    frames, ages = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    held = np.zeros(shape, bool)
    for tick in range(len(data)):
        if tick == 0 or data.episode[tick] != data.episode[tick - 1]:
            first = tick
        times = data.t_s[first : tick + 1]
        chosen = np.array(history.select(times.tolist()))
        frames[tick, -len(chosen) :] = first + chosen
        ages[tick, -len(chosen) :] = times[-1] - times[chosen]
        held[tick, -len(chosen) :] = True
    return frames, ages, held


def learn_to_remember(
    model: MemoryModel, given: Questions, budget: Budget, advance: Callable[..., None]
) -> float:
    """Trains everything behind the stem but the dynamic tokens; returns the last tenth's loss."""
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng([budget.seed, 2])
    parts = [p for name, p in model.named_parameters() if not name.startswith(("stem", "dynamic"))]
    optimiser, schedule = _optimiser(parts, budget, budget.remembering)
    odds = np.where(given.free, 0.5 / given.free.mean(), 0.5 / (~given.free).mean()) / len(given)
    losses: list[float] = []
    for _ in range(budget.remembering):
        rows = torch.from_numpy(rng.choice(len(given), budget.batch, p=odds))
        cut = torch.from_numpy(rng.random(budget.batch) < budget.cut)
        loss = functional.cross_entropy(answer(model, given, rows, cut), given.answer[rows])
        _descend(loss, optimiser, schedule)
        losses.append(loss.item())
        advance(1, note=f"loss {losses[-1]:.3f}")
    return float(np.mean(losses[-max(1, budget.remembering // 10) :]))


def answer(model: MemoryModel, given: Questions, rows: Tensor, cut: Tensor) -> Tensor:
    """Logits [B, answers] of some questions; where `cut` [B], from the newest frame alone."""
    held = given.held[rows].clone()
    held[cut, :-1] = False
    first = torch.zeros_like(held)
    oldest = held.int().argmax(1)
    first[torch.arange(len(rows)), oldest] = ~cut
    needed = slice(int(oldest.min()), None)
    return model(
        given.features[given.reference[rows]],
        given.tokens[given.frames[rows][:, needed]],
        given.ages_s[rows][:, needed],
        first[:, needed],
        held[:, needed],
        given.seconds[rows],
    )


@torch.inference_mode()
def agreement(model: MemoryModel, given: Questions, cut: bool = False) -> float:
    """Share of the decisions that count in which the likeliest answer is the oracle's."""
    right, asked = 0, torch.from_numpy(np.flatnonzero(given.free))
    for rows in asked.split(256):
        logits = answer(model, given, rows, torch.full((len(rows),), cut))
        right += int((logits.argmax(1) == given.answer[rows]).sum())
    return right / max(1, len(asked))


def _optimiser(
    parts: list[nn.Parameter], budget: Budget, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(parts, lr=budget.rate, weight_decay=0.01)
    rising = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, budget.rate, total_steps=steps + 1, pct_start=min(0.5, rising / steps)
    )
    return optimiser, schedule


def _descend(
    loss: Tensor,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
    optimiser.step()
    schedule.step()
