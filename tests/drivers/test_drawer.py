"""The cabinet: there for those who ask, unseen by those who do not, and its drawer slides."""

import hashlib

import mujoco
import numpy as np
import pytest
from tandem.drivers.sim import drawer, scene
from tandem.drivers.sim.world import World
from tandem.runtime.errors import RefusedError

# What the shipped weights and every published figure were made with.
CELL = "cf556043da44ce0cb33910e503fbc752eba99103593c09bedbc0daac5a9a0970"


@pytest.fixture
def cell():
    made = World(seed=3, with_drawer=True)
    yield made
    made.close()


def seen(world):
    mujoco.mj_forward(world.model, world.data)
    return world.render("front").astype(int)


def test_the_cell_without_it_is_the_one_that_the_weights_know(cell):
    assert hashlib.sha256(scene.scene_xml().encode()).hexdigest() == CELL
    plain = World(seed=3)
    try:
        before = hashlib.sha256(seen(plain)).hexdigest()
        cell.set_drawer(0.1)
        cell.reset(3)
        plain.reset(3)
        assert hashlib.sha256(seen(plain)).hexdigest() == before
        assert plain.drawer_m == 0.0
        np.testing.assert_array_equal(cell.data.qpos[:-1], plain.data.qpos)
        rows, columns = np.nonzero((seen(cell) != seen(plain)).any(-1))
        assert rows.max() < 64
        assert columns.max() < 64
    finally:
        plain.close()


def test_the_drawer_is_seen_to_open_and_stays_where_it_is_put(cell):
    shut = seen(cell)
    changed = []
    for opening in (0.02, 0.06, 0.10):
        cell.set_drawer(opening)
        changed.append(int((np.abs(seen(cell) - shut).max(-1) > 12).sum()))
    assert changed == sorted(changed)
    assert changed[0] > 12
    still = np.zeros(7)
    for _ in range(300):
        cell.step(cell.layout.q_rad, still, still, 1.0)
    assert cell.drawer_m == pytest.approx(0.10, abs=1e-3)
    cell.reset(3)
    assert cell.drawer_m == 0.0


def test_a_drawer_opens_as_far_as_it_does(cell):
    with pytest.raises(RefusedError, match=str(drawer.OPENING_MAX_M)):
        cell.set_drawer(0.5)
    plain = World()
    with pytest.raises(RefusedError, match="with_drawer"):
        plain.set_drawer(0.0)
    plain.close()
