"""The simulated cell: true kinematics, a grasp that holds, a bin that catches, scenes by seed."""

import numpy as np
import pytest
from tandem.drivers.sim import panda, scene
from tandem.drivers.sim.disturb import disturb
from tandem.drivers.sim.world import World
from tandem.runtime.errors import ConfigError, RefusedError


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.close()


def craig_mdh(rows, q):
    """[4, 4] by Craig's modified Denavit-Hartenberg convention."""
    pose = np.eye(4)
    for (a, d, alpha, offset), angle in zip(rows, q, strict=True):
        ca, sa, ct, st = (
            np.cos(alpha),
            np.sin(alpha),
            np.cos(angle + offset),
            np.sin(angle + offset),
        )
        pose = pose @ np.array(
            [
                [ct, -st, 0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
    return pose


def test_tool_pose_is_that_of_the_limits_file(world):
    spec = panda.panda_spec()
    rng = np.random.default_rng(0)
    for q in rng.uniform(spec.q_min, spec.q_max, (200, 7)):
        expected = craig_mdh(spec.mdh, q) @ spec.pose_tool_in_flange
        world.place_arm(q)
        np.testing.assert_allclose(world.tool_pose(), expected, atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_a_cube_is_grasped_lifted_carried_and_dropped_into_the_bin(world, hand_of, seed):
    world.reset(seed, cubes=4 + seed % 3)
    hand, colour = hand_of(world), world.present[0]
    hand.pick(colour)
    assert world.in_hand() == colour
    assert world.lifted(colour, 0.10)
    hand.drop_into_bin()
    assert world.in_bin() == [colour]
    assert world.in_hand() is None


def test_the_arm_lags_less_than_two_milliradians_at_half_a_radian_per_second(world):
    world.reset(0)
    q0, worst = world.q, 0.0
    omega = 1.0
    for k in range(3000):
        t = (k + 1) * 1e-3
        phase = omega * t
        ramp = min(t, 1.0) ** 3 * (10 - 15 * min(t, 1.0) + 6 * min(t, 1.0) ** 2)
        amplitude = 0.5 / omega * ramp
        q_d = q0 + amplitude * np.sin(phase)
        dq_d = np.full(7, amplitude * omega * np.cos(phase))
        ddq_d = np.full(7, -amplitude * omega**2 * np.sin(phase))
        world.step(q_d, dq_d, ddq_d, 1.0)
        if t > 1.5:
            worst = max(worst, np.abs(world.q - q_d).max())
    assert worst < 2e-3


def test_the_same_seed_and_set_points_give_the_same_world(hand_of):
    ends = []
    for _ in range(2):
        world = World(seed=7)
        hand_of(world).pick(world.present[1])
        ends.append(world.data.qpos.copy())
    np.testing.assert_array_equal(*ends)


def test_layouts_keep_cubes_apart_and_inside():
    for seed in range(100):
        layout = scene.random_layout(seed, cubes=6)
        spots = np.array([c[:2] for c in layout.cubes.values()])
        gaps = np.linalg.norm(spots[:, None] - spots[None], axis=-1) + 9 * np.eye(6)
        assert gaps.min() > scene.SPACING_M
        assert (spots >= [scene.X_RANGE_M[0], scene.Y_RANGE_M[0]]).all()
        assert (spots <= [scene.X_RANGE_M[1], scene.Y_RANGE_M[1]]).all()


def run_still(world, seconds):
    zero = np.zeros(7)
    for _ in range(round(seconds * 1000)):
        world.step(world.layout.q_rad, zero, zero, 1.0)


def test_a_cube_that_slept_can_be_made_to_jump_and_to_slide(world):
    world.reset(1)
    run_still(world, 0.3)
    first, second = world.present[:2]
    disturb(world, "jump", first, to_m=(0.5, 0.05))
    before = world.cube_position(second)
    disturb(world, "slide", second, velocity_m_s=(0.0, -0.03))
    run_still(world, 1.0)
    np.testing.assert_allclose(world.cube_position(first)[:2], [0.5, 0.05], atol=2e-3)
    assert world.cube_position(second)[1] - before[1] == pytest.approx(-0.03, abs=2e-3)


def test_a_slide_ends_at_the_edge_of_the_workspace(world):
    world.reset(2)
    colour = world.present[0]
    world.place_cube(colour, 0.6, 0.15, 0.0)
    disturb(world, "slide", colour, velocity_m_s=(0.0, 0.2))
    run_still(world, 1.0)
    assert world.slides == {}
    assert world.cube_position(colour)[1] < scene.Y_RANGE_M[1] + 0.02


def test_what_is_held_or_in_the_bin_is_not_swept_off_the_table(world, hand_of):
    world.reset(5, cubes=5)
    held, binned, *lying = world.present
    world.place_cube(binned, *scene.BIN_CENTRE_M, 0.0, scene.cube_z_m() + 0.006)
    run_still(world, 0.2)
    hand_of(world).pick(held)
    kept = {c: world.cube_position(c) for c in (held, binned)}
    before = {c: world.cube_position(c) for c in lying}
    done = disturb(world, "shuffle", light=0.6)
    assert sorted(done["places"]) == sorted(lying)
    np.testing.assert_allclose(world.light, 0.6)
    for colour, place in kept.items():
        np.testing.assert_array_equal(world.cube_position(colour), place)
    for colour in lying:
        assert np.hypot(*(world.cube_position(colour) - before[colour])[:2]) > scene.SPACING_M
    back = {c: [*p[:2], 0.0] for c, p in (before | kept).items()}
    assert sorted(disturb(world, "shuffle", places=back)["places"]) == sorted(lying)
    with pytest.raises(RefusedError, match="possible"):
        disturb(world, "shuffle", places={"pink": (0.5, 0.0, 0.0)})


def test_cubes_vanish_and_appear(world):
    world.reset(3, cubes=4)
    gone = disturb(world, "vanish")["colour"]
    assert gone not in world.present
    new = disturb(world, "appear", gone)["to_m"]
    run_still(world, 0.3)
    np.testing.assert_allclose(world.cube_position(gone)[:2], new, atol=2e-3)
    with pytest.raises(RefusedError, match="possible"):
        disturb(world, "appear", gone)
    with pytest.raises(RefusedError, match="jump"):
        disturb(world, "earthquake")


def test_pictures_show_the_cubes_and_the_light(world):
    world.reset(4, cubes=6)
    bright = world.render("front").astype(int)
    assert bright.shape == (128, 128, 3)
    reddish = (bright[..., 0] > 120) & (bright[..., 1:].max(axis=-1) < 60)
    assert 15 < reddish.sum() < 120
    disturb(world, "light", light=0.4)
    assert world.render("front").mean() < 0.8 * bright.mean()
    with pytest.raises(ConfigError, match="front"):
        world.render("back")
