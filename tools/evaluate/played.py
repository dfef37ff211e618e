"""What one episode leaves behind."""

from dataclasses import dataclass

import numpy as np
from tandem.tools.evaluate.records import Episode


@dataclass(frozen=True)
class Played:
    """An episode's record, and the last picture of it [H, W, 3] if it failed."""

    episode: Episode
    picture: np.ndarray | None
