"""A simulated arm driven in steps of the policy, in lockstep and without the runtime.

The command between two steps is the cubic through positions and velocities, which is what an
executor with transparent limits makes of the same chunk.
"""

import numpy as np
from tandem.drivers.sim.arm_world import ArmWorld
from tandem.tools.train.reach import STEP_S

Array = np.ndarray


class Motion:
    """Holds the commanded state of the arm and moves the world from one command to the next."""

    def __init__(self, world: ArmWorld) -> None:
        self._moved = world
        self._samples = round(STEP_S / world.step_s)
        self.start(world.q)

    def start(self, q: Array, gripper: float = 1.0) -> None:
        """At rest at `q` [D] from now on."""
        self.q = np.array(q, dtype=float)
        self.dq = np.zeros_like(self.q)
        self.gripper = gripper

    def move(self, q: Array, dq: Array, gripper: float) -> None:
        """Run one step (STEP_S) to the command `q`, `dq` [D]."""
        s = np.arange(1, self._samples + 1)[:, None] / self._samples
        knots = _hermite(self.q, self.dq, q, dq, s)
        self._moved.run(*knots, np.full(self._samples, gripper))
        self.q, self.dq, self.gripper = np.array(q), np.array(dq), float(gripper)


def _hermite(q0: Array, dq0: Array, q1: Array, dq1: Array, s: Array) -> tuple[Array, Array, Array]:
    """Position, velocity and acceleration of the cubic at phases s [N, 1] in 0…1 of STEP_S."""
    t, v0, v1 = STEP_S, dq0 * STEP_S, dq1 * STEP_S
    c2 = 3 * (q1 - q0) - 2 * v0 - v1
    c3 = 2 * (q0 - q1) + v0 + v1
    return (
        q0 + s * (v0 + s * (c2 + s * c3)),
        (v0 + s * (2 * c2 + 3 * c3 * s)) / t,
        (2 * c2 + 6 * c3 * s) / t**2,
    )
