"""A System 2 that tells of all it has ever seen: whoever misses a picture says something else.

So does who is told another state of the arm.
"""

import zlib
from dataclasses import replace

import numpy as np
from tandem.runtime.interfaces import Observation
from tandem.runtime.messages import Conditioning
from tandem.tools.faults.sweep import SweepS2


class Watchful(SweepS2):
    """As the scripted one, but its latent is a checksum of all pictures since the instruction, and
    of where the arm was then."""

    def __init__(self, cameras: tuple[str, ...] = ("front",)) -> None:
        super().__init__(cameras)
        self.spec = replace(self.spec, wants_state=True)

    def reset(self, instruction: str) -> None:
        super().reset(instruction)
        self._seen, self._steps = 0, 0

    def step(self, obs: Observation) -> Conditioning:
        said = super().step(obs)
        frame = obs.images[self.spec.cameras[0]]
        assert obs.state is not None, "it was asked without the state that it wants"
        told = frame.image.tobytes() + obs.state.q.tobytes()
        self._seen = zlib.crc32(told, self._seen)
        said.refreshed = [self._steps == 0]  # everything is new with a new instruction
        self._steps += 1
        said.latent = np.full((1, 1), self._seen % 2048, np.float16)
        return said
