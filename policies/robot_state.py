"""The arm's state as the vector that somebody's policy was trained on, by names of its parts.

Alone or joined with `+`, as in `q+opening`: `q`, `dq`, `q_cmd`, `degrees` ([D]); of the hand
`width_m`, `opening`, `closing` (0 … 1 of its width), `percent` ([1]) and `fingers` ([2], m: its two
joints as robosuite and MuJoCo count them, the second one negative); of the tool, where it was
measured, `tool_position` (m), `tool_rotvec`, `tool_rpy`, `tool_quat_xyzw`, `tool_quat_wxyz`,
`tool_rot6d`.
"""

from collections.abc import Sequence

import numpy as np
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import ArmSpec, Array
from tandem.runtime.kinematics import Chain
from tandem.runtime.messages import RobotState
from tandem.runtime.rotations import WIDTH, from_quaternion, inverse, pose, to_numbers

_JOINTS = ("q", "dq", "q_cmd", "degrees")
_HAND = {"width_m": 1, "opening": 1, "closing": 1, "percent": 1, "fingers": 2}
_TURNS = {f"tool_{notation}": notation for notation in WIDTH}
_TOOL = {"tool_position": 3, **{part: WIDTH[turn] for part, turn in _TURNS.items()}}
PARTS = (*_JOINTS, *_HAND, *_TOOL)
_OPEN_WIDTH_M = 0.08


class StateVector:
    """Parts of the state, one after the other."""

    def __init__(
        self,
        parts: str,
        whose: str,
        arm: ArmSpec | None = None,
        open_width_m: float = _OPEN_WIDTH_M,
        tool: Sequence[float] | None = None,
        base: Sequence[float] | None = None,
    ) -> None:
        """whose: the key in the configuration, for who reads an error. arm: for the tool's parts.

        tool, base: of the policy's own frames in ours, position m and quaternion xyzw, as in
        `ActionSpec`; None: the same.

        Raises:
            ConfigError: a part that does not exist, or a tool of an arm without kinematics.
        """
        self.parts = tuple(part.strip() for part in parts.split("+"))
        self._arm, self._open_width_m = arm, open_width_m
        blind = arm is None or not len(arm.mdh)
        self._chain = None if arm is None or blind else Chain(arm.mdh, arm.pose_tool_in_flange)
        self._tool, self._back = _frame(tool, whose), inverse(_frame(base, whose))
        for part in self.parts:
            if part not in PARTS:
                raise ConfigError(
                    f"{whose}: no source {part!r}; of the state there are {', '.join(PARTS)}"
                )
            if part in _TOOL and self._chain is None:
                raise ConfigError(f"{whose}: the limits file has no mdh rows for {part}")

    def columns(self) -> list[str]:
        """The part that each number belongs to; needs an arm."""
        assert self._arm is not None
        widths = dict.fromkeys(_JOINTS, len(self._arm.joint_names)) | _HAND | _TOOL
        return [part for part in self.parts for _ in range(widths[part])]

    def __call__(self, state: RobotState) -> Array:
        """[n] float64."""
        numbers: Array = np.concatenate([self._part(part, state) for part in self.parts])
        return numbers

    def _part(self, part: str, state: RobotState) -> Array:
        if part in _TOOL:
            return self._of_tool(part, state)
        opening = float(np.clip(state.width_m / self._open_width_m, 0.0, 1.0))
        match part:
            case "degrees":
                return np.degrees(state.q)
            case "width_m":
                return np.array([state.width_m])
            case "opening":
                return np.array([opening])
            case "closing":
                return np.array([1.0 - opening])
            case "percent":
                return np.array([100.0 * opening])
            case "fingers":
                return np.array([0.5, -0.5]) * state.width_m
        return np.asarray(getattr(state, part))

    def _of_tool(self, part: str, state: RobotState) -> Array:
        assert self._chain is not None
        there = self._back @ self._chain.update(state.q).pose @ self._tool
        if part == "tool_position":
            return there[:3, 3].copy()
        return to_numbers(there[:3, :3], _TURNS[part])


def _frame(numbers: Sequence[float] | None, whose: str) -> Array:
    """[4, 4]."""
    if numbers is None:
        return np.eye(4)
    try:
        return pose(np.array(numbers[:3], float), from_quaternion(np.array(numbers[3:], float)))
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{whose}: a frame is x, y, z in m and a quaternion xyzw, not {numbers} ({error})"
        ) from error
