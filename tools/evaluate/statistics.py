"""Counts of successes, and what may be concluded from them.

Success is a coin with an unknown bias: 95 of 100 says little without its interval, and two policies
tried on the same scenes are compared scene by scene, since most scenes are easy for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt

Z_95 = 1.959963984540054


def wilson(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Interval of the success rate (Wilson 1927): right at 0 and at all, unlike mean ± 2 sigma."""
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    shrink = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z / shrink * sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    # At the ends the formula is exact but for rounding, which would read as 1.0000000000000002.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p-value that both are equally good, from the scenes where just one succeeded."""
    discordant = only_first + only_second
    tail = sum(comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**discordant)


@dataclass(frozen=True)
class Paired:
    """Two policies on the same scenes; `difference_points` is second minus first, in per cent."""

    scenes: int
    both: int
    only_first: int
    only_second: int
    neither: int
    difference_points: float
    ci95_points: tuple[float, float]
    p_value: float


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare outcomes scene by scene; `first[i]` and `second[i]` are of the same scene."""
    if len(first) != len(second) or not first:
        raise ValueError(f"outcomes of {len(first)} and of {len(second)} scenes are not pairs")
    scenes = len(first)
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    both = sum(a and b for a, b in zip(first, second, strict=True))
    return Paired(
        scenes,
        both,
        only_first,
        only_second,
        scenes - both - only_first - only_second,
        100 * (only_second - only_first) / scenes,
        _matched_interval_points(only_first, only_second, scenes),
        mcnemar_exact(only_first, only_second),
    )


def _matched_interval_points(only_first: int, only_second: int, scenes: int) -> tuple[float, float]:
    """Agresti and Min (2005), section 3: the plain interval after adding ½ to each of 4 cells."""
    total = scenes + 2
    b, c = (only_first + 0.5) / total, (only_second + 0.5) / total
    half = Z_95 * sqrt(max(0.0, b + c - (c - b) ** 2) / total)
    return 100 * max(-1.0, c - b - half), 100 * min(1.0, c - b + half)
