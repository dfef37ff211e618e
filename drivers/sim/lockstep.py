"""The simulated arm and cameras in one process, on a clock that is given: faster than real time.

The plant is the very one of the real-time process. It is brought up to the clock whenever somebody
looks at it or sends to it, so whoever moves the clock moves the world.
"""

import numpy as np
from tandem.drivers.sim import panda
from tandem.drivers.sim.blackbox import BlackBox
from tandem.drivers.sim.plant import Plant
from tandem.drivers.sim.requests import answer
from tandem.drivers.sim.world import World
from tandem.runtime.clock import Clock
from tandem.runtime.errors import DeviceError
from tandem.runtime.interfaces import ArmSpec, ArmState, CameraSpec, Knot
from tandem.runtime.messages import Reply, Request


class LockstepCell:
    """A plant that follows `clock`; arms and cameras are made on it."""

    def __init__(self, world: World, clock: Clock, black_box: BlackBox | None = None) -> None:
        self.clock = clock
        self.plant = Plant(world, clock.now_ns(), black_box)

    def advance(self) -> None:
        """Run physics up to the clock."""
        now_ns = self.clock.now_ns()
        while self.plant.t_ns + self.plant.step_ns <= now_ns:
            self.plant.step()

    def answer(self, request: Request) -> Reply:
        """The same requests as the simulator's process answers."""
        self.advance()
        return answer(self.plant, request)


class LockstepArm:
    """Implements runtime.interfaces.Arm without waiting: there is nobody to wait for."""

    spec: ArmSpec

    def __init__(self, cell: LockstepCell) -> None:
        self.spec = panda.panda_spec()
        self._cell = cell
        self._connected = False

    def connect(self) -> None:
        if self._connected:
            raise DeviceError("this LockstepArm is connected already; make one client per cell")
        self._connected = True

    def read(self, timeout_ns: int) -> ArmState:
        self._cell.advance()
        return self._cell.plant.state()

    def send(self, knot: Knot) -> None:
        if not self._connected:
            raise DeviceError("the arm is not connected; call connect() first")
        self._cell.advance()
        self._cell.plant.offer(knot, self._cell.clock.now_ns())

    def stop(self) -> None:
        self._cell.advance()
        self._cell.plant.brake()

    def recover(self) -> None:
        self._cell.advance()
        self._cell.plant.recover_from_reflex()


class LockstepCamera:
    """Implements runtime.interfaces.Camera: draws the world as it is, whenever it is read."""

    def __init__(self, cell: LockstepCell, spec: CameraSpec) -> None:
        self.spec = spec
        self._cell = cell

    def read(self, out: np.ndarray, timeout_ns: int) -> int:
        """[H, W, 3] uint8 into `out`; returns t_capture_ns."""
        self._cell.advance()
        self._cell.plant.world.render(self.spec.name, out)
        return self._cell.plant.t_ns

    def close(self) -> None:
        self._cell.plant.world.close()
