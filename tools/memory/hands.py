"""System 1 of the memory tasks, scripted: one sub-goal at a time, from where the cans are.

It reaches as the expert of `tools/train` does: the same kinematics, the same accelerations, the
same commands between which the executor interpolates. A sub-goal that cannot be followed (nothing
to grasp there, something in the way) is refused, and the hands are free for another.
"""

from collections.abc import Iterator

import numpy as np
from tandem.drivers.sim import kitchen_scene as cell
from tandem.drivers.sim import panda
from tandem.drivers.sim.kitchen import Kitchen
from tandem.policies.memory.subgoals import BURNER, WAIT, SubGoal
from tandem.tools.train import ik
from tandem.tools.train.motion import Motion
from tandem.tools.train.reach import (
    FUNNEL_HEIGHT_M,
    JOINT_ACCELERATION_RAD_S2,
    Reach,
    funnel,
    rise_first,
    velocity_towards,
)

Array = np.ndarray
Command = tuple[Array, Array, float]  # q, dq [D], gripper

GRASP_ABOVE_CENTRE_M = 0.015  # so that the palm clears the can
NEAR_PLACE_M = 0.05
_THERE_M = 0.006
_CARRY_M = 0.14  # above where it is going, so that a held can clears the others
_LIFT_M = 0.12
_FLY_Z_M = 0.25  # from here on the way home is free
_OPEN, _AROUND, _GRIP = 1.0, 0.75, 0.42  # gripper: wide, just clear of a can, tight around it
_CAN_WIDTH_M = 2 * cell.CAN_HALF_M[1]
_CLEAR_M = 0.006  # fingers let go
_PATIENCE_STEPS = 12
_HOME_GAIN_1_S, _HOME_RAD_S = 5.0, 1.2


def place_xy(place: int) -> Array:
    """[2] m of a taught place."""
    return np.array(cell.BURNER_M if place == BURNER else cell.PLACES_M[place])


