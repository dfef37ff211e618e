"""How many bytes something keeps in arrays and tensors, weights of networks aside."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn


def held_bytes(thing: Any, known: set[int] | None = None) -> int:
    """Of an object with all that it refers to; what occurs twice counts once, as a view does."""
    known = set() if known is None else known
    if id(thing) in known or isinstance(thing, nn.Module | type):
        return 0
    known.add(id(thing))
    if isinstance(thing, Tensor):
        memory = thing.untyped_storage()
        again = memory.data_ptr() in known
        known.add(memory.data_ptr())
        return 0 if again else memory.nbytes()
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, Mapping):
        return sum(held_bytes(part, known) for part in thing.values())
    if isinstance(thing, list | tuple):
        return sum(held_bytes(part, known) for part in thing)
    if type(thing).__module__.startswith("tandem."):
        parts = getattr(thing, "__dict__", {})
        return sum(held_bytes(part, known) for part in parts.values())
    return 0
