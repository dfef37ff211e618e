"""What a foreign policy calls its inputs, and what we have for them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tandem.runtime.errors import ConfigError, DeviceError
from tandem.runtime.interfaces import ArmSpec, Observation
from tandem.runtime.kinematics import Chain
from tandem.runtime.messages import RobotState
from tandem.runtime.rotations import WIDTH, to_numbers

_JOINTS = ("q", "dq", "q_cmd", "degrees")
_HAND = ("width_m", "opening", "closing", "percent")
_TURNS = {f"tool_{notation}": notation for notation in WIDTH}
_TOOL = ("tool_position", *_TURNS)
_PARTS = (*_JOINTS, *_HAND, *_TOOL)
_OPEN_WIDTH_M = 0.08


class Mapper:
    """Makes the map that a server wants, from `{their key: our source}`.

    Sources: `image/<camera>` ([H, W, 3] uint8), `instruction`, and of the state, alone or joined
    into one vector with `+` as in `q+opening`: `q`, `dq`, `q_cmd`, `degrees` ([D]); `width_m`,
    `opening`, `closing` (0 … 1 of the hand's width) and `percent` ([1]); `tool_position` (m),
    `tool_rotvec`, `tool_rpy`, `tool_quat_xyzw`, `tool_quat_wxyz`, `tool_rot6d`, where it was
    measured to be in the base frame. A key with dots or slashes stays as it is: openpi's keys have
    slashes.
    """

    def __init__(
        self,
        mapping: Mapping[str, str],
        open_width_m: float = _OPEN_WIDTH_M,
        arm: ArmSpec | None = None,
    ) -> None:
        """`open_width_m`: of the open hand. `arm`: for the tool's sources.

        Raises:
            ConfigError: a source that does not exist, or a tool of an arm without kinematics.
        """
        self._mapping, self._open_width_m = dict(mapping), open_width_m
        blind = arm is None or not len(arm.mdh)
        self._chain = None if arm is None or blind else Chain(arm.mdh, arm.pose_tool_in_flange)
        for key, source in self._mapping.items():
            if source == "instruction" or source.startswith("image/"):
                continue
            for part in source.split("+"):
                if part not in _PARTS:
                    known = ", ".join(("image/<camera>", "instruction", *_PARTS))
                    raise ConfigError(f"mapping {key!r}: no source {part!r}; there are {known}")
                if part in _TOOL and self._chain is None:
                    raise ConfigError(
                        f"mapping {key!r}: the limits file has no mdh rows for {part}"
                    )

    def observation(self, obs: Observation, instruction: str) -> dict[str, Any]:
        """
        Raises:
            DeviceError: a camera or the state that the mapping needs is not there.
        """
        return {key: self._value(source, obs, instruction) for key, source in self._mapping.items()}

    def _value(self, source: str, obs: Observation, instruction: str) -> Any:
        if source == "instruction":
            return instruction
        if source.startswith("image/"):
            return _image(source.removeprefix("image/"), obs)
        if obs.state is None:
            raise DeviceError(f"the policy needs {source!r}, and there is no robot state yet")
        parts = [self._part(part, obs.state) for part in source.split("+")]
        return np.concatenate(parts).astype(np.float32)

    def _part(self, part: str, state: RobotState) -> np.ndarray:
        if part in _TOOL and self._chain is not None:
            pose = self._chain.update(state.q).pose
            if part == "tool_position":
                return pose[:3, 3].copy()
            return to_numbers(pose[:3, :3], _TURNS[part])
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
        return np.asarray(getattr(state, part))


def _image(camera: str, obs: Observation) -> np.ndarray:
    if camera not in obs.images:
        there = ", ".join(sorted(obs.images)) or "none"
        raise DeviceError(f"the policy needs camera {camera!r}; there: {there}")
    return np.ascontiguousarray(obs.images[camera].image)
