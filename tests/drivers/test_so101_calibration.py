"""LeRobot's calibration: its file, its angles, and what is said when it does not fit."""

import json
from math import pi, radians
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.drivers.so101 import calibration
from tandem.drivers.so101.calibration import Servo
from tandem.drivers.so101.errors import CalibrationError
from tandem.runtime.kinematics import Chain
from tandem.runtime.rotations import pose, to_matrix

from tests.drivers.so101_rig import MODEL, SPEC

patient = settings(deadline=None)
NAMES = SPEC.joint_names
# As `lerobot-calibrate` writes it.
FILE = {
    name: {
        "id": i,
        "drive_mode": 0,
        "homing_offset": -100 * i,
        "range_min": 800 + i,
        "range_max": 3200 + i,
    }
    for i, name in enumerate((*NAMES, "gripper"), 1)
}
servos = st.builds(
    Servo,
    id=st.just(1),
    drive_mode=st.integers(0, 1),
    homing_offset=st.just(0),
    range_min=st.integers(0, 2000),
    range_max=st.integers(2001, 4095),
)


def test_lerobots_file_is_read_and_written_back(tmp_path: Path):
    file = tmp_path / "arm.json"
    file.write_text(json.dumps(FILE, indent=4))
    read = calibration.load(file, NAMES)
    assert read["elbow_flex"] == Servo(3, 0, -300, 803, 3203)
    calibration.save(read, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == FILE


@given(servos, st.data())
@patient
def test_steps_to_angle_and_back(servo: Servo, data: st.DataObject):
    steps = data.draw(st.integers(servo.range_min, servo.range_max))
    assert servo.steps(servo.rad(steps)) == steps
    assert abs(servo.rad(steps)) <= servo.reach_rad + 1e-12
    assert servo.steps_open(servo.opening(steps)) == steps


@given(servos, st.floats(-10, 10))
@patient
def test_no_goal_leaves_the_range(servo: Servo, rad: float):
    assert servo.range_min <= servo.steps(rad) <= servo.range_max


@given(servos, st.integers(0, 4095))
@patient
def test_angles_are_lerobots_degrees_but_for_its_4095(servo: Servo, steps: int):
    degrees = (steps - (servo.range_min + servo.range_max) / 2) * 360 / 4095
    ours = servo.rad(steps) * (-1 if servo.drive_mode else 1)
    assert ours == pytest.approx(radians(degrees) * 4095 / 4096)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda f: f.pop("gripper"), "has no gripper"),
        (lambda f: f["wrist_flex"].update(range_min=3500), "range 3500"),
        (lambda f: f["wrist_flex"].update(id=1), "one id"),
        (lambda f: f["wrist_flex"].update(offset=1), "no calibration of LeRobot's"),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, spoil, word: str):
    spoilt = json.loads(json.dumps(FILE))
    spoil(spoilt)
    (tmp_path / "arm.json").write_text(json.dumps(spoilt))
    with pytest.raises(CalibrationError, match=word):
        calibration.load(tmp_path / "arm.json", NAMES)


def test_no_file_says_where_lerobot_keeps_them(tmp_path: Path):
    with pytest.raises(CalibrationError, match="huggingface/lerobot/calibration"):
        calibration.load(tmp_path / "nothing.json", NAMES)


# -- geometry --------------------------------------------------------------------------------------

# Joint origins of the makers' URDF (SO-ARM100, Simulation/SO101/so101_new_calib.urdf), base_link to
# gripper_link, then the fixed gripper_frame: xyz in m, roll, pitch, yaw in rad.
URDF = (
    ((0.0388353, 0.0, 0.0624), (pi, 0.0, -pi)),
    ((-0.0303992, -0.0182778, -0.0542), (-pi / 2, -pi / 2, 0.0)),
    ((-0.11257, -0.028, 0.0), (0.0, 0.0, pi / 2)),
    ((-0.1349, 0.0052, 0.0), (0.0, 0.0, -pi / 2)),
    ((0.0, -0.0611, 0.0181), (pi / 2, 0.0486795, pi)),
)
TOOL = ((-0.0079, -0.000218121, -0.0981274), (0.0, pi, 0.0))


def urdf_pose(q: np.ndarray) -> np.ndarray:
    made = np.eye(4)
    for (xyz, rpy), rad in zip((*URDF, TOOL), (*q, 0.0), strict=True):
        turn = to_matrix(np.array((0.0, 0.0, rad)), "rotvec")
        made = made @ pose(np.array(xyz), to_matrix(np.array(rpy), "rpy")) @ pose(np.zeros(3), turn)
    return made


def test_the_limits_file_has_the_urdfs_geometry():
    chain, rng = Chain(SPEC.mdh, SPEC.pose_tool_in_flange), np.random.default_rng(0)
    for q in rng.uniform(SPEC.q_min, SPEC.q_max, (200, 5)):
        assert np.abs(chain.update(q).pose - urdf_pose(q)).max() < 1e-9


def test_at_zero_it_stretches_ahead():
    tool = Chain(SPEC.mdh, SPEC.pose_tool_in_flange).position(np.zeros(5))
    assert np.allclose(tool, (0.3914, 0.0, 0.2265), atol=1e-4)
    assert (SPEC.q_min < MODEL.home_q).all()
