"""Picking a cube by nothing but keys: as a person at a terminal does, with eyes on the scene.

Approach from above, turn the fingers along the cube, go down, close, lift. Each move is a key held
for as long as the way takes, and shorter ones until it is right.
"""

import time

import numpy as np
import pytest
from tandem.drivers.sim.scene import cube_z_m
from tandem.runtime import arm_file, config
from tandem.runtime.kinematics import Chain
from tandem.tools.evaluate.truth import LIFTED_M, Truth, sample
from tandem.tools.faults.rig import Rig

from tests.tools.teleop_terminal import Operator

pytestmark = [pytest.mark.process, pytest.mark.timeout(150)]
M_S, RAD_S = 0.2, 0.8
KEYS = {"x": "ws", "y": "ad", "z": "rf", "yaw": "jl"}
SPEC = arm_file.load(config.PACKAGED / "limits" / "panda.yaml").spec


class Picker:
    """Eyes on the scene, fingers on the keys."""

    def __init__(self, rig: Rig, operator: Operator) -> None:
        self._rig, self._operator = rig, operator
        self._chain = Chain(SPEC.mdh, SPEC.pose_tool_in_flange)

    def looks(self) -> Truth:
        state = self._rig.state
        return sample(state.t_ns, self._rig.sim(do="truth"), state.q_cmd)

    def holds(self, key: str, seconds: float) -> None:
        self._operator.down(key)
        time.sleep(seconds)
        self._operator.up(key)
        time.sleep(0.1)
        self._rig.until(lambda: abs(self._rig.state.dq_cmd).max() < 1e-6, 5, "at rest")

    def brings(self, axis: str, error, within: float, speed: float) -> None:
        """Until `error()` is small: hold the key that makes it smaller."""
        for _ in range(12):
            left = error()
            if abs(left) < within:
                return
            self.holds(KEYS[axis][int(left < 0)], max(abs(left) / speed, 0.02))
        raise AssertionError(f"{axis} is still {error():.4f} off")

    def turn_rad(self, colour: str) -> float:
        """How far the fingers are turned off the cube's sides, within ±45°."""
        self._rig.poll()
        hand = self._chain.update(self._rig.state.q_cmd).pose[:3, 1]
        w, x, y, z = self.looks().cubes[colour][3:]
        side = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        off = side - np.arctan2(hand[1], hand[0])
        return float((off + np.pi / 4) % (np.pi / 2) - np.pi / 4)

    def off_m(self, colour: str, axis: int) -> float:
        now = self.looks()
        return float(now.cubes[colour][axis] - now.tool_m[axis])

    def grips(self, key: str, command: float) -> None:
        """A program that has stood still wants to be asked again."""
        for _ in range(4):
            self.holds(key, 1.2)
            if self._rig.state.gripper_cmd == command:
                return
        raise AssertionError(f"nobody hears {key}")

    def picks(self, colour: str) -> None:
        self.grips("v", 1.0)
        self.brings("yaw", lambda: self.turn_rad(colour), 0.08, RAD_S)
        for axis, name in enumerate("xy"):
            self.brings(name, lambda axis=axis: self.off_m(colour, axis), 0.005, M_S)
        self.brings("z", lambda: cube_z_m() - self.looks().tool_m[2], 0.008, M_S)
        self.grips("c", 0.0)
        above_m = self.looks().tool_m[2] + LIFTED_M + 0.05
        self.brings("z", lambda: above_m - self.looks().tool_m[2], 0.02, M_S)


def test_a_cube_is_picked_by_keys():
    with Rig() as rig:
        rig.poll()
        operator = Operator(
            rig.base, "--sensitivity", "1", "--max-m-s", str(M_S), "--max-rad-s", str(RAD_S)
        )
        try:
            operator.until_sees("· keyboard")
            rig.until(lambda: rig.mode() == "hold", 5, "holding")
            picker = Picker(rig, operator)
            colour = next(iter(picker.looks().cubes))
            picker.picks(colour)
            seen = picker.looks()
            assert seen.lift_m(colour) > LIFTED_M, operator.shown[-2000:].decode()
            assert seen.in_hand == colour
        finally:
            operator.close()
