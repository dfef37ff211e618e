"""What a client sets before it moves: load, thresholds, stiffness; and what of it is refused."""

import math
import struct

import numpy as np

_RANGES = {
    "SetJointImpedance": (0.0, 14250.0),  # Nm/rad
    "SetCollisionBehavior": (0.0, math.inf),  # Nm, N
    "SetLoad": (0.0, 20.0),  # kg
}


class Settings:
    """`told` keeps the newest numbers of every request, by its name."""

    def __init__(self) -> None:
        self.told: dict[str, list[float]] = {}

    def take(self, name: str, payload: bytes, state: np.ndarray) -> str:
        """Take a request's numbers, into the robot's `state` where it shows them; a status word."""
        if name == "SetGuidingMode":
            return "Success"
        values = struct.unpack(f"<{len(payload) // 8}d", payload)
        low, high = _RANGES.get(name, (-math.inf, math.inf))
        counted = values[:1] if name == "SetLoad" else values
        finite = all(math.isfinite(value) for value in values)
        if not finite or not all(low <= value <= high for value in counted):
            return "InvalidArgument"
        self.told[name] = list(values)
        match name:
            case "SetLoad":
                state["m_load"], state["F_x_Cload"], state["I_load"] = (
                    values[0], values[1:4], values[4:]
                )  # fmt: skip
            case "SetEEToK":
                state["EE_T_K"] = values
            case "SetNEToEE":
                state["NE_T_EE"] = values
        return "Success"
