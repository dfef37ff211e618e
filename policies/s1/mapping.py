"""What a foreign policy calls its inputs, and what we have for them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tandem.policies.robot_state import StateVector
from tandem.runtime.errors import DeviceError
from tandem.runtime.interfaces import ArmSpec, Observation

_OPEN_WIDTH_M = 0.08


class Mapper:
    """Makes the map that a server wants, from `{their key: our source}`.

    Sources: `image/<camera>` ([H, W, 3] uint8), `instruction`, and of the state what
    policies/robot_state.py names, in the base frame. A key with dots or slashes stays as it is:
    openpi's keys have slashes.
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
        self._mapping = dict(mapping)
        self._vectors = {
            source: StateVector(source, f"mapping {key!r}", arm, open_width_m)
            for key, source in mapping.items()
            if source != "instruction" and not source.startswith("image/")
        }

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
        return self._vectors[source](obs.state).astype(np.float32)


def _image(camera: str, obs: Observation) -> np.ndarray:
    if camera not in obs.images:
        there = ", ".join(sorted(obs.images)) or "none"
        raise DeviceError(f"the policy needs camera {camera!r}; there: {there}")
    return np.ascontiguousarray(obs.images[camera].image)
