"""The cell with cubes, driven in steps of the policy and seen as the expert sees it."""

import numpy as np
from tandem.drivers.sim.world import World
from tandem.tools.train.expert import Cell, Move
from tandem.tools.train.motion import Motion


class Drive(Motion):
    """The arm's motion, in a world with cubes."""

    def __init__(self, world: World) -> None:
        self.world = world
        super().__init__(world)

    def follow(self, move: Move) -> None:
        """`move` of the expert, batch of one."""
        self.move(move.q[0], move.dq[0], float(move.gripper[0]))

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
