"""From what a policy says to what the arm does: any action space in, joint positions out.

Deltas are counted from the arm's set-point, never from where it was measured: an arm under load
stands a little below its set-point, and a chain of plans from there would sink with it.
"""

from dataclasses import dataclass

import numpy as np
from tandem.runtime.actions import checked
from tandem.runtime.errors import ConfigError, UnreachableError, WireError
from tandem.runtime.ik import InverseKinematics
from tandem.runtime.interfaces import ActionSpec, ArmSpec, Array
from tandem.runtime.rotations import from_quaternion, inverse, pose, to_matrix, to_numbers


@dataclass(frozen=True)
class Decoded:
    """`actions` [h, D + 1] rad and gripper 0 closed … 1 open; `short` says why h is less than H."""

    actions: Array
    short: str | None = None


class ActionSpace:
    """One policy's numbers on one arm."""

    def __init__(self, spec: ActionSpec, arm: ArmSpec) -> None:
        """
        Raises:
            ConfigError: the action space does not fit the arm, or the arm has no kinematics.
        """
        self.spec = checked(spec, arm.joint_names)
        self._joints = len(arm.joint_names)
        self._unit = np.array(spec.unit or (1.0,))
        self._tool, self._base = _frame(spec.tool), _frame(spec.base)
        self._ik: InverseKinematics | None = None
        if spec.kind.startswith("tool"):
            if not len(arm.mdh):
                raise ConfigError(
                    f"action: {spec.kind} needs the arm's kinematics, and the limits file of "
                    f"{arm.name} has no mdh rows"
                )
            self._ik = InverseKinematics(arm)

    def decode(self, raw: Array, q: Array) -> Decoded:
        """A plan [H, columns] made at the set-point `q` [D] rad; it ends where reach ends.

        Raises:
            UnreachableError: the arm cannot do even the first step.
            WireError: a rotation of it is none.
        """
        numbers = self._bounded(raw[:, :-1]) * self._unit
        gripper = self._opening(raw[:, -1])
        short = None
        match self.spec.kind:
            case "joint_position":
                joints = numbers
            case "joint_delta" if self.spec.since == "state":
                joints = q + numbers
            case "joint_delta":
                joints = q + np.cumsum(numbers, axis=0)
            case _:
                joints, short = self._solved(numbers, q)
        return Decoded(np.column_stack((joints, gripper[: len(joints)])), short)

    def encode(self, actions: Array, q: Array) -> Array:
        """The inverse: joint positions [H, D + 1] in the policy's own numbers, planned at `q`."""
        joints = actions[:, :-1]
        match self.spec.kind:
            case "joint_position":
                numbers = joints
            case "joint_delta" if self.spec.since == "state":
                numbers = joints - q
            case "joint_delta":
                numbers = np.diff(joints, axis=0, prepend=q[None])
            case _:
                numbers = self._told(joints, q)
        gripper = self.spec.gripper
        told = gripper.closed_at + actions[:, -1] * (gripper.open_at - gripper.closed_at)
        return np.column_stack((numbers / self._unit, told))

    # -- columns -----------------------------------------------------------------------------------

    def _bounded(self, numbers: Array) -> Array:
        """A step above the bound keeps its direction."""
        if self.spec.bound is None or not len(numbers):
            return numbers
        largest = abs(numbers).max(axis=1, keepdims=True)
        bounded: Array = numbers / np.maximum(largest / self.spec.bound, 1.0)
        return bounded

    def _opening(self, numbers: Array) -> Array:
        gripper = self.spec.gripper
        share = (numbers - gripper.closed_at) / (gripper.open_at - gripper.closed_at)
        opening: Array = np.clip(share, 0.0, 1.0)
        return np.where(opening >= 0.5, 1.0, 0.0) if gripper.binary else opening

    # -- tool --------------------------------------------------------------------------------------

    def _pose_at(self, q: Array) -> Array:
        """[4, 4] of the policy's tool in the policy's base."""
        assert self._ik is not None
        told: Array = inverse(self._base) @ self._ik.pose(q) @ self._tool
        return told

    def _solved(self, numbers: Array, q: Array) -> tuple[Array, str | None]:
        assert self._ik is not None
        start = now = self._pose_at(q)
        joints = np.empty((len(numbers), self._joints))
        back = inverse(self._tool)
        for i, row in enumerate(numbers):
            now = self._target(row, start if self.spec.since == "state" else now)
            try:
                q = joints[i] = self._ik.solve(self._base @ now @ back, q)
            except UnreachableError as error:
                if i == 0:
                    raise
                return joints[:i], f"step {i + 1} of {len(numbers)}: {error}"
        return joints, None

    def _target(self, row: Array, before: Array) -> Array:
        """[4, 4] pose of the policy's tool that one action wants."""
        try:
            turn = to_matrix(row[3:], self.spec.rotation)
        except ValueError as error:
            raise WireError(f"an action's rotation is none: {error}") from error
        if self.spec.kind == "tool_pose":
            return pose(row[:3], turn)
        if self.spec.frame == "tool":
            moved: Array = before @ pose(row[:3], turn)
            return moved
        return pose(before[:3, 3] + row[:3], turn @ before[:3, :3])

    def _told(self, joints: Array, q: Array) -> Array:
        before, rows = self._pose_at(q), []
        for target in joints:
            now = self._pose_at(target)
            rows.append(self._numbers(now, before))
            before = now if self.spec.since == "step" else before
        return np.array(rows).reshape(len(joints), len(self.spec.names) - 1)

    def _numbers(self, now: Array, before: Array) -> Array:
        if self.spec.kind == "tool_pose":
            step = now
        elif self.spec.frame == "tool":
            step = inverse(before) @ now
        else:
            step = pose(now[:3, 3] - before[:3, 3], now[:3, :3] @ before[:3, :3].T)
        return np.concatenate((step[:3, 3], to_numbers(step[:3, :3], self.spec.rotation)))


def space_of(spec: ActionSpec, arm: ArmSpec) -> ActionSpace | None:
    """None where the policy says what the executor takes, so nothing is to be done.

    Raises:
        ConfigError: the action space does not fit the arm.
    """
    space = ActionSpace(spec, arm)
    return None if spec == ActionSpec(spec.names) else space


def _frame(numbers: tuple[float, ...] | None) -> Array:
    if numbers is None:
        return np.eye(4)
    try:
        return pose(np.array(numbers[:3]), from_quaternion(np.array(numbers[3:])))
    except ValueError as error:
        raise ConfigError(f"action: tool or base: {error}") from error
