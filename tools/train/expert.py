"""The scripted expert: what to do next, seen from any state of the cell.

It is a feedback law without memory of its own, so it can take over anywhere: after a disturbance,
in the middle of someone else's motion, or from a state that only a policy under training would
reach. And it is batched, so that `imagine` labels any number of recorded states with the chunk of
actions that the expert would have taken from there, by running the law against a small model of
the gripper and the cube.
"""

from dataclasses import dataclass, replace

import numpy as np
from tandem.drivers.sim import scene
from tandem.tools.train import ik
from tandem.tools.train.reach import STEP_S, Reach, funnel, rise_first, velocity_towards

Array = np.ndarray
PICK, BIN = 0, 1
GRASP_BELOW_CENTRE_M = 0.002
CLOSE_XY_M, CLOSE_Z_M = 0.008, 0.008
AROUND_M = 0.024  # the cube is between the fingers
FULL_M = (0.034, 0.0535)  # finger widths that mean: a cube is in the hand
OPEN_M = 0.062  # wide enough to go down around a cube
LIFT_Z_M = 0.25
CARRY_Z_M = 0.20
RELEASE_Z_M = 0.095
PUT_DOWN_Z_M = 0.026
RETREAT_Z_M = 0.32
BIN_XY = np.array(scene.BIN_CENTRE_M)
BIN_HALF = np.array(scene.BIN_HALF_M)
WIDTH_OPEN_M, WIDTH_CUBE_M = 0.08, 2 * scene.CUBE_HALF_M
FINGERS_M_S = 0.1  # of the width, both ways


@dataclass(frozen=True)
class Cell:
    """What the expert looks at; every field has the same leading dimension [B]."""

    q: Array  # [B, D] rad, commanded
    dq: Array  # [B, D] rad/s, commanded
    gripper: Array  # [B] commanded, 0 closed … 1 open
    width: Array  # [B] m
    cube: Array  # [B, 3] m, centre of the cube that is asked for
    drift: Array  # [B, 3] m/s, how it moves while it lies on the table
    task: Array  # [B] PICK or BIN


@dataclass(frozen=True)
class Move:
    """The command one step later."""

    q: Array  # [B, D] rad
    dq: Array  # [B, D] rad/s
    gripper: Array  # [B]


@dataclass(frozen=True)
class _Phase:
    held: Array
    foreign: Array  # something else is in the hand
    binned: Array  # the work is done: the cube is in the bin, out of the hand
    closing: Array


class Expert:
    """Gripper down, funnel approach, close, lift; for BIN also carry, lower, release, retreat."""

    def __init__(self, arm: ik.ArmModel | None = None) -> None:
        self.arm = arm or ik.load_arm()

    def step(self, cell: Cell, push_m_s: Array | None = None) -> Move:
        """The command one step ahead; `push_m_s` [B, 3] is added to the wanted tool velocity."""
        reach = Reach(self.arm, cell.q, cell.dq)
        goal, gripper, gate = self._goal(cell, reach.tool)
        wanted = velocity_towards(goal - reach.tool, gate)
        wanted[:, :2] += np.where(_on_table(cell), cell.drift[:, :2].T, 0.0).T
        if push_m_s is not None:
            wanted = wanted + push_m_s
        q, dq = reach.follow(wanted)
        return Move(q, dq, gripper)

    def imagine(self, cell: Cell, steps: int) -> Array:
        """Actions [B, steps, D + 1]: the law run against a model of the gripper and the cube."""
        actions = np.empty((*cell.width.shape, steps, cell.q.shape[-1] + 1))
        for i in range(steps):
            move = self.step(cell)
            actions[:, i, :-1], actions[:, i, -1] = move.q, move.gripper
            cell = self._advance(cell, move)
        return actions

    def _goal(self, cell: Cell, tool: Array) -> tuple[Array, Array, Array]:
        """Tool goal [B, 3], gripper command [B], and what share of the sideways speed is allowed
        [B].
        """
        phase = _phase(cell, tool)
        goal, gripper, gate = _approach(cell, tool)
        ready = (np.hypot(*(cell.cube - tool)[:, :2].T) < CLOSE_XY_M) & (
            np.abs(tool[:, 2] - cell.cube[:, 2] + GRASP_BELOW_CENTRE_M) < CLOSE_Z_M
        )
        close = phase.closing | (ready & (cell.gripper >= 0.5) & (cell.width > OPEN_M))
        gripper = np.where(close, 0.0, gripper)
        at_grasp = cell.cube - [0.0, 0.0, GRASP_BELOW_CENTRE_M]
        goal, gate = _choose(close, (at_grasp, 1.0), (goal, gate))
        for mask, (new_goal, new_gripper, new_gate) in (
            (phase.foreign, _put_down(tool)),
            (phase.held & (cell.task == PICK), _lift(tool)),
            (phase.held & (cell.task == BIN), _carry(tool)),
            (phase.binned & (cell.task == BIN), _retreat(tool)),
        ):
            goal, gate = _choose(mask, (new_goal, new_gate), (goal, gate))
            gripper = np.where(mask, new_gripper, gripper)
        return goal, gripper, gate

    def _advance(self, cell: Cell, move: Move) -> Cell:
        """One step of the model: fingers at constant speed, a held cube moves with the tool."""
        before, _ = ik.tool_pose(self.arm, cell.q)
        after, _ = ik.tool_pose(self.arm, move.q)
        phase = _phase(cell, before)
        around = _around(cell.cube - before)
        stop = np.where(around | phase.foreign, WIDTH_CUBE_M, 0.0)
        closed = np.maximum(np.minimum(cell.width, stop), cell.width - FINGERS_M_S * STEP_S)
        opened = np.minimum(WIDTH_OPEN_M, cell.width + FINGERS_M_S * STEP_S)
        width = np.where(move.gripper < 0.5, np.maximum(closed, stop), opened)
        cube = cell.cube + np.where(phase.held, (after - before).T, 0.0).T
        cube = cube + STEP_S * np.where(_on_table(cell) & ~phase.held, cell.drift.T, 0.0).T
        released = phase.held & (move.gripper >= 0.5)
        cube[:, 2] = np.where(released, scene.cube_z_m(), cube[:, 2])
        return replace(cell, q=move.q, dq=move.dq, gripper=move.gripper, width=width, cube=cube)


