"""Which scene is which: episode `index` of run `seed` is the same scene on every machine.

Training draws its scenes from small numbers; evaluation from the upper half of 32 bits, so no scene
is ever both.
"""

import numpy as np

FRESH = 1 << 31


def scene_seed(seed: int, index: int) -> int:
    """Seed of one scene, ≥ 2³¹; neighbours have nothing in common."""
    (word,) = np.random.SeedSequence([seed, index]).generate_state(1)
    return FRESH | int(word) & (FRESH - 1)


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of one scene for one purpose: drawing more of one never shifts another."""
    return np.random.default_rng([seed, *purpose.encode()])
