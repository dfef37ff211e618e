"""LAC's two stages of training; the backbone is frozen in both.

Stage I gives the selector a start: it imitates where the backbone's text attends. Stage II lets the
task decide: the read-out of a frame is computed as the cache would compute it, keys and values of
patches that are not chosen coming from the frame before, and the loss flows back through the choice
(hard forward, soft backward) into both networks, with a reward for keeping much.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from tandem.policies.caches.lac import active_count
from tandem.policies.caches.lac_networks import Choice, LacNetworks
from tandem.policies.caches.layout import Layout
from tandem.policies.trunk.layers import additive, attend
from tandem.policies.trunk.masks import causal
from tandem.policies.trunk.rope import rope
from tandem.policies.trunk.trunk import Trunk
from torch import Tensor
from torch.nn import functional

Past = list[tuple[Tensor, Tensor]]  # by layer: keys, values [B, kv_heads, rows, d]
TaskLoss = Callable[[Tensor, Tensor], Tensor]  # hidden [B, readout, width], target → scalar


@dataclass(frozen=True)
class LacRecipe:
    """Temperatures and weights; the paper publishes none. The task's loss is taken to be about 1
    when nothing is computed anew."""

    learning_rate: float = 1e-3
    keep: float = 0.1  # λ: weight of the reward for a high cache ratio
    ratio_temperature: float = 1.0
    score_temperature: float = 0.1


@dataclass(frozen=True)
class Aligning:
    """A batch of stage I."""

    motion: Tensor  # [B, 5, H, W]
    attention: Tensor  # [B, N] of the backbone's text to the patches, any scale


@dataclass(frozen=True)
class Pairs:
    """A batch of stage II: two successive frames of a stream as trunk inputs."""

    motion: Tensor  # [B, 5, H, W]
    before: Tensor  # [B, rows, width]
    now: Tensor  # [B, rows, width]
    target: Tensor  # of the task, [B, …]


def align(
    networks: LacNetworks, batches: Iterable[Aligning], recipe: LacRecipe | None = None
) -> list[float]:
    """Stage I: MSE of the scores to attention, scaled to 0…1 a picture. Losses, batch by batch."""
    recipe = recipe or LacRecipe()
    chooser = [*networks.stem.parameters(), *networks.selector.parameters()]
    optimizer = torch.optim.AdamW(chooser, recipe.learning_rate)
    losses = []
    for batch in batches:
        scores = networks(batch.motion).scores
        losses.append(_improve(optimizer, functional.mse_loss(scores, unit(batch.attention))))
    return losses


def finetune(
    networks: LacNetworks,
    trunk: Trunk,
    layout: Layout,
    batches: Iterable[Pairs],
    task: TaskLoss,
    recipe: LacRecipe | None = None,
) -> list[float]:
    """Stage II: task loss − λ · expected cache ratio. Losses, batch by batch."""
    recipe = recipe or LacRecipe()
    optimizer = torch.optim.AdamW(networks.parameters(), recipe.learning_rate)
    losses = []
    for batch in batches:
        choice = networks(batch.motion)
        soft, hard = ratio_choice(choice.ratio_logits, recipe.ratio_temperature)
        anew = chosen(choice, hard, networks.ratios, recipe.score_temperature)
        hidden = cached_forward(trunk, layout, batch.before, batch.now, anew)
        kept = (soft * soft.new_tensor(networks.ratios)).sum(-1).mean()
        loss = task(hidden[:, -layout.readout :], batch.target) - recipe.keep * kept
        losses.append(_improve(optimizer, loss))
    return losses


def unit(attention: Tensor) -> Tensor:
    """[B, N] stretched to 0…1 picture by picture: attention falls with the number of patches."""
    low, high = attention.amin(1, keepdim=True), attention.amax(1, keepdim=True)
    return (attention - low) / (high - low).clamp(min=torch.finfo(attention.dtype).tiny)


def ratio_choice(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """A draw from logits [B, C] by Gumbel-softmax: soft, and one-hot with the soft one's gradient.

    At work the largest logit is taken instead of a draw.
    """
    soft = functional.gumbel_softmax(logits, temperature)
    hard = functional.one_hot(soft.argmax(-1), logits.shape[-1]).to(soft)
    return soft, hard + soft - soft.detach()


def chosen(choice: Choice, ratio: Tensor, ratios: tuple[float, ...], temperature: float) -> Tensor:
    """[B, N]: exactly 1 for what is computed anew and 0 for the rest, differentiable in both.

    `ratio` [B, C] is one-hot with a gradient: the mask is the ratios' masks weighted by it, so the
    task tells the predictor, too, what another ratio would have done.
    """
    n = choice.scores.shape[1]
    masks = [top_mask(choice.scores, active_count(r, n), temperature) for r in ratios]
    return (ratio[:, :, None] * torch.stack(masks, 1)).sum(1)


def top_mask(scores: Tensor, count: int, temperature: float) -> Tensor:
    """[B, N]: hard top-k forward, σ((score − that of the k-th) / temperature) backward.

    The k-th takes part in the gradient: otherwise a task that wants more patches than it gets lifts
    all scores alike, until they are all 1 and say nothing.
    """
    values, indices = scores.topk(count, -1)
    soft = ((scores - values[:, -1:]) / temperature).sigmoid()
    hard = torch.zeros_like(scores).scatter(1, indices, 1.0)
    return hard + soft - soft.detach()


def cached_forward(
    trunk: Trunk, layout: Layout, before: Tensor, now: Tensor, anew: Tensor
) -> Tensor:
    """Hidden [B, rows, width] of frame `now` when only patches in `anew` [B, N] are computed.

    In rows that are not computed the result means nothing: nobody reads them.
    """
    with torch.no_grad():
        _, past = _forward(trunk, before, None, None)
    keep = anew.new_ones(len(anew), layout.rows)
    keep[:, layout.visual_rows.start : layout.visual_rows.stop] = anew
    hidden, _ = _forward(trunk, now, past, keep[:, None, :, None].to(now.dtype))
    return hidden


def _forward(
    trunk: Trunk, x: Tensor, past: Past | None, fresh: Tensor | None
) -> tuple[Tensor, Past]:
    """Whole sequence [B, rows, width]; where `fresh` [B, 1, rows, 1] is 0, keys of the past."""
    rows, config = x.shape[1], trunk.config
    by = rope(config, torch.arange(rows, device=x.device), x.dtype)
    bias = additive(causal(rows).to(x.device), config.group, x.dtype)
    made: Past = []
    for layer, block in enumerate(trunk.blocks):
        query, key, value = block.split(x, by)
        if past is not None and fresh is not None:
            key, value = (
                fresh * new + (1 - fresh) * old
                for new, old in zip((key, value), past[layer], strict=True)
            )
        made.append((key, value))
        x = block.join(x, attend(query, key, value, bias))
    return trunk.norm(x), made


def _improve(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())
