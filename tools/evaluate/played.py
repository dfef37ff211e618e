"""What one episode leaves behind."""

from dataclasses import dataclass, field

import numpy as np
from tandem.tools.evaluate.records import Episode


@dataclass(frozen=True)
class Played:
    """An episode's record, and the last picture of it [H, W, 3] if it failed.

    How long System 2's steps took is no part of the record, which is the same on every machine.
    """

    episode: Episode
    picture: np.ndarray | None
    step_ms: list[float] = field(default_factory=list)