class Hands:
    """Arm and hand of one kitchen, in steps of STEP_S."""

    def __init__(self, kitchen: Kitchen, arm: ik.ArmModel | None = None) -> None:
        self.kitchen = kitchen
        self.arm = arm or ik.load_arm()
        self.begin()

    def begin(self) -> None:
        """Free, at rest where the arm is."""
        self._motion = Motion(self.kitchen)
        self._plan()
        self._doing: Iterator[Command] | None = None

    @property
    def free(self) -> bool:
        return self._doing is None

    @property
    def holding(self) -> bool:
        """Closed around something as wide as a can."""
        closed = self._motion.gripper < 0.5
        return closed and abs(self.kitchen.width_m - _CAN_WIDTH_M) < _CLEAR_M

    def take_up(self, goal: SubGoal) -> None:
        """Begin a sub-goal; only when free."""
        assert self.free, "one sub-goal at a time"
        if goal != WAIT and self._possible(goal):
            self._doing = self._grasp(goal) if goal.verb == "grasp" else self._place(goal)

    def step(self) -> None:
        """STEP_S of whatever there is to do; at rest if nothing."""
        command = None if self._doing is None else next(self._doing, None)
        if command is None:
            self._doing = None
            command = self._bend(np.zeros(panda.DOF), self._motion.gripper)
        self._motion.move(*command)
        self._plan()

    def _plan(self) -> None:
        self._reach = Reach(self.arm, self._motion.q[None], self._motion.dq[None])

    def _possible(self, goal: SubGoal) -> bool:
        occupied = self._can_at(goal) is not None
        return occupied and not self.holding if goal.verb == "grasp" else self._can_put(goal)

    def _can_put(self, goal: SubGoal) -> bool:
        if not self.holding:
            return False
        held = self._held()
        others = [c for c in range(len(cell.CANS)) if c != held]
        assert goal.place is not None
        cans = self.kitchen.truth().cans[others, :2]
        return bool((np.hypot(*(cans - place_xy(goal.place)).T) > 2 * NEAR_PLACE_M).all())

    def _can_at(self, goal: SubGoal) -> int | None:
        """Which can stands at a sub-goal's place, if any."""
        assert goal.place is not None
        away = np.hypot(*(self.kitchen.truth().cans[:, :2] - place_xy(goal.place)).T)
        nearest = int(away.argmin())
        return nearest if away[nearest] < NEAR_PLACE_M else None

    def _held(self) -> int:
        tool = self.kitchen.tool_pose()[:3, 3]
        return int(np.linalg.norm(self.kitchen.truth().cans - tool, axis=1).argmin())

    # -- the two skills ---------------------------------------------------------------------------

    def _grasp(self, goal: SubGoal) -> Iterator[Command]:
        can = self._can_at(goal)
        assert can is not None
        around = np.add(self.kitchen.truth().cans[can], (0.0, 0.0, GRASP_ABOVE_CENTRE_M))
        while not self._there(around):
            yield self._towards(around, _OPEN)
        for _ in range(_PATIENCE_STEPS):
            yield self._towards(around, _GRIP)
            if self.kitchen.width_m < _CAN_WIDTH_M + 0.001:
                break
        up = np.add(around, (0.0, 0.0, _LIFT_M))
        while not self._there(up, sideways=False):
            yield self._towards(up, _GRIP)

    def _place(self, goal: SubGoal) -> Iterator[Command]:
        assert goal.place is not None
        burner = goal.place == BURNER
        standing = cell.standing_z_m(burner)
        x, y = place_xy(goal.place)
        drop = self._tool[2] - self.kitchen.truth().cans[self._held(), 2]
        down = np.array([x, y, standing + drop])
        while not self._there(down):
            yield self._towards(down, _GRIP, clear_m=_CARRY_M)
        opening = _AROUND if burner else _OPEN
        for _ in range(_PATIENCE_STEPS):
            yield self._towards(down, opening)
            if self.kitchen.width_m > _CAN_WIDTH_M + _CLEAR_M * (1 if burner else 2):
                break
        if not burner:
            yield from self._go_home(down)

    def _go_home(self, here: Array) -> Iterator[Command]:
        up = np.array([*here[:2], _FLY_Z_M])
        while not self._there(up, sideways=False):
            yield self._towards(up, _OPEN)
        while np.abs(self._motion.q - panda.HOME_Q_RAD).max() > 1e-3:
            yield self._bend(_homeward(self._motion.q), _OPEN)

    # -- commands ---------------------------------------------------------------------------------

    @property
    def _tool(self) -> Array:
        """[3] m where the tool is commanded to be."""
        return self._reach.tool[0]

    def _there(self, goal: Array, sideways: bool = True) -> bool:
        """At a goal [3], exactly; or nearly as high as it, wherever else."""
        offset = self._tool - goal
        if not sideways:
            return bool(offset[2] > -_THERE_M * 5)
        return bool(abs(offset[2]) < _THERE_M / 4 and np.hypot(*offset[:2]) < _THERE_M)

    def _towards(self, goal: Array, gripper: float, clear_m: float = FUNNEL_HEIGHT_M) -> Command:
        """A step of the tool towards `goal` [3], from above."""
        tool = self._reach.tool
        over = np.array(goal)[None].copy()
        over[:, 2] += funnel(np.hypot(*(goal - tool[0])[:2]), clear_m)
        wanted = velocity_towards(over - tool, rise_first(tool[:, 2], over[:, 2]))
        q, dq = self._reach.follow(wanted)
        return q[0], dq[0], gripper

    def _bend(self, wanted_rad_s: Array, gripper: float) -> Command:
        q, dq = self._reach.bend(wanted_rad_s[None])
        return q[0], dq[0], gripper


def _homeward(q: Array) -> Array:
    """Joint velocity [D] that ends at home without overshoot."""
    way = panda.HOME_Q_RAD - q
    far = float(np.abs(way).max())
    braking = np.sqrt(JOINT_ACCELERATION_RAD_S2 * far)
    return way / far * min(_HOME_GAIN_1_S * far, braking, _HOME_RAD_S)
