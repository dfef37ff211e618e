"""The simulated cell driven in steps of the policy, in lockstep and without the runtime.

The command between two steps is the cubic through positions and velocities, which is what an
executor with transparent limits makes of the same chunk.
"""

import numpy as np
from tandem.drivers.sim.world import World
from tandem.tools.train.expert import STEP_S, Cell, Move

Array = np.ndarray


class Drive:
    """Holds the commanded state of the arm and moves the world from one command to the next."""

    def __init__(self, world: World) -> None:
        self.world = world
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
        self._run(_hermite(self.q, self.dq, q, dq, s), gripper)
        self.q, self.dq, self.gripper = np.array(q), np.array(dq), float(gripper)

    def follow(self, move: Move) -> None:
        """`move` of the expert, batch of one."""
        self.move(move.q[0], move.dq[0], float(move.gripper[0]))

    def _run(self, knots: tuple[Array, Array, Array], gripper: float) -> None:
        self.world.run(*knots, np.full(self._samples, gripper))

    def cell(self, colour: str, task: int) -> Cell:
        """What the expert looks at, batch of one."""
        drift = np.zeros((1, 3))
        drift[0, :2] = self.world.slides.get(colour, 0.0)
        return Cell(
            q=self.q[None],
            dq=self.dq[None],
            gripper=np.array([self.gripper]),
            width=np.array([self.world.width_m]),
            cube=self.world.cube_position(colour)[None],
            drift=drift,
            task=np.array([task]),
        )


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
