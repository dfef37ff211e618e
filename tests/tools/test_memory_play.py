"""The memory task on the simulated arm: scene, hands, oracle, and what was learned at the table."""

import numpy as np
import pytest
from tandem.drivers.sim import kitchen_scene as cell
from tandem.drivers.sim.kitchen import Kitchen
from tandem.policies.memory import storage
from tandem.policies.memory.policy import MemoryPolicy
from tandem.policies.memory.subgoals import BURNER, SubGoal
from tandem.tools.evaluate.seeds import scene_seed
from tandem.tools.memory.episode import Play
from tandem.tools.memory.hands import Hands
from tandem.tools.memory.learned import Learned
from tandem.tools.memory.minds import Oracle
from tandem.tools.memory.record import PHYSICS_STEP_S
from tandem.tools.memory.runs import WEIGHTS
from tandem.tools.memory.work import KeptBook


@pytest.fixture(scope="module")
def kitchen() -> Kitchen:
    return Kitchen(step_s=PHYSICS_STEP_S)


def test_no_picture_tells_the_cans_apart(kitchen: Kitchen) -> None:
    """Two cans change places: every camera sees the same, to the last bit."""
    layout = kitchen.reset(4)
    before = [kitchen.render(camera).copy() for camera in ("front", "side", "wrist")]
    swapped = cell.KitchenLayout(layout.places[::-1], layout.cans[::-1], layout.light)
    kitchen.lay_out(swapped)
    after = [kitchen.render(camera) for camera in ("front", "side", "wrist")]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_truth_is_where_the_seed_put_it(kitchen: Kitchen) -> None:
    layout = kitchen.reset(11)
    assert np.array_equal(layout.cans, cell.random_kitchen(11).cans)
    truth = kitchen.truth()
    assert truth.cans[:, :2] == pytest.approx(layout.cans)
    assert (truth.on_burner, truth.in_hand, truth.upright) == (
        (False,) * 2,
        (False,) * 2,
        (True,) * 2,
    )
    kitchen.place_can(1, *cell.BURNER_M, cell.standing_z_m(on_burner=True))
    still = np.zeros(7)
    for _ in range(20):
        kitchen.step(kitchen.q, still, still, 1.0)
    assert kitchen.truth().on_burner == (False, True)


def test_the_oracle_does_it_right_on_the_simulated_arm(kitchen: Kitchen) -> None:
    play = Play(kitchen)
    for seed in (0, 3):
        verdict = play.run(Oracle(), seed).verdict
        assert verdict.success
        assert max(verdict.doneness) < 0.1
        assert max(verdict.where_m) < 0.015


def test_the_shipped_weights_remember_and_refresh_when_a_can_has_moved(kitchen: Kitchen) -> None:
    mind = Learned(MemoryPolicy(storage.load(WEIGHTS)))
    book = KeptBook(mind.policy)
    assert Play(kitchen).run(mind, scene_seed(7, 0), book.see).verdict.success
    kept = book.kept()
    assert kept.changes == kept.answered == 4, "each can to the burner and back"
    assert kept.refreshed_l2 < kept.looks / 8
    assert kept.trunk_share < kept.share < 1


def test_hands_refuse_what_cannot_be_done(kitchen: Kitchen) -> None:
    layout = kitchen.reset(2)
    hands = Hands(kitchen)
    empty = next(place for place in range(BURNER) if place not in layout.places)
    for impossible in (SubGoal("grasp", empty), SubGoal("place", empty), SubGoal("wait")):
        hands.take_up(impossible)
        assert hands.free
    hands.take_up(SubGoal("grasp", layout.places[0]))
    assert not hands.free
    while not hands.free:
        hands.step()
    assert hands.holding
    hands.take_up(SubGoal("place", layout.places[1]))
    assert hands.free, "another can stands there"
