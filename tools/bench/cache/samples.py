"""What is measured of each cache, frame by frame."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """What a step took and computed, by the stages of `caches/stages.py`."""

    stages_s: dict[str, float]
    macs: dict[str, int]
    fresh: float  # share of the visual rows computed, mean over the layers


@dataclass(frozen=True)
class Sample:
    """One frame of one cache."""

    frame: int
    first: bool  # of a clip: there is nothing to keep yet
    wall_s: float
    spent: Spent
    error: float
