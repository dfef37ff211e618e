"""What a foreign policy calls its inputs, and what we have for them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tandem.runtime.errors import ConfigError, DeviceError
from tandem.runtime.interfaces import Observation
from tandem.runtime.messages import RobotState

_STATE = (
    "q",
    "dq",
    "q_cmd",
    "width_m",
    "opening",
    "closing",
    "q+opening",
    "q+closing",
    "q+width_m",
)
_OPEN_WIDTH_M = 0.08


class Mapper:
    """Makes the map that a server wants, from `{their key: our source}`.

    Sources: `image/<camera>` ([H, W, 3] uint8), `instruction`, `q`, `dq`, `q_cmd` ([D]), `width_m`,
    `opening` and `closing` ([1], 0 … 1 of the hand's width), and `q+opening`, `q+closing`,
    `q+width_m` ([D + 1]). A key with dots or slashes stays as it is: openpi's keys have slashes.
    """

    def __init__(self, mapping: Mapping[str, str], open_width_m: float = _OPEN_WIDTH_M) -> None:
        """`open_width_m`: of the open hand.

        Raises:
            ConfigError: a source that does not exist.
        """
        self._mapping, self._open_width_m = dict(mapping), open_width_m
        for key, source in self._mapping.items():
            if source not in (*_STATE, "instruction") and not source.startswith("image/"):
                known = ", ".join(("image/<camera>", "instruction", *_STATE))
                raise ConfigError(f"mapping {key!r}: no source {source!r}; there are {known}")

    def observation(self, obs: Observation, instruction: str) -> dict[str, Any]:
        """
        Raises:
            DeviceError: a camera or the state that the mapping needs is not there.
        """
        return {
            key: _value(source, obs, instruction, self._open_width_m)
            for key, source in self._mapping.items()
        }


def _value(source: str, obs: Observation, instruction: str, open_width_m: float) -> Any:
    if source == "instruction":
        return instruction
    if source.startswith("image/"):
        camera = source.removeprefix("image/")
        if camera not in obs.images:
            there = ", ".join(sorted(obs.images)) or "none"
            raise DeviceError(f"the policy needs camera {camera!r}; there: {there}")
        return np.ascontiguousarray(obs.images[camera].image)
    if obs.state is None:
        raise DeviceError(f"the policy needs {source!r}, and there is no robot state yet")
    return np.concatenate([_state(part, obs.state, open_width_m) for part in source.split("+")])


def _state(source: str, state: RobotState, open_width_m: float) -> np.ndarray:
    opening = float(np.clip(state.width_m / open_width_m, 0.0, 1.0))
    match source:
        case "q" | "dq" | "q_cmd":
            return np.asarray(getattr(state, source), np.float32)
        case "width_m":
            return np.array([state.width_m], np.float32)
        case "opening":
            return np.array([opening], np.float32)
        case "closing":
            return np.array([1.0 - opening], np.float32)
    raise ConfigError(f"no source {source!r}")