def _phase(cell: Cell, tool: Array) -> _Phase:
    offset = cell.cube - tool
    closed = cell.gripper < 0.5
    full = (cell.width > FULL_M[0]) & (cell.width < FULL_M[1])
    around = _around(offset)
    far = np.linalg.norm(offset, axis=-1) > 2 * AROUND_M
    held = closed & full & around
    inside = (np.abs(cell.cube[:, :2] - BIN_XY) < BIN_HALF - 0.01).all(axis=-1)
    return _Phase(
        held=held,
        foreign=closed & full & far,
        binned=inside & ~held,
        closing=closed & around & (cell.width >= FULL_M[1]),
    )


def _around(offset: Array) -> Array:
    return (np.hypot(*offset[:, :2].T) < AROUND_M) & (np.abs(offset[:, 2]) < AROUND_M)


def _on_table(cell: Cell) -> Array:
    return cell.cube[:, 2] < 2 * scene.CUBE_HALF_M


def _approach(cell: Cell, tool: Array) -> tuple[Array, Array, Array]:
    away = np.hypot(*(cell.cube - tool)[:, :2].T)
    goal = cell.cube - [0.0, 0.0, GRASP_BELOW_CENTRE_M]
    height = funnel(away)
    # Fingers that are still opening would land on the cube.
    height = np.where(cell.width < OPEN_M, np.maximum(height, 0.06), height)
    goal[:, 2] += height
    return goal, np.ones(len(tool)), rise_first(tool[:, 2], goal[:, 2])


def _lift(tool: Array) -> tuple[Array, Array, Array]:
    goal = tool.copy()
    goal[:, 2] = LIFT_Z_M
    return goal, np.zeros(len(tool)), np.ones(len(tool))


def _carry(tool: Array) -> tuple[Array, Array, Array]:
    away = np.hypot(*(BIN_XY - tool[:, :2]).T)
    height = np.clip((away - 0.02) * 2.0, 0.0, CARRY_Z_M - RELEASE_Z_M)
    goal = np.concatenate(
        [np.broadcast_to(BIN_XY, (len(tool), 2)), RELEASE_Z_M + height[:, None]], axis=-1
    )
    there = (away < 0.02) & (tool[:, 2] < RELEASE_Z_M + 0.012)
    return goal, there.astype(float), rise_first(tool[:, 2], goal[:, 2])


def _put_down(tool: Array) -> tuple[Array, Array, Array]:
    """Whatever is in the hand, lay it where the hand is."""
    over_bin = (np.abs(tool[:, :2] - BIN_XY) < BIN_HALF + 0.05).all(axis=-1)
    goal = tool.copy()
    goal[:, 2] = np.where(over_bin, RELEASE_Z_M, PUT_DOWN_Z_M)
    down = tool[:, 2] < goal[:, 2] + 0.008
    return goal, down.astype(float), np.ones(len(tool))


def _retreat(tool: Array) -> tuple[Array, Array, Array]:
    goal = tool.copy()
    goal[:, 2] = RETREAT_Z_M
    return goal, np.ones(len(tool)), np.ones(len(tool))


def _choose(
    mask: Array, yes: tuple[Array, Array | float], no: tuple[Array, Array]
) -> tuple[Array, Array]:
    return np.where(mask[:, None], yes[0], no[0]), np.where(mask, yes[1], no[1])
