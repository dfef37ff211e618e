"""What the expert would have done: labels for recorded states, and for states beside them.

A clone of the expert drifts off the states that the expert visits, and no record says what to do
there. The expert can be asked: recorded states are moved a little (tool, speed, now and then the
hand) and labelled by running the expert's law from them.

The hand needs it most. The expert closes it in the first step in which it may, so no record shows
an arm that has arrived and waits with an open hand; a clone that is late by one step then waits
there for ever, because each new chunk again puts the closing off to its second step.
"""

from dataclasses import replace

import numpy as np
from tandem.tools.train import ik
from tandem.tools.train.expert import BIN, BIN_XY, FULL_M, WIDTH_CUBE_M, WIDTH_OPEN_M, Cell, Expert

Array = np.ndarray
HORIZON = 16
_FAR_M, _NEAR_M, _HELD_M, _CLOSING_M = 0.03, 0.008, 0.015, 0.002
_SPEED_M_S = 0.05
_JOINT_RAD = 0.02  # in what the tool does not see
_LOWEST_M = 0.016
_OTHER_HAND = 0.06


def cells_of(demos: dict[str, Array]) -> Cell:
    """The recorded states of demonstrations as the expert sees them."""
    colour = demos["colour"].astype(int)
    cell = Cell(
        q=demos["q_cmd"],
        dq=demos["dq_cmd"],
        gripper=demos["gripper"],
        width=demos["width"],
        cube=demos["cubes"][np.arange(len(colour)), colour],
        drift=demos["drift"],
        task=demos["task"],
    )
    return replace(cell, **{k: np.asarray(v, float) for k, v in vars(cell).items()})


def rows_of(cell: Cell, rows: Array | slice) -> Cell:
    return Cell(**{k: v[rows] for k, v in vars(cell).items()})


def chunks_of(cell: Cell, horizon: int = HORIZON, block: int = 4096) -> Array:
    """[M, horizon, D + 1] float32 expert actions from each state."""
    expert = Expert()
    out = np.empty((len(cell.q), horizon, cell.q.shape[-1] + 1), np.float32)
    for i in range(0, len(out), block):
        out[i : i + block] = expert.imagine(rows_of(cell, slice(i, i + block)), horizon)
    return out


def beside(cell: Cell, rng: np.random.Generator, arm: ik.ArmModel | None = None) -> Cell:
    """Every state moved a little; by less the more exactly the moment needs to be met."""
    arm = arm or ik.load_arm()
    cell = hesitating(cell, rng, arm)
    tool, _, jacobian = ik.tool_jacobian(arm, cell.q)
    count = len(tool)
    reach = _reach(cell, tool) * rng.uniform(0.1, 1.6, count)
    move = rng.normal(0, 1, (count, 3)) * reach[:, None]
    move[:, 2] = np.maximum(move[:, 2], np.minimum(0.0, _LOWEST_M - tool[:, 2]))
    turn = np.zeros_like(move)
    inside = rng.normal(0, _JOINT_RAD, cell.q.shape) * (reach > _NEAR_M)[:, None]
    q = cell.q + _through(arm, cell.q, jacobian, np.concatenate([move, turn], -1), inside)
    push = rng.normal(0, _SPEED_M_S, (count, 3)) * np.minimum(1.0, reach / 0.02)[:, None]
    pace = np.where(rng.random(count) < 0.4, rng.uniform(0.0, 1.0, count), 1.0)
    dq = pace[:, None] * cell.dq + _through(
        arm, cell.q, jacobian, np.concatenate([push, turn], -1), 0 * inside
    )
    held = reach_held(cell, tool)
    cube = cell.cube + np.where(held, (ik.tool_pose(arm, q)[0] - tool).T, 0.0).T
    other = (reach > _NEAR_M) & ~held & (rng.random(count) < _OTHER_HAND)
    thin = np.where(rng.random(count) < 0.5, 0.002, 0.06)
    return replace(
        cell,
        q=q,
        dq=dq,
        cube=cube,
        gripper=np.where(other, 0.0, cell.gripper),
        width=np.where(other, thin, cell.width),
    )


def hesitating(cell: Cell, rng: np.random.Generator, arm: ik.ArmModel) -> Cell:
    """Half of the moments just after the hand has changed, as if it had not changed yet."""
    tool, _ = ik.tool_pose(arm, cell.q)
    away = np.linalg.norm(cell.cube - tool, axis=-1)
    chosen = rng.random(len(tool)) < 0.5
    closing = chosen & (cell.gripper < 0.5) & (cell.width > FULL_M[1]) & (away < 0.03)
    over_bin = np.hypot(*(tool[:, :2] - BIN_XY).T) < 0.03
    opening = chosen & (cell.gripper >= 0.5) & (cell.width < 0.07) & over_bin
    opening &= (cell.task == BIN) & (tool[:, 2] < 0.13)
    gripper = np.where(closing, 1.0, np.where(opening, 0.0, cell.gripper))
    width = np.where(closing, WIDTH_OPEN_M, np.where(opening, WIDTH_CUBE_M, cell.width))
    cube = np.where(opening[:, None], tool, cell.cube)
    return replace(cell, gripper=gripper, width=width, cube=cube)


def reach_held(cell: Cell, tool: Array) -> Array:
    """[M] bool: the cube is in the hand."""
    close = np.linalg.norm(cell.cube - tool, axis=-1) < 0.03
    full = (cell.width > FULL_M[0]) & (cell.width < FULL_M[1])
    return close & full & (cell.gripper < 0.5)


def _reach(cell: Cell, tool: Array) -> Array:
    """How far [M] m a state may be moved and still teach something true."""
    away = np.linalg.norm(cell.cube - tool, axis=-1)
    reach = np.clip(0.4 * away, _NEAR_M, _FAR_M)
    closing = (away < 0.03) & (cell.gripper < 0.5)
    reach = np.where(closing, _CLOSING_M, np.where(away < 0.02, 2 * _CLOSING_M, reach))
    return np.where(reach_held(cell, tool), _HELD_M, reach)


def _through(arm: ik.ArmModel, q: Array, jacobian: Array, twist: Array, free: Array) -> Array:
    """Joint motion [M, D] for a tool motion [M, 6], plus what of `free` leaves the tool alone."""
    mapped = ik.joint_velocity(arm, q, jacobian, twist, pull=0.0)
    seen = (jacobian @ free[..., None])[..., 0]
    return mapped + free - ik.joint_velocity(arm, q, jacobian, seen, pull=0.0)
