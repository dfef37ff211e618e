"""The terms of SD-VLA's training (§3.4 of arXiv 2602.03983), each a plain function."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(one: Tensor, other: Tensor, episode: Tensor, temperature: float = 0.07) -> Tensor:
    """Static tokens of one episode at two times are alike, those of other episodes are not.

    one, other: [B, dim], row i of both from episode[i] at different times. Symmetric. Rows of the
    same episode are no negatives of each other. Returns a scalar.
    """
    one, other = (
        functional.normalize(one.float(), dim=-1),
        functional.normalize(other.float(), dim=-1),
    )
    own = torch.eye(len(one), dtype=torch.bool, device=one.device)
    twin = (episode[:, None] == episode[None, :]) & ~own
    logits = (one @ other.T / temperature).masked_fill(twin, float("-inf"))
    target = torch.arange(len(one), device=one.device)
    there, back = (functional.cross_entropy(side, target) for side in (logits, logits.T))
    return (there + back) / 2


def age_prior(gap_frames: Tensor, half_age_frames: Sequence[float]) -> Tensor:
    """Probability [B, levels] that a reference so old is worth a refresh: 1 − exp(−λ gap).

    λ = ln 2 / half_age_frames of each level: at that age a refresh is as likely as not.
    """
    half = torch.tensor(half_age_frames, device=gap_frames.device)
    return 1 - torch.exp2(-gap_frames[:, None].float() / half)


def gate_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the gate [B, levels] against probabilities, mean over pairs, summed over
    levels: −p log g − (1 − p) log(1 − g)."""
    each = functional.binary_cross_entropy_with_logits(
        logits.float(), target.float(), reduction="none"
    )
    return each.mean(0).sum()


def gumbel_choice(logits: Tensor, temperature: float) -> Tensor:
    """Draws 0 or 1 per logit; the gradient is that of the relaxed draw (straight-through).

    Two-class Gumbel-softmax (arXiv 1611.01144): the difference of two Gumbels is logistic.
    """
    uniform = torch.rand(logits.shape, device=logits.device)
    noise = uniform.clamp(1e-6, 1 - 1e-6).logit()
    soft = torch.sigmoid((logits.float() + noise) / temperature)
    return (soft > 0.5).float() + soft - soft.detach()


def link(choice: Tensor) -> Tensor:
    """A refreshed level takes all levels below with it: [B, levels], top level first."""
    return 1 - (1 - choice).cumprod(1)


def regret(losses: Tensor, margin: float) -> Tensor:
    """Labels [B, levels] that need no simulator: does the staleness of this level cost anything?

    losses [B, levels + 1]: of the task when refreshed from level k downward; the last: not at all.
    """
    return (losses[:, 1:] - losses[:, :-1] > margin).float()
