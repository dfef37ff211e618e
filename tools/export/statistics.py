"""Statistics as LeRobot keeps them: per feature, for normalisation."""

from collections.abc import Iterable
from typing import Any

import numpy as np

_VALUES = 256  # of a pixel
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def of_numbers(values: np.ndarray) -> dict[str, Any]:
    """[N, D] or [N] to lists of D (or 1) numbers each, and the count."""
    rows = values.astype(np.float64).reshape(len(values), -1)
    found = {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        **{name: np.quantile(rows, q, axis=0) for name, q in _QUANTILES.items()},
    }
    return {name: value.tolist() for name, value in found.items()} | {"count": [len(rows)]}


class Pixels:
    """Statistics of pictures, by how often each of 256 values occurs: exact, and hours of them fit
    into the memory. `images` is how many there were."""

    def __init__(self) -> None:
        self.images = 0
        self._counts = np.zeros((3, _VALUES), np.int64)  # per channel and value

    def add(self, image: np.ndarray) -> None:
        """[H, W, 3] uint8."""
        self.images += 1
        for channel, counts in enumerate(self._counts):
            counts += np.bincount(image[..., channel].ravel(), minlength=_VALUES)

    def merge(self, other: "Pixels") -> None:
        self.images += other.images
        self._counts += other._counts

    def statistics(self) -> dict[str, Any]:
        """[3, 1, 1] each, of values 0 … 1; the count is of images."""
        counts, values = self._counts, np.arange(_VALUES) / (_VALUES - 1)
        up_to = counts.cumsum(axis=1)
        total = up_to[:, -1]
        mean = counts @ values / total
        found = {
            "min": values[(counts > 0).argmax(axis=1)],
            "max": values[_VALUES - 1 - (counts[:, ::-1] > 0).argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 0.0)),
        }
        for name, q in _QUANTILES.items():
            found[name] = values[(up_to >= q * total[:, None]).argmax(axis=1)]
        shaped = {name: value.reshape(3, 1, 1).tolist() for name, value in found.items()}
        return shaped | {"count": [self.images]}


def of_all(parts: Iterable[Pixels]) -> Pixels:
    """Of several spans together."""
    whole = Pixels()
    for part in parts:
        whole.merge(part)
    return whole
