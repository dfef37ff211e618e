"""The learned System 2 at the table: it is shown the picture and nothing else."""

import numpy as np
from tandem.policies.memory.policy import MemoryPolicy
from tandem.policies.memory.subgoals import INSTRUCTION, WAIT, SubGoal
from tandem.tools.memory.minds import Look


class Learned:
    """A policy in the seat of a mind."""

    def __init__(self, policy: MemoryPolicy) -> None:
        self.policy = policy

    def begin(self, seconds: int, rng: np.random.Generator) -> None:
        self.policy.begin(INSTRUCTION.format(seconds), rng)
        self._was_free = False

    def decide(self, look: Look) -> SubGoal:
        self.policy.see(look.image(), look.t_s, handed_over=look.free and not self._was_free)
        self._was_free = look.free
        return self.policy.decide() if look.free else WAIT
