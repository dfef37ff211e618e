"""Statistics as LeRobot keeps them: per feature, for normalisation."""

from typing import Any

import numpy as np

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


def of_pixels(images: np.ndarray) -> dict[str, Any]:
    """[N, H, W, 3] uint8 to [3, 1, 1] each, of values 0 … 1; the count is of images."""
    found = of_numbers(images.reshape(-1, 3) / 255.0)
    shaped = {name: [[[v]] for v in value] for name, value in found.items() if name != "count"}
    return shaped | {"count": [len(images)]}
