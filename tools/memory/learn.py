"""From recordings to weights: first to see a frame, then (`gate.py`) a change, then to remember.

Seeing (stem and dynamic tokens) is learned from single frames, by telling from a frame's tokens
where the cans and the tool are. Then every frame becomes a few tokens once and for all, and the
trunk learns what the oracle decided: first with statics refreshed at every hand-over, which is
when it is asked, then as they will be at work. (With the gate's old statics from the first step on,
the policy took a can off the burner a second late half of the time.)

A part of the questions is asked with the history cut to the newest frame, so that the same weights
are also the best memoryless policy of their kind: what differs between the two is memory alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from tandem.policies.memory.config import Refresh
from tandem.policies.memory.history import History
from tandem.policies.memory.model import MemoryModel, Question
from tandem.tools.memory.changes import WHERES
from tandem.tools.memory.gate import references
from tandem.tools.memory.record import Recording
from torch import Tensor, nn
from torch.nn import functional

Array = np.ndarray
_SEEN = 2 * WHERES + 1  # logits: which wheres hold a can, where the tool is, something in the hand


@dataclass(frozen=True)
class Budget:
    """How long to learn. The default takes minutes on one core."""

    seeing: int = 500  # steps
    remembering: int = 600
    settling: int = 600  # at half the rate, with statics refreshed as at work
    batch: int = 64
    rate: float = 2e-3
    cut: float = 0.3  # share of questions asked with the newest frame alone
    seed: int = 0

    @property
    def settled(self) -> "Budget":
        """Of the second stage of remembering."""
        return replace(self, remembering=self.settling, rate=self.rate / 2, seed=self.seed + 1)


def learn_to_see(
    model: MemoryModel, data: Recording, budget: Budget, advance: Callable[..., None]
) -> float:
    """Trains stem and dynamic tokens; returns the loss of the last tenth."""
    config = model.config
    probe = nn.Linear(config.dynamic * config.width, _SEEN)
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng([budget.seed, 1])
    parts = [*model.stem.parameters(), *model.dynamic.parameters(), *probe.parameters()]

    def loss() -> Tensor:
        rows = np.sort(rng.choice(len(data), budget.batch, replace=False))
        with torch.autocast("cpu", torch.bfloat16):
            tokens = model.dynamic(model.features(torch.from_numpy(data.images[rows])))
        return _seen_loss(probe(tokens.float().flatten(1)), data, rows)

    return _descend(parts, budget.rate, budget.seeing, loss, advance)


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
class Looked:
    """Every frame of a recording, seen once and for all."""

    features: Tensor  # [N, 64, width]
    tokens: Tensor  # [N, dynamic, width]


@torch.inference_mode()
def look(model: MemoryModel, data: Recording, advance: Callable[[int], None]) -> Looked:
    parts: list[tuple[Tensor, Tensor]] = []
    for images in np.split(data.images, range(256, len(data), 256)):
        features = model.features(torch.from_numpy(images))
        parts.append((features, model.dynamic(features)))
        advance(len(images))
    features, tokens = (torch.cat(each) for each in zip(*parts, strict=True))
    return Looked(features, tokens)


@dataclass
class Questions:
    """Every look of a recording, with what was to be remembered then.

    On the way the oracle's answer is asked for as well, though nobody would follow it: what is true
    at one moment of a long way back is true all along it.
    """

    looked: Looked
    frames: Tensor  # [Q, T] looks remembered, in order of time, the newest last; padded
    ages_s: Tensor  # [Q, T]
    held: Tensor  # [Q, T] bool
    references: Tensor  # [Q, levels] looks at which the statics were refreshed
    seconds: Tensor  # [Q]
    answer: Tensor  # [Q]
    free: Array  # [Q] bool: the answer counts

    def __len__(self) -> int:
        return len(self.answer)


def questions(
    model: MemoryModel, data: Recording, looked: Looked, refresh: Refresh | None = None
) -> Questions:
    """`refresh`: see `gate.references`."""
    frames, ages, held = _histories(data, model.config.history)
    return Questions(
        looked=looked,
        frames=torch.from_numpy(frames),
        ages_s=torch.from_numpy(ages),
        held=torch.from_numpy(held),
        references=torch.from_numpy(references(model, data, looked.features, refresh)),
        seconds=torch.from_numpy(data.seconds),
        answer=torch.from_numpy(data.answer),
        free=data.free,
    )


def _histories(data: Recording, history: History) -> tuple[Array, Array, Array]:
    """Looks, ages and what is held, [N, T] each, the newest last."""
    shape = (len(data), history.frames)
    frames, ages = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    held = np.zeros(shape, bool)
    for look in range(len(data)):
        if look == 0 or data.episode[look] != data.episode[look - 1]:
            first = look
        times = data.t_s[first : look + 1]
        chosen = np.array(history.select(times.tolist()))
        frames[look, -len(chosen) :] = first + chosen
        ages[look, -len(chosen) :] = times[-1] - times[chosen]
        held[look, -len(chosen) :] = True
    return frames, ages, held


def learn_to_remember(
    model: MemoryModel, given: Questions, budget: Budget, advance: Callable[..., None]
) -> float:
    """Trains statics, trunk and head; returns the loss of the last tenth."""
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng([budget.seed, 2])
    finished = ("stem", "dynamic", "gate")
    parts = [p for name, p in model.named_parameters() if not name.startswith(finished)]
    odds = np.where(given.free, 0.5 / given.free.mean(), 0.5 / (~given.free).mean()) / len(given)

    def loss() -> Tensor:
        rows = torch.from_numpy(rng.choice(len(given), budget.batch, p=odds))
        cut = torch.from_numpy(rng.random(budget.batch) < budget.cut)
        return functional.cross_entropy(answer(model, given, rows, cut), given.answer[rows])

    return _descend(parts, budget.rate, budget.remembering, loss, advance)


def answer(model: MemoryModel, given: Questions, rows: Tensor, cut: Tensor) -> Tensor:
    """Logits [B, answers] of some questions; where `cut` [B], from the newest frame alone."""
    held = given.held[rows].clone()
    held[cut, :-1] = False
    oldest = held.int().argmax(1)
    first = torch.zeros_like(held)
    if model.config.history.pinned:
        first[torch.arange(len(rows)), oldest] = ~cut
    needed = slice(int(oldest.min()), None)
    references = torch.where(cut[:, None], rows[:, None], given.references[rows])
    features = given.looked.features[references]
    if model.config.refresh == "blank":
        features = torch.zeros_like(features)
    return model(
        features.unbind(1),
        given.looked.tokens[given.frames[rows][:, needed]],
        Question(
            given.ages_s[rows][:, needed], first[:, needed], held[:, needed], given.seconds[rows]
        ),
    )


@torch.inference_mode()
def agreement(model: MemoryModel, given: Questions, cut: bool = False) -> float:
    """Share of the decisions that count in which the likeliest answer is the oracle's."""
    right, asked = 0, torch.from_numpy(np.flatnonzero(given.free))
    for rows in asked.split(256):
        logits = answer(model, given, rows, torch.full((len(rows),), cut))
        right += int((logits.argmax(1) == given.answer[rows]).sum())
    return right / max(1, len(asked))


def _descend(
    parts: list[nn.Parameter],
    rate: float,
    steps: int,
    loss: Callable[[], Tensor],
    advance: Callable[..., None],
) -> float:
    """Trains the parts, a fresh batch a step; returns the mean loss of the last tenth."""
    optimiser = torch.optim.AdamW(parts, lr=rate, weight_decay=0.01)
    rising = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps + 1, pct_start=min(0.5, rising / steps)
    )
    losses: list[float] = []
    for _ in range(steps):
        found = loss()
        optimiser.zero_grad(set_to_none=True)
        found.backward()
        nn.utils.clip_grad_norm_(parts, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(found.item())
        advance(1, note=f"loss {losses[-1]:.3f}")
    return float(np.mean(losses[-max(1, steps // 10) :]))
