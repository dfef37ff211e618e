"""Training the recache gate on the finished features of System 2: `train(model, frames, …)`.

Labels from the simulator teach it what a change is; the published loss alone (task through
Gumbel-softmax and the age prior) hardly reacts. The age prior stays as a regulariser, the published
task loss and regret labels (does staleness move the answer?) can be chosen instead, to compare.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tandem.policies.s2 import text
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.readout import position_m, position_units
from tandem.tools.train.gate_data import Changes, DemoFrames, Frames, changes
from torch import Tensor
from torch.nn import functional

TERMS = ("events", "prior", "task", "regret")
_REGRET_M = 0.012  # staleness that moves the answer by more is a regret
_REGRET_L1 = 0.7  # cosine of L1's embedding below which the light counts as changed


@dataclass(frozen=True)
class GateBudget:
    iterations: int = 6000
    clips: int = 96  # pairs an iteration
    demos: int = 96
    learning_rate: float = 1.5e-3
    seed: int = 0
    threads: int = 2
    terms: tuple[str, ...] = ("events", "prior")
    prior_weight: float = 0.1
    half_age_frames: tuple[float, float] = (100.0, 20.0)  # D* per level: age at which prior is ½
    longest_gap: int = 40


@dataclass
class Pairs:
    """B pairs of frames."""

    then: Tensor  # [B, 64, width]
    now: Tensor
    changes: Changes
    age_frames: np.ndarray  # [B], NaN where time has no meaning
    cubes: np.ndarray  # [B, 6, 3] now


def train(
    model: S2Model,
    clips: Frames,
    demos: DemoFrames,
    budget: GateBudget,
    report: Callable[[int, float], None],
) -> None:
    """Trains `model.gate` in place; everything else stays as it is."""
    unknown = set(budget.terms) - set(TERMS)
    if unknown:
        raise ValueError(f"unknown terms {sorted(unknown)}; there are {', '.join(TERMS)}")
    torch.set_num_threads(budget.threads)
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng(budget.seed)
    model.gate.requires_grad_(True)
    optimiser = torch.optim.AdamW(
        model.gate.parameters(), lr=budget.learning_rate, weight_decay=0.02
    )
    recent = 0.0
    for iteration in range(budget.iterations):
        phase = iteration / budget.iterations
        for group in optimiser.param_groups:
            warm = min(1.0, (iteration + 1) / 50)
            group["lr"] = (
                budget.learning_rate * warm * (0.49 * (1 + math.cos(math.pi * phase)) + 0.02)
            )
        pairs = draw(rng, clips, demos, budget)
        loss = _loss(model, pairs, budget, phase, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        recent += (loss.item() - recent) / 50
        if (iteration + 1) % 50 == 0:
            report(iteration + 1, recent)
    model.gate.requires_grad_(False)


def draw(rng: np.random.Generator, clips: Frames, demos: DemoFrames, budget: GateBudget) -> Pairs:
    clip = rng.integers(len(clips) // 5, size=budget.clips)
    i = rng.integers(5, size=budget.clips)
    j = (i + rng.integers(0, 5, size=budget.clips)) % 5
    i, j = clip * 5 + i, clip * 5 + j
    now = rng.integers(len(demos.row), size=budget.demos)
    longest = np.minimum(now - demos.start[now], budget.longest_gap)
    age = np.floor(rng.random(budget.demos) * (longest + 1)).astype(int)
    then = now - age
    a, b = changes(clips, i, clips, j), changes(demos.frames, then, demos.frames, now)
    return Pairs(
        torch.cat([clips.features[i], demos.frames.features[then]]).float(),
        torch.cat([clips.features[j], demos.frames.features[now]]).float(),
        Changes(np.concatenate([a.label, b.label]), np.concatenate([a.weight, b.weight])),
        np.concatenate([np.full(budget.clips, np.nan), age]),
        np.concatenate([clips.cubes[j], demos.frames.cubes[now]]),
    )


def _loss(
    model: S2Model, pairs: Pairs, budget: GateBudget, phase: float, rng: np.random.Generator
) -> Tensor:
    logits = model.gate(pairs.now, pairs.then)
    loss = logits.new_zeros(())
    if "events" in budget.terms:
        loss = loss + _against(logits, pairs.changes.label, pairs.changes.weight)
    if "prior" in budget.terms:
        loss = loss + budget.prior_weight * _prior(logits, pairs.age_frames, budget)
    if "task" in budget.terms:
        loss = loss + _task(model, logits, pairs, 1 - 0.7 * phase, rng)
    if "regret" in budget.terms:
        loss = loss + _against(logits, _regret(model, pairs, rng), np.ones((len(logits), 2)))
    return loss


def _against(logits: Tensor, label: np.ndarray, weight: np.ndarray) -> Tensor:
    target = torch.from_numpy(label.astype(np.float32))
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * torch.from_numpy(weight.astype(np.float32))).mean(0).sum()


def _prior(logits: Tensor, age_frames: np.ndarray, budget: GateBudget) -> Tensor:
    """BCE to p = 1 − 2^(−age/D*) (SD-VLA §3.4), where age is known."""
    known = np.isfinite(age_frames)
    age = np.nan_to_num(age_frames)[:, None]
    target = 1 - 0.5 ** (age / np.array(budget.half_age_frames))
    return _against(logits, target, known[:, None] * np.ones(2))


def _questions(pairs: Pairs, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """Two questions a pair about cubes that are there: text [B, 2, 12] and colours [B, 2]."""
    there = np.isfinite(pairs.cubes[..., 0])
    colours = np.argsort(-np.where(there, rng.random(there.shape), -1.0), axis=1)[:, :2]
    return torch.from_numpy(text.table()[0, 0][colours]), colours


def _answer(
    model: S2Model, l1: Tensor, l2: Tensor, reference: Tensor, now: Tensor, asked: Tensor
) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(l1, l2, reference, now[:, None], asked)
        return model.readout.meaning(output.raw).float()[..., :3]


def _task(
    model: S2Model, logits: Tensor, pairs: Pairs, tau: float, rng: np.random.Generator
) -> Tensor:
    """The published loss: statics old or new by a straight-through Gumbel-softmax of the gate."""
    noise = -torch.log(-torch.log(torch.rand(2, *logits.shape).clamp(1e-6, 1 - 1e-6)))
    soft = torch.sigmoid((logits + noise[0] - noise[1]) / tau)
    choice = (soft > 0.5).float() + soft - soft.detach()
    first = choice[:, 0, None, None]
    second = 1 - (1 - first) * (1 - choice[:, 1, None, None])  # L1 takes L2 with it
    tokens = model.tokens
    with torch.no_grad():
        old, new = ((tokens.l1(frame), tokens.l2(frame)) for frame in (pairs.then, pairs.now))
    asked, colours = _questions(pairs, rng)
    reference = torch.where(second > 0.5, pairs.now, pairs.then)
    said = _answer(
        model,
        first * new[0] + (1 - first) * old[0],
        second * new[1] + (1 - second) * old[1],
        reference,
        pairs.now,
        asked,
    )
    true = pairs.cubes[np.arange(len(colours))[:, None], colours].astype(np.float32)
    wanted = position_units(torch.from_numpy(true))
    return functional.smooth_l1_loss(said, wanted, beta=0.1)


@torch.no_grad()
def _regret(model: S2Model, pairs: Pairs, rng: np.random.Generator) -> np.ndarray:
    """Labels without a simulator: would stale statics move the answer, or L1's summary?"""
    tokens = model.tokens
    asked, _ = _questions(pairs, rng)
    old1, new1 = tokens.l1(pairs.then), tokens.l1(pairs.now)
    fresh = _answer(model, new1, tokens.l2(pairs.now), pairs.now, pairs.now, asked)
    stale = _answer(model, old1, tokens.l2(pairs.then), pairs.then, pairs.now, asked)
    apart = (position_m(fresh) - position_m(stale))[..., :2].norm(dim=-1).amax(1)
    alike = functional.cosine_similarity(old1.mean(1), new1.mean(1), dim=-1)
    lit = alike < _REGRET_L1
    return torch.stack([lit, lit | (apart > _REGRET_M)], 1).float().numpy()
