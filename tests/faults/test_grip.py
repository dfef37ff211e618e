"""What the hand holds it keeps, whoever commands the arm next."""

from collections.abc import Iterator

import numpy as np
import pytest
from tandem.drivers.sim.lockstep import LockstepArm, LockstepCell
from tandem.drivers.sim.panda import HOME_Q_RAD, OPEN_WIDTH_M
from tandem.drivers.sim.scene import CUBE_HALF_M
from tandem.drivers.sim.world import World
from tandem.runtime.clock import NS_PER_MS, VirtualClock
from tandem.runtime.executor import Executor
from tandem.runtime.interfaces import Knot
from tandem.runtime.local_bus import LocalBus

_PERIOD_NS = 5 * NS_PER_MS


@pytest.fixture
def holding() -> Iterator[tuple[LockstepCell, str]]:
    """A cell whose hand was told to close, around a cube, by somebody who is gone."""
    cell = LockstepCell(World(seed=3), VirtualClock())
    plant, world, zero = cell.plant, cell.plant.world, np.zeros(7)
    plant.teleport(HOME_Q_RAD, 2 * CUBE_HALF_M / OPEN_WIDTH_M)
    x, y, z = world.tool_pose()[:3, 3]
    colour = world.present[0]
    world.place_cube(colour, x, y, 0.0, z)
    underruns = plant.state().underruns
    for _ in range(60):
        t_ns = cell.clock.now_ns() + _PERIOD_NS
        plant.offer(Knot(t_ns, HOME_Q_RAD, zero, zero, 0.0, underruns), cell.clock.now_ns())
        cell.clock.sleep_until(t_ns)
        cell.advance()
    assert world.in_hand() == colour
    yield cell, colour
    world.close()


def _executor(cell: LockstepCell) -> Executor:
    arm = LockstepArm(cell)
    arm.connect()
    return Executor(arm, LocalBus("executor"), cell.clock, asleep_ns=lambda: 0)


def test_a_new_executor_does_not_let_go(holding):
    cell, colour = holding
    cell.clock.sleep_until(cell.clock.now_ns() + 700 * NS_PER_MS)  # nobody commands
    executor = _executor(cell)
    for _ in range(200):
        record = executor.step()
    assert record.mode == "hold"
    assert record.gripper == 0.0
    assert cell.plant.world.in_hand() == colour
    assert executor.link.state.width_m == pytest.approx(2 * CUBE_HALF_M, abs=0.002)


def test_an_open_hand_is_taken_for_an_open_one():
    cell = LockstepCell(World(seed=3), VirtualClock())
    executor = _executor(cell)
    for _ in range(50):
        record = executor.step()
    assert (record.mode, record.gripper) == ("hold", 1.0)
    assert executor.link.state.width_m == pytest.approx(OPEN_WIDTH_M, abs=0.001)
    cell.plant.world.close()


def test_an_arm_that_stands_is_not_said_to_move():
    """Standing set-points waver by 1e-13 rad/s where knots are interpolated."""
    cell = LockstepCell(World(seed=3), VirtualClock())
    executor = _executor(cell)
    for _ in range(20):
        executor.step()
    cell.plant.interrupt("user_stop", "tried")
    while executor.mode != "fault":
        executor.step()
    cell.plant.recover()
    for _ in range(20):
        executor.step()
    assert executor.link.unready(executor.clock.now_ns()) is None
    cell.plant.world.close()
