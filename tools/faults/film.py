"""A camera without a device: noise thirty times a second, until it is told to stand still."""

import time
from pathlib import Path

import numpy as np
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.interfaces import Array, CameraSpec

STILL = "film-stands-still"  # a file of this name in the runtime folder freezes the picture


class Film:
    """Implements runtime.interfaces.Camera; stamps go on even when the picture stands still."""

    def __init__(self, runtime_dir: Path, name: str, size: tuple[int, int]) -> None:
        width, height = size
        self.spec = CameraSpec(name, height, width, 30.0, 5 * NS_PER_MS)
        self._still = runtime_dir / STILL
        self._random = np.random.default_rng(0)
        self._picture = np.zeros((height, width, 3), np.uint8)

    def read(self, out: Array, timeout_ns: int) -> int:
        time.sleep(1 / self.spec.rate_hz)
        if not self._still.exists():
            self._picture = self._random.integers(0, 255, self._picture.shape, np.uint8)
        out[...] = self._picture
        return time.monotonic_ns() - NS_PER_MS

    def close(self) -> None:
        pass
