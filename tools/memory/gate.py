"""Teaching the recache gate of the model that remembers, on features that are finished.

Half of the pairs are two looks of one episode, as at work; in the others the light may differ, as
it never does within an episode.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tandem.policies.caches.sdvla.calibrate import Shares, replay
from tandem.policies.memory.config import INTERVAL_LOOKS, Refresh
from tandem.policies.memory.model import MemoryModel
from tandem.policies.memory.policy import recache
from tandem.tools.memory.changes import moved, standing
from tandem.tools.memory.record import Recording
from tandem.tools.train.gate_eval import Score
from torch import Tensor
from torch.nn import functional

Array = np.ndarray
_LIGHT, _LIGHT_UNSURE = 0.10, 0.03  # relative brightness, as for the gate of the pick task


@dataclass(frozen=True)
class GateBudget:
    """Takes a fraction of a minute on one core."""

    steps: int = 800
    pairs: int = 128
    rate: float = 2e-3


def learn_to_gate(
    model: MemoryModel,
    data: Recording,
    features: Tensor,
    budget: GateBudget,
    seed: int,
    advance: Callable[..., None],
) -> float:
    """Trains `model.gate` on features [N, 64, width]; returns the loss of the last tenth."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 3])
    optimiser = torch.optim.AdamW(model.gate.parameters(), budget.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, budget.rate, total_steps=budget.steps + 1, pct_start=0.1
    )
    losses: list[float] = []
    for _ in range(budget.steps):
        then, now = pairs(data, budget.pairs, rng)
        label, weight = labels(data, then, now)
        logits = model.gate(features[torch.from_numpy(now)], features[torch.from_numpy(then)])
        each = functional.binary_cross_entropy_with_logits(
            logits, torch.from_numpy(label), torch.from_numpy(weight), reduction="none"
        )
        loss = each.mean(0).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        advance(1, note=f"loss {losses[-1]:.3f}")
    return float(np.mean(losses[-max(1, budget.steps // 10) :]))


def pairs(data: Recording, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Looks [count] then and now: half of one episode in order of time, half any two."""
    now = rng.integers(len(data), size=count)
    first = np.searchsorted(data.episode, data.episode[now])  # episodes come in order
    earlier = rng.integers(first, now + 1)
    return np.where(rng.random(count) < 0.5, earlier, rng.integers(len(data), size=count)), now


def labels(data: Recording, then: Array, now: Array) -> tuple[Array, Array]:
    """Labels and weights [B, 2] of looks `now` [B] against looks `then` [B]: L1 light, L2 cans too.

    Cans of two episodes on the same place stand up to 2 cm apart: that is neither.
    """
    stood = standing(data.cans)
    changed, sure = moved(stood[then], stood[now], data.holding[now])
    sure &= changed | (data.episode[then] == data.episode[now])
    brighter = np.abs(data.light[now] / data.light[then] - 1)
    lit = brighter > _LIGHT
    certain = lit | (brighter < _LIGHT_UNSURE)
    label = np.stack([lit, lit | changed], 1)
    weight = np.stack([certain, certain & (lit | sure)], 1)
    return label.astype(np.float32), weight.astype(np.float32)


@torch.inference_mode()
def judged(model: MemoryModel, data: Recording, features: Tensor, count: int) -> list[Score]:
    """Precision and recall of each level on so many pairs."""
    then, now = pairs(data, count, np.random.default_rng(0))
    truth, weight = labels(data, then, now)
    logits = [
        model.gate(features[torch.from_numpy(j)], features[torch.from_numpy(i)])
        for i, j in zip(np.array_split(then, 16), np.array_split(now, 16), strict=True)
    ]
    fires = (torch.cat(logits) > 0).numpy()
    fires[:, 1] |= fires[:, 0]
    label, clear = truth > 0, weight > 0
    hits = (fires & label & clear).sum(0)
    fired, changed = ((those & clear).sum(0) for those in (fires, label))
    return [
        Score(hit / max(made, 1), hit / max(there, 1), there)
        for hit, made, there in zip(*(n.tolist() for n in (hits, fired, changed)), strict=True)
    ]


def references(
    model: MemoryModel, data: Recording, features: Tensor, refresh: Refresh | None = None
) -> Array:
    """[N, levels] of each look, the look at which each static level was last refreshed.

    `refresh` None: by whom the model has it at work.
    """
    refresh = refresh or model.config.refresh
    new = np.r_[True, data.episode[1:] != data.episode[:-1]]
    refreshed = np.repeat(new[:, None], len(model.levels), 1)
    if refresh == "gate":
        episodes = np.split(np.arange(len(data)), np.flatnonzero(new)[1:])
        refreshed = np.concatenate([_gated(model, features[rows]) for rows in episodes])
    elif refresh == "interval":
        begin = np.maximum.accumulate(np.where(new, np.arange(len(data)), 0))
        refreshed[(np.arange(len(data)) - begin) % INTERVAL_LOOKS == 0, 1:] = True
    elif refresh == "hand-over":
        refreshed |= (data.free & ~np.r_[False, data.free[:-1]])[:, None]
    looks = np.arange(len(data))[:, None]
    return np.maximum.accumulate(np.where(refreshed, looks, 0))


def _gated(model: MemoryModel, features: Tensor) -> Array:
    """[T, levels] when the gate refreshes, on the features of one episode."""
    found = replay(model.gate, Shares.of(model.gate, features), recache(model.config))
    return found.refreshed.numpy()
