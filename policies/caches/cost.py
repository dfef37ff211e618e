"""Multiply-adds of a step, stage by stage, from the rows that really ran.

Attention is counted over every key that a row is given, seen or masked, as fused kernels compute
it; so the counts are torch's own (half of what FlopCounterMode says). Norms, rotations, softmax and
the patches' similarity are no multiply-adds of matrices and left out everywhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.packed import PackedLinear
from torch import nn


@dataclass(frozen=True)
class Work:
    """Rows that one step ran."""

    patches: int  # rows of the vision tower; its keys are always all of them
    projected: int
    trunk: tuple[int, ...]  # rows in each layer
    keys: int  # rows of the store, that each of them is given
    watched: int  # queries whose attention was collected, over all layers
    read: int  # rows that were read out
    decided: int  # multiply-adds of the strategy's own networks


@dataclass(frozen=True)
class Macs:
    """Multiply-adds of one step."""

    vision: int
    projector: int
    trunk: tuple[int, ...]  # by layer
    gate: int  # the strategy's networks, and the attention collected for it
    readout: int

    @property
    def total(self) -> int:
        return self.vision + self.projector + sum(self.trunk) + self.gate + self.readout

    def stages(self) -> dict[str, int]:
        return {
            "gate": self.gate,
            "vision": self.vision,
            "projector": self.projector,
            "trunk": sum(self.trunk),
            "readout": self.readout,
        }


def trunk(config: TrunkConfig, rows: Iterable[int], keys: int) -> tuple[int, ...]:
    """By layer, for `rows` rows in each."""
    return tuple(config.layer_macs(n, keys) for n in rows)


def watching(config: TrunkConfig, queries: int, keys: int) -> int:
    """The second QKᵀ, of the queries whose weights somebody wants to see."""
    return queries * keys * config.heads * config.head_dim


def readout(config: TrunkConfig, rows: int) -> int:
    """Hidden to vocabulary."""
    return rows * config.width * config.vocab


def linear(module: nn.Module) -> int:
    """For one row, of a chain of linear layers, plain or packed."""
    chain = (part for part in module.modules() if isinstance(part, nn.Linear | PackedLinear))
    return sum(part.in_features * part.out_features for part in chain)


def rows_by_layer(depth: int, rows: int, leave: dict[int, int]) -> tuple[int, ...]:
    """Rows under way in each layer when `leave[l]` more of them are gone from layer l on."""
    gone = accumulate(leave.get(layer, 0) for layer in range(depth))
    return tuple(rows - n for n in gone)
