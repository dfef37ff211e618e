"""Intervals around a handful of numbers, in plain floats: at that size array calls cost more."""

from collections.abc import Sequence

from tandem.runtime.interfaces import Array


class Box:
    """An interval per number."""

    def __init__(self, low: Array, high: Array) -> None:
        """`low`, `high` [N]; infinite where there is no bound."""
        self._bounds: list[tuple[float, float]] = list(
            zip(low.tolist(), high.tolist(), strict=True)
        )

    def holds(self, values: Array) -> bool:
        """All of `values` [N] are inside, bounds included; not if one is NaN."""
        pairs = zip(values.tolist(), self._bounds, strict=True)
        return all(low <= x <= high for x, (low, high) in pairs)

    def beyond(self, point: Sequence[float]) -> float:
        """How far outside the furthest of the numbers is; 0 inside."""
        pairs = zip(point, self._bounds, strict=True)
        return max(0.0, *[max(low - x, x - high) for x, (low, high) in pairs])

    def ahead(self, point: Sequence[float], velocity: Sequence[float]) -> list[float]:
        """[N], how far it is to the bound that each number moves to; negative outside."""
        triples = zip(point, velocity, self._bounds, strict=True)
        return [high - x if v > 0 else x - low for x, v, (low, high) in triples]
