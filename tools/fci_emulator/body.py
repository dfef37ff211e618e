"""What the emulated arm moves: nothing but numbers, or the simulated cell with its cameras."""

import time
from pathlib import Path
from typing import Protocol

import numpy as np
from tandem.tools.fci_emulator.models import DOF

OPEN_M = 0.08


class Body(Protocol):
    """Vectors are [7], SI units. `width_m` is between the fingertips."""

    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray
    width_m: float

    def step(
        self, q_d: np.ndarray, dq_d: np.ndarray, ddq_d: np.ndarray, opening_m: float
    ) -> None: ...


class Kinematic:
    """Is where it is told to be, at once; its fingers meet nothing, or an object of `object_m`."""

    def __init__(self, q: np.ndarray, object_m: float = 0.0) -> None:
        self.q, self.dq, self.tau = np.array(q, float), np.zeros(DOF), np.zeros(DOF)
        self.width_m = OPEN_M
        self._object_m = object_m

    def step(self, q_d: np.ndarray, dq_d: np.ndarray, ddq_d: np.ndarray, opening_m: float) -> None:
        self.q, self.dq = q_d, dq_d
        self.width_m = max(opening_m, self._object_m)


class Simulated:
    """The simulated cell, physics and all; publishes what the simulated cameras look at."""

    _SCENE_EVERY = 4  # steps

    def __init__(self, seed: int = 0, cubes: int = 4, folder: Path | None = None) -> None:
        """`folder`: a daemon's runtime folder, whose cameras shall see this cell."""
        from tandem.drivers.sim import wire
        from tandem.drivers.sim.world import World

        self.world = World(seed, cubes)
        self._scene = wire.scene_ring(folder, self.world.model.nq).writer() if folder else None
        self._steps = 0
        self._look()

    def step(self, q_d: np.ndarray, dq_d: np.ndarray, ddq_d: np.ndarray, opening_m: float) -> None:
        self.world.step(q_d, dq_d, ddq_d, opening_m / OPEN_M)
        self._steps += 1
        self._look()
        if self._scene is not None and self._steps % self._SCENE_EVERY == 0:
            self._publish()

    def _look(self) -> None:
        self.q, self.dq, self.tau = self.world.q, self.world.dq, self.world.tau
        self.width_m = self.world.width_m

    def _publish(self) -> None:
        slot = self._scene.slot()
        slot["qpos"] = self.world.data.qpos
        slot["light"] = self.world.light
        self._scene.commit(time.monotonic_ns())
