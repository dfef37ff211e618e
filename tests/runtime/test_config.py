"""The configuration: what is packaged loads, and every mistake is answered with what to write."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml
from tandem.runtime import arm_file, config
from tandem.runtime.errors import ConfigError

MINIMAL = """
schema: 1
robot:
  name: cell_a
  arm: {driver: fake}
  limits: {file: limits/panda.yaml}
"""


def written(folder: Path, text: str, name: str = "cell.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", config.packaged_names())
def test_every_packaged_configuration_loads_by_name(name: str) -> None:
    loaded = config.load(name)
    assert loaded.robot.name == name
    model = arm_file.load(Path(loaded.robot.limits.file))
    assert len(model.spec.joint_names) == model.home_q.size


def test_a_saved_configuration_is_the_same_and_needs_nothing_beside_it(tmp_path: Path) -> None:
    original = config.load("sim_panda", ["executor.rate_hz=1000", "sim.seed=7"])
    config.save(original, tmp_path / "resolved.yaml")
    again = config.load(tmp_path / "resolved.yaml")
    assert again.folder == original.folder
    assert msgspec.structs.replace(again, runtime_dir="") == original
    assert original.executor.rate_hz == 1000
    assert original.sim.seed == 7


def test_s2_may_be_absent(tmp_path: Path) -> None:
    assert config.load(written(tmp_path, MINIMAL)).s2 is None


def test_overrides_reach_into_parts_that_the_file_omits(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    loaded = config.load(path, ["executor.cpu=1", "s1={policy: 'my_lab.pi05:make'}"])
    assert loaded.executor.cpu == 1
    assert loaded.s1 is not None
    assert loaded.s1.policy == "my_lab.pi05:make"


def test_a_file_beside_the_configuration_comes_first(tmp_path: Path) -> None:
    (tmp_path / "limits").mkdir()
    own = tmp_path / "limits" / "panda.yaml"
    own.write_text((config.PACKAGED / "limits" / "panda.yaml").read_text())
    assert config.load(written(tmp_path, MINIMAL)).robot.limits.file == str(own)


def test_the_runtime_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    monkeypatch.setenv("TANDEM_RUNTIME_DIR", "/run/tandem")
    assert config.load(path).folder == Path("/run/tandem/cell_a")
    assert config.load(path, ["runtime_dir=/tmp/here"]).folder == Path("/tmp/here")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("executor.rate_h=200", r"unknown key executor\.rate_h; did you mean executor\.rate_hz\?"),
        (
            "robot.arm.drivr=sim",
            r"unknown key robot\.arm\.drivr; did you mean robot\.arm\.driver\?",
        ),
        ("cameras.front.rate=3", r"unknown key cameras\.front\.rate; did you mean .*rate_hz"),
        ("s2.cache.strategy=sdvl", r"s2\.cache\.strategy: no 'sdvl'; did you mean sdvla\?"),
        ("s2.cache.treshold=[1]", r"s2\.cache\.treshold; did you mean s2\.cache\.thresholds\?"),
        ("robots={}", r"unknown key robots; did you mean robot\?"),
        ("robot.limits.xyz=1", r"unknown key robot\.limits\.xyz; valid here: file, speed_scale"),
        ("schema=2", r"schema"),
        ("schema=", r"schema"),
        ("robot=", r"robot"),
        ("robot.name=Cell A", r"robot\.name"),
        ("robot.name=../../etc", r"robot\.name"),
        ("robot.arm.access=fly", r"robot\.arm\.access"),
        ("robot.limits.speed_scale=1.5", r"<= 1.* at `robot\.limits\.speed_scale`"),
        ("robot.limits.speed_scale=0", r"> 0.*robot\.limits\.speed_scale"),
        ("robot.limits.file=limits/pandb.yaml", r"robot\.limits\.file: limits/pandb\.yaml is not"),
        (
            "robot.limits={file: limits/panda.yaml, workspace_min_m: [0, 0, 1],"
            " workspace_max_m: [1, 1, 1]}",
            "workspace_min_m must be below",
        ),
        ("robot.limits.workspace_min_m=[0, 0]", r"robot\.limits\.workspace_min_m"),
        ("executor.rate_hz=fast", r"Expected `float`, got `str` - at `executor\.rate_hz`"),
        ("executor.rate_hz=5", r"executor\.rate_hz"),
        ("executor.priority=99", r"executor\.priority"),
        ("cameras.front.size=[128]", r"cameras\[\.\.\.\]\.size|cameras\.front\.size"),
        ("s2.cameras=[frnt]", r"s2\.cameras wants the camera frnt.*did you mean front\?"),
        ("s1.cameras=[depth]", r"s1\.cameras wants the camera depth.*declared: front, side"),
        ("s2.cameras=[]", r"s2\.cameras is empty"),
        ("s1=", "s2 without s1"),
        ("s2.cache.thresholds=[2.0]", r"s2\.cache\.thresholds"),
        ("s1.join=glue", r"s1\.join"),
        ("robot.arm.driver=fake", r"cameras\.front\.driver is sim, but robot\.arm\.driver is fake"),
        ("ladder_ms.conditioning_hold=100", "conditioning_hold must not be below"),
        (f"runtime_dir=/tmp/{'x' * 80}", "too long for a Unix socket"),
        ("executor", "write key=value"),
        ("executor.rate_hz.x=1", "rate_hz holds a value, not keys"),
        ("executor.rate_hz=[", "is not YAML"),
        ("teleop.max_mm_s=150", r"unknown key teleop.max_mm_s; did you mean teleop.max_m_s\?"),
        ("teleop.max_rad_s=3", "teleop.max_rad_s"),
        ("teleop.rate_hz=10", "teleop.rate_hz"),
        ("teleop.frame=world", "teleop.frame"),
        ("console.lateness={warn: 2, error: 1}", "console.lateness.error must not be below"),
        ("console.latency_ms={error: 400}", "warn"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load("sim_panda", [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a map"),
        ("- a\n- b\n", "must be a map"),
        ("schema: 1\nrobot: [\n", "cannot be read as YAML"),
        ("\x00\x01", "cannot be read as YAML"),
        ("1: 2\n", "unknown key 1"),
        ("!!python/object:os.system {}", "cannot be read as YAML"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(path)
    assert str(path) in str(caught.value)


def test_an_unknown_name_lists_the_packaged_ones() -> None:
    with pytest.raises(ConfigError, match=r"(?s)did you mean sim_panda\?.*fake, .*sim_panda"):
        config.load("sim_pand")


def panda_with(tmp_path: Path, **changes: object) -> Path:
    raw = yaml.safe_load((config.PACKAGED / "limits" / "panda.yaml").read_text())
    return written(tmp_path, yaml.safe_dump(raw | changes), "arm.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dq_max_rad_s": [1.0, 2.0]}, "dq_max_rad_s has 2 values for 7 joint_names"),
        ({"jerk_max_rad_s3": [-1.0] * 7}, "jerk_max_rad_s3 must be positive"),
        ({"home_q_rad": [0.0] * 7}, r"panda_joint4: home 0\.0 rad is not inside"),
        ({"mdh": [[0.0] * 4]}, "mdh has 1 rows for 7 joint_names"),
        ({"q_max": [0.0] * 7}, r"unknown key q_max; did you mean q_max_rad\?"),
        ({"joint_names": []}, "joint_names"),
    ],
)
def test_mistakes_in_an_arms_file(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arm_file.load(panda_with(tmp_path, **changes))


def test_the_pandas_file_says_what_the_vendor_says() -> None:
    spec = arm_file.load(config.PACKAGED / "limits" / "panda.yaml").spec
    assert spec.dq_max[0] == 2.175
    assert spec.mdh.shape == (7, 4)
    rotation = spec.pose_tool_in_flange[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(spec.pose_tool_in_flange[:3, 3], [0, 0, 0.2104])


def test_hands_and_figures_are_configured(tmp_path: Path) -> None:
    """And a child process, or a tool, reads them from the file that the daemon saved."""
    words = ["teleop={device: gamepad, frame: tool, max_m_s: 0.05, rate_hz: 50}"]
    words.append("console.latency_ms={warn: 80, error: 120}")
    config.save(config.load("fake", words), tmp_path / "saved.yaml")
    found = config.load(tmp_path / "saved.yaml")
    hand = found.teleop
    assert (hand.device, hand.frame, hand.max_m_s, hand.rate_hz) == ("gamepad", "tool", 0.05, 50)
    assert hand.max_rad_s == 1.0
    assert found.console.latency_ms is not None
    assert found.console.latency_ms.error == 120
    assert found.console.work.warn == 0.8
