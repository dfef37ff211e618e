"""Training System 2 from nothing: `train(data, out, …)`. Seeded; the budget counts iterations.

Two threads and bfloat16 are what two CPU cores give; see s2_data.py for the pairs, s2_losses.py for
the losses and s2_eval.py for what it is judged by.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.model import S2Model
from tandem.tools.train import s2_losses
from tandem.tools.train.s2_data import Clips, Demos, Pairs, Tuning
from torch import Tensor, nn

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Budget:
    """How long and how."""

    iterations: int = 1500
    clips: int = 24  # pairs an iteration
    demos: int = 24
    learning_rate: float = 1e-3
    matrix_rate: float = 2e-3  # of the transformer's matrices, which Muon updates
    weight_decay: float = 0.02
    warm_up: int = 150
    seed: int = 0
    threads: int = 2
    tuning: Tuning = field(default_factory=Tuning)
    weights: s2_losses.Weights = field(default_factory=s2_losses.Weights)


class Trainer:
    """Holds model, heads and optimiser; `run` goes through the budget."""

    def __init__(
        self, clips: Clips, demos: Demos, budget: Budget, config: S2Config | None = None
    ) -> None:
        torch.set_num_threads(budget.threads)
        torch.manual_seed(budget.seed)
        self.rng = np.random.default_rng(budget.seed)
        self.clips, self.demos, self.budget = clips, demos, budget
        self.model = S2Model(config)
        self.heads = s2_losses.TrainingHeads(self.model.config)
        # The gate is trained afterwards, on the finished features.
        self.parameters = [
            p
            for name, p in (*self.model.named_parameters(), *self.heads.named_parameters())
            if not name.startswith("gate.")
        ]
        matrices = _matrices(self.model)
        chosen = {id(p) for p in matrices}
        rest = [p for p in self.parameters if id(p) not in chosen]
        decay = budget.weight_decay
        self.optimisers: list[tuple[torch.optim.Optimizer, float]] = [
            (
                # Its updates as large as AdamW's would be, so that both take the same kind of rate.
                torch.optim.Muon(
                    matrices,
                    lr=budget.matrix_rate,
                    weight_decay=decay,
                    adjust_lr_fn="match_rms_adamw",
                ),
                budget.matrix_rate,
            ),
            (
                torch.optim.AdamW(
                    rest, lr=budget.learning_rate, betas=(0.9, 0.98), weight_decay=decay
                ),
                budget.learning_rate,
            ),
        ]

    def run(self, report: Report, every: int = 50) -> S2Model:
        sums: dict[str, float] = {}
        for iteration in range(self.budget.iterations):
            for name, value in self.step(iteration).items():
                sums[name] = sums.get(name, 0.0) + value / every
            if (iteration + 1) % every == 0:
                report(iteration + 1, sums)
                sums = {}
        fit_latent(self.model, self.pairs, 40)
        return self.model.eval()

    def pairs(self) -> list[Pairs]:
        """One iteration's draw."""
        budget = self.budget
        return [
            self.clips.draw(self.rng, budget.clips, budget.tuning),
            self.demos.draw(self.rng, budget.demos, budget.tuning),
        ]

    def step(self, iteration: int) -> dict[str, float]:
        for optimiser, rate in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = rate * schedule(iteration, self.budget)
        values: dict[str, float] = {}
        for pairs in self.pairs():
            terms = self.losses(pairs)
            weights = vars(self.budget.weights)
            total = sum((weights[k] * v for k, v in terms.items()), torch.zeros(()))
            (total / 2).backward()
            for name, value in terms.items():
                values[name] = values.get(name, 0.0) + value.item() / 2
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser, _ in self.optimisers:
            optimiser.step()
        return values

    def losses(self, pairs: Pairs) -> dict[str, Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            then, window = features(self.model, pairs, self.rng)
            forward = through(self.model, then, window, pairs)
            terms = s2_losses.losses(self.model, self.heads, forward.output, forward.labels)
            changed = torch.from_numpy(pairs.changed)
            for level, (old, new) in enumerate(forward.statics):
                head = self.heads.contrast[level]
                terms[f"contrast{level + 1}"] = s2_losses.contrast(
                    head, old, new, changed[:, : level + 1].any(1)
                )
        return terms


def _matrices(model: S2Model) -> list[nn.Parameter]:
    """Weights of the transformer blocks; embeddings, heads and convolutions are AdamW's."""
    blocks = (model.trunk.blocks, model.tokens.level1, model.tokens.level2, model.tokens.dynamic)
    return [p for block in blocks for p in block.parameters() if p.dim() == 2]


def schedule(iteration: int, budget: Budget) -> float:
    """Linear warm-up, then half a cosine down to 2 %."""
    warm = min(1.0, (iteration + 1) / budget.warm_up)
    phase = iteration / max(budget.iterations, 1)
    return warm * (0.49 * (1 + math.cos(math.pi * phase)) + 0.02)


def features(
    model: S2Model, pairs: Pairs, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor]:
    """Of the reference [B, 64, width] and the window [B, W, 64, width]; `rng` jitters colours."""
    images = torch.from_numpy(pairs.images)
    count, frames = images.shape[:2]
    if rng is not None:
        gain = 1 + 0.06 * rng.standard_normal((count, 1, 1, 1, 3), dtype=np.float32)
        images = (images.float() * torch.from_numpy(gain)).clamp(0, 255)
    learnt = model.features(images[:, :2].flatten(0, 1)).unflatten(0, (count, 2))
    if frames == 2:
        return learnt[:, 0], learnt[:, 1:]
    with torch.no_grad():  # the past of the window teaches the stem little and costs much
        past = model.features(images[:, 2:].flatten(0, 1)).unflatten(0, (count, frames - 2))
    return learnt[:, 0], torch.cat([learnt[:, 1:], past], 1)


@dataclass
class Forward:
    output: s2_losses.Output
    labels: s2_losses.Labels
    statics: list[tuple[Tensor, Tensor]]  # per level: tokens of the reference, of the newest frame


def through(model: S2Model, then: Tensor, window: Tensor, pairs: Pairs) -> Forward:
    """Statics from the reference or the newest frame as `pairs.fresh` says, the rest from now."""
    now = window[:, 0]
    encoders = (model.tokens.l1, model.tokens.l2)
    statics = [encode(torch.cat([then, now])).chunk(2) for encode in encoders]
    fresh = torch.from_numpy(pairs.fresh)[:, :, None, None]
    level1, level2 = (
        torch.where(fresh[:, level], new, old) for level, (old, new) in enumerate(statics)
    )
    reference = torch.where(fresh[:, 1], now, then)
    output = model(level1, level2, reference, window, torch.from_numpy(pairs.text))
    labels = s2_losses.label(pairs, output.patches.numpy())
    return Forward(output, labels, [(old, new) for old, new in statics])


@torch.no_grad()
def fit_latent(model: S2Model, draw: Callable[[], list[Pairs]], batches: int) -> None:
    """Sets the normalisation of the latent from training pairs."""
    model.eval()
    raw = torch.cat(
        [
            through(model, *features(model, pairs, None), pairs).output.raw.flatten(0, 1)
            for _ in range(batches)
            for pairs in draw()
        ]
    ).float()
    deviation = raw.std(0)
    floor = 0.05 * deviation.median()  # a number that says nothing must not become loud noise
    model.readout.latent_mean.copy_(raw.mean(0))
    model.readout.latent_scale.copy_(1 / deviation.clamp(min=floor))


def model_bytes(path: Path) -> int:
    return path.with_suffix(".safetensors").stat().st_size
