"""Fine-tuning a backbone into an SD-VLA: `train(model, batches, task, recipe)`.

    loss = task + Σ_l α_l InfoNCE_l + β · gate prior          (SD-VLA §3.4; α = 0.2, 0.1, β = 0.1)

The gate's draw decides, per level, whether the static tokens of the past frame or of the present
one go into the trunk; by the order of the rows that equals a cached or a refreshed prefix exactly,
so training needs no cache. In at least half of the pairs something must have changed since the past
frame: otherwise the trunk learns to ignore the dynamic tokens and everything hangs on the gate.
Trained by the published loss alone a gate hardly reacts on our tasks; `regret` labels it by what
staleness costs the task, at one more forward per level and one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from tandem.policies.caches.sdvla import losses
from tandem.policies.caches.sdvla.model import SdVla
from torch import Tensor, nn


@dataclass
class Pairs:
    """B pairs of moments of B or fewer episodes."""

    then: Tensor  # [B, N, D] features of the frame that static tokens may come from
    window: Tensor  # [B, W, N, D] features of the last frames, the present one last
    time_s: Tensor  # [B, W] float64, capture times in the episode
    gap_frames: Tensor  # [B] age of `then`, in frames
    episode: Tensor  # [B] int64
    text: Tensor  # [B, text] token numbers
    target: Tensor  # whatever the task compares with


Task = Callable[[Tensor, Tensor], Tensor]
"""Hidden states of the read-out [B, readout, width] and targets to losses [B]."""


@dataclass(frozen=True)
class Recipe:
    """Figures of the paper where it has any; the rest is ours."""

    alpha: tuple[float, ...] = (0.2, 0.1)  # InfoNCE per level
    beta: float = 0.1  # age prior of the gate
    regret: float = 0.0  # weight of the regret labels; 0 is the published loss
    regret_margin: float = 0.05  # rise of the task's loss that counts as regret
    half_age_frames: tuple[float, ...] = (16.0, 4.0)  # D* per level: age at which the prior is ½
    temperature: tuple[float, float] = (1.0, 0.3)  # of the draw, at the beginning and at the end
    contrast_dim: int = 128
    contrast_temperature: float = 0.07
    learning_rate: float = 5e-4  # of the adapters, partition, projector and read-out
    gate_learning_rate: float = 1e-3
    clip_norm: float = 1.0
    seed: int = 0


class Contrast(nn.Module):
    """One head a level for InfoNCE: mean over tokens, then a linear map. Only training has it."""

    def __init__(self, levels: int, width: int, dim: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, dim, bias=False) for _ in range(levels))

    def forward(self, level: int, tokens: Tensor) -> Tensor:
        """Tokens [B, n, width] to [B, dim]."""
        described: Tensor = self.heads[level](tokens.mean(1))
        return described


@dataclass(frozen=True)
class Terms:
    """What one batch gave, each a scalar before its weight."""

    task: Tensor
    contrast: list[Tensor]
    prior: Tensor
    regret: Tensor
    refreshed: Tensor  # [B, levels] the linked draw, for reports

    def total(self, recipe: Recipe) -> Tensor:
        contrast = sum(a * c for a, c in zip(recipe.alpha, self.contrast, strict=True))
        return self.task + contrast + recipe.beta * self.prior + recipe.regret * self.regret


def terms(
    model: SdVla, contrast: Contrast, pairs: Pairs, task: Task, recipe: Recipe, temperature: float
) -> Terms:
    """One forward through everything that is trained."""
    levels = range(model.levels)
    now = pairs.window[:, -1]
    old = [model.static(pairs.then, level) for level in levels]
    new = [model.static(now, level) for level in levels]
    logits = model.gate(now.detach(), pairs.then.detach())
    chosen = losses.link(losses.gumbel_choice(logits, temperature)).to(now.dtype)
    rest = _rest(model, pairs)
    hidden = model(_mixed(chosen, old, new), *rest)
    alike = [
        losses.info_nce(
            contrast(level, old[level]),
            contrast(level, new[level]),
            pairs.episode,
            recipe.contrast_temperature,
        )
        for level in levels
    ]
    prior = losses.age_prior(pairs.gap_frames, recipe.half_age_frames)
    regret = logits.new_zeros(())
    if recipe.regret:
        regret = losses.gate_loss(
            logits, _regret(model, old, new, rest, pairs, task, recipe.regret_margin)
        )
    return Terms(
        task(hidden, pairs.target).mean(), alike, losses.gate_loss(logits, prior), regret, chosen
    )


def train(
    model: SdVla,
    batches: Iterable[Pairs],
    task: Task,
    recipe: Recipe,
    steps: int,
    report: Callable[[int, Terms], None] = lambda step, terms: None,
) -> None:
    """Trains in place whatever of the model requires gradients: one batch a step."""
    torch.manual_seed(recipe.seed)
    width, device = model.trunk.config.width, model.readout.device
    contrast = Contrast(model.levels, width, recipe.contrast_dim).to(device, model.readout.dtype)
    gate = list(model.gate.parameters())
    own = {id(parameter) for parameter in gate}
    others = [p for p in _trainable(model, task, contrast) if id(p) not in own]
    optimiser = torch.optim.AdamW(
        [
            {"params": others, "lr": recipe.learning_rate},
            {"params": gate, "lr": recipe.gate_learning_rate},
        ],
        weight_decay=0.01,
    )
    warm, cool = recipe.temperature
    for step, pairs in zip(range(steps), batches, strict=False):
        temperature = warm * (cool / warm) ** (step / max(1, steps - 1))
        found = terms(model, contrast, pairs, task, recipe, temperature)
        optimiser.zero_grad(set_to_none=True)
        found.total(recipe).backward()
        nn.utils.clip_grad_norm_([*others, *gate], recipe.clip_norm)
        optimiser.step()
        report(step, found)


def _trainable(model: SdVla, task: Task, contrast: Contrast) -> Iterator[nn.Parameter]:
    """Of the model, of the contrast heads, and of the task if it is a module (an action head)."""
    modules = [model, contrast, *([task] if isinstance(task, nn.Module) else [])]
    for module in modules:
        yield from (p for p in module.parameters() if p.requires_grad)


def _rest(model: SdVla, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, text and read-out: what does not depend on the gate."""
    batch, window = pairs.window.shape[:2]
    tokens = model.dynamic(pairs.window.flatten(0, 1), pairs.time_s.flatten())
    return tokens.unflatten(0, (batch, window)), pairs.text, model.asks(pairs.time_s[:, -1])


def _mixed(chosen: Tensor, old: Sequence[Tensor], new: Sequence[Tensor]) -> list[Tensor]:
    """Per level the new tokens where chosen [B, levels] is 1, else the old ones."""
    picks = [chosen[:, level, None, None] for level in range(len(old))]
    return [y * n + (1 - y) * o for y, o, n in zip(picks, old, new, strict=True)]


@torch.no_grad()
def _regret(
    model: SdVla,
    old: Sequence[Tensor],
    new: Sequence[Tensor],
    rest: tuple[Tensor, Tensor, Tensor],
    pairs: Pairs,
    task: Task,
    margin: float,
) -> Tensor:
    """Labels [B, levels]: the task with everything refreshed from level k downward, for every k."""
    tried = [[*old[:top], *new[top:]] for top in range(len(old) + 1)]
    costs = [task(model(levels, *rest), pairs.target) for levels in tried]
    return losses.regret(torch.stack(costs, 1), margin)
