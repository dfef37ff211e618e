"""A System 2 that tells of all it has ever seen: whoever misses a picture says something else."""

import zlib

import numpy as np
from tandem.runtime.interfaces import Observation
from tandem.runtime.messages import Conditioning
from tandem.tools.faults.sweep import SweepS2


class Watchful(SweepS2):
    """As the scripted one, but its latent is a checksum of all pictures since the instruction."""

    def reset(self, instruction: str) -> None:
        super().reset(instruction)
        self._seen, self._steps = 0, 0

    def step(self, obs: Observation) -> Conditioning:
        said = super().step(obs)
        frame = obs.images[self.spec.cameras[0]]
        self._seen = zlib.crc32(frame.image.tobytes(), self._seen)
        said.refreshed = [self._steps == 0]  # everything is new with a new instruction
        self._steps += 1
        said.latent = np.full((1, 1), self._seen % 2048, np.float16)
        return said
