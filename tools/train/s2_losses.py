"""What System 2 is asked for in training.

Regression of the position alone does not learn to look within the budget; the pointer loss and the
colour of every patch are decisive. InfoNCE per static level keeps what does not change the same
over time (SD-VLA §3.4, weights 0.2 and 0.1).
"""

from dataclasses import dataclass

import numpy as np
import torch
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.model import Output, S2Model
from tandem.policies.s2.readout import SPEED_M_S, position_units, positions
from tandem.tools.train.s2_data import Pairs, cube_patches
from torch import Tensor, nn
from torch.nn import functional

COLOURS = 6
_TEMPERATURE = 0.07
_SAME_PLACE_M = 0.01
_RARE = 10.0  # a patch seldom shows a given colour
_COLOUR_SCALE = 6.0  # sums the colours


@dataclass(frozen=True)
class Weights:
    """Weight of each loss."""

    position: float = 1.0
    pointer: float = 0.3
    colour: float = 0.5
    where: float = 0.5
    velocity: float = 0.1
    task: float = 0.1
    held: float = 0.1
    contrast1: float = 0.2
    contrast2: float = 0.1


class TrainingHeads(nn.Module):
    """Heads that only training needs."""

    def __init__(self, config: S2Config) -> None:
        super().__init__()
        self.colour = nn.Linear(config.width, COLOURS)
        self.contrast = nn.ModuleList(nn.Linear(config.width, 128) for _ in range(2))


@dataclass
class Labels:
    """Targets of a batch as tensors; see `label`."""

    position: Tensor  # [B, Q, 3] units
    velocity: Tensor  # [B, Q, 2] units, NaN unknown
    held: Tensor  # [B, Q] 0 or 1
    task: Tensor  # [B, Q]
    right: Tensor  # [B, Q, 64 + 16] bool: candidates that show the cube asked for, where it is now
    shows: Tensor  # [B, 64 + 16, 6] bool: colours of the cubes that each candidate shows
    where: Tensor  # [B, 64 + 16, 6, 3] units, where each cube is at that candidate's time


def label(pairs: Pairs, changed_patches: np.ndarray) -> Labels:
    """Targets for pairs whose newest frame's dynamic tokens are of `changed_patches` [B, 16]."""
    then, now = pairs.cubes_then, pairs.cubes_now
    still = np.linalg.norm(np.nan_to_num(now - then, nan=9.0), axis=-1) < _SAME_PLACE_M
    static = cube_patches(then)[:, :, None] == np.arange(64)  # [B, 6, 64]
    dynamic = cube_patches(now)[:, :, None] == changed_patches[:, None, :]  # [B, 6, 16]
    shows = np.concatenate([static, dynamic], 2)
    right = np.concatenate([static & still[..., None], dynamic], 2)
    where = np.concatenate(
        [
            np.repeat(cubes[:, None], seen.shape[2], axis=1)
            for cubes, seen in ((then, static), (now, dynamic))
        ],
        axis=1,
    )
    asked = pairs.colours
    return Labels(
        position=position_units(_tensor(_rows(now, asked))),
        velocity=_tensor(_rows(pairs.velocity, asked)) / SPEED_M_S,
        held=_tensor(asked == pairs.held[:, None]),
        task=torch.from_numpy(pairs.tasks),
        right=torch.from_numpy(_rows(right, asked)),
        shows=torch.from_numpy(shows.transpose(0, 2, 1).copy()),
        where=position_units(_tensor(where)),
    )


def _rows(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """table [B, 6, …] picked by index [B, N] to [B, N, …]."""
    return table[np.arange(len(index))[:, None], index]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def losses(
    model: S2Model, heads: TrainingHeads, output: Output, labels: Labels, in_hand: float = 0.3
) -> dict[str, Tensor]:
    """Everything but InfoNCE, by name. `in_hand` weighs the position of a cube already held."""
    meaning = model.readout.meaning(output.raw).float()
    logits = output.pointer.float()
    found = labels.right.any(-1)
    pointed = logits.logsumexp(-1) - logits.masked_fill(~labels.right, -1e9).logsumexp(-1)
    known = labels.velocity.isfinite().all(-1)
    where = positions(output.values, COLOURS).float()
    shown = heads.colour(output.candidates).float()
    matters = 1 - (1 - in_hand) * labels.held
    position = functional.smooth_l1_loss(
        meaning[..., :3], labels.position, beta=0.1, reduction="none"
    )
    return {
        "position": (position.mean(-1) * matters).mean(),
        "pointer": _mean(pointed, found),
        "colour": _COLOUR_SCALE
        * functional.binary_cross_entropy_with_logits(
            shown, labels.shows.float(), pos_weight=torch.tensor(_RARE)
        ),
        "where": functional.smooth_l1_loss(
            where[labels.shows], labels.where[labels.shows], beta=0.1
        ),
        "velocity": functional.smooth_l1_loss(
            meaning[..., 3:5][known], labels.velocity[known], beta=0.1
        )
        if known.any()
        else logits.new_zeros(()),
        "task": functional.cross_entropy(meaning[..., 5:7].flatten(0, 1), labels.task.flatten()),
        "held": functional.binary_cross_entropy_with_logits(meaning[..., 7], labels.held),
    }


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp(min=1)


def contrast(head: nn.Module, then: Tensor, now: Tensor, changed: Tensor) -> Tensor:
    """InfoNCE of one level: tokens [B, N, width] of the same scene at two times belong together."""
    a = functional.normalize(head(then.mean(1)).float(), dim=-1)
    b = functional.normalize(head(now.mean(1)).float(), dim=-1)
    similar = a @ b.T / _TEMPERATURE
    same = torch.arange(len(a))
    both = functional.cross_entropy(similar, same, reduction="none")
    both = both + functional.cross_entropy(similar.T, same, reduction="none")
    return _mean(both / 2, ~changed)
