"""The whole daemon on a virtual clock: faster than time, always the same, as late as it is told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tandem.drivers.sim import blackbox
from tandem.runtime import config
from tandem.runtime.app import build
from tandem.runtime.app.lockstep import Delays, Lockstep
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError, RefusedError
from tandem.runtime.interfaces import Observation
from tandem.runtime.messages import Conditioning
from tandem.tools.faults.sweep import SweepS2

SWEEP = [
    "cameras={front: {driver: sim, size: [32, 32]}}",
    "s2={policy: 'tandem.tools.faults.sweep:SweepS2', cameras: [front]}",
    "s1={policy: 'tandem.tools.faults.sweep:SweepS1'}",
    "robot.limits.tool_speed_m_s=0.6",
]


@pytest.fixture(scope="module")
def settings() -> Config:
    return config.load("sim_panda", SWEEP)


@pytest.fixture
def cell(settings: Config, tmp_path: Path) -> Iterator[Lockstep]:
    made = Lockstep(settings, seed=3, black_box=tmp_path / "blackbox")
    yield made
    made.close()


def test_go_moves_the_arm_and_hold_brings_it_to_rest(cell: Lockstep, tmp_path: Path) -> None:
    cell.go("sweep")
    start = cell.world.q
    cell.advance(2.0)
    assert cell.executor.mode == "policy"
    assert np.abs(cell.world.q - start).max() > 0.1
    cell.hold()
    cell.advance(1.0)
    assert cell.executor.mode == "hold"
    assert np.abs(cell.world.dq).max() < 0.01
    spec, peaks = cell.executor.arm.spec, blackbox.extremes(tmp_path / "blackbox", 0, 1 << 62)
    assert (peaks.velocity <= spec.dq_max).all()
    assert (peaks.acceleration <= spec.ddq_max).all()
    assert (peaks.jerk <= spec.jerk_max).all()


class Told(SweepS2):
    """Remembers how old the states were that it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, wants_state=True)
        self.ages_ns: list[int] = []

    def step(self, obs: Observation) -> Conditioning:
        assert obs.state is not None
        self.ages_ns.append(obs.t_ns - obs.state.t_ns)
        return super().step(obs)


def test_a_system_2_that_wants_the_arms_state_is_told_it(settings: Config) -> None:
    policy = Told()
    cell = Lockstep(settings, seed=3, s2=policy)
    cell.go("sweep")
    cell.advance(1.0)
    cell.close()
    assert len(policy.ages_ns) >= 9
    assert 0 <= min(policy.ages_ns) <= max(policy.ages_ns) <= 10 * NS_PER_MS


def test_the_same_seed_gives_the_same_run(settings: Config) -> None:
    ends = []
    for _ in range(2):
        cell = Lockstep(settings, seed=5)
        cell.go("sweep")
        cell.advance(1.0)
        ends.append((cell.world.q, cell.clock.now_ns()))
        cell.close()
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


def test_a_fresh_scene_in_the_same_run(cell: Lockstep) -> None:
    cell.go("sweep")
    cell.advance(0.5)
    layout = cell.reset(seed=11, cubes=2)
    assert len(layout["cubes"]) == 2
    cell.advance(0.5)
    assert cell.executor.mode == "hold"
    np.testing.assert_allclose(cell.world.q, layout["q"], atol=0.02)
    cell.go("sweep")
    assert cell.executor.mode == "policy"


def test_delays_reach_the_command(settings: Config) -> None:
    """Camera 12 ms + S2 60 ms + S1 5 ms, in ticks of 5 ms: what the report calls camera_command."""
    medians = []
    for slower_ms in (0, 100):
        delays = replace(Delays(), s2_ns=(60 + slower_ms) * NS_PER_MS)
        cell = Lockstep(settings, seed=3, delays=delays)
        cell.go("sweep")
        cell.advance(1.5)
        series = cell.summary().loops["executor"].samples["camera_command"]
        medians.append(series.all.quantile(0.5) / NS_PER_MS)
        cell.close()
    assert 77 <= medians[0] <= 77 + 50
    assert medians[1] - medians[0] == pytest.approx(100, abs=40)


def test_refusals_are_told(cell: Lockstep) -> None:
    with pytest.raises(RefusedError, match="not engaged within 1 s"):
        cell.go("make tea", timeout_s=1.0)
    with pytest.raises(RefusedError, match="simulator cannot do that"):
        cell.sim("fly")


def test_a_real_arm_keeps_its_own_time() -> None:
    with pytest.raises(ConfigError, match=r"lockstep needs robot\.arm\.driver: sim"):
        Lockstep(config.load("fake"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("s1.policy=chunk_mpl", "s1.policy: nothing built in is called 'chunk_mpl'"),
        ("s1.policy=nowhere:make", "s1.policy: cannot load nowhere:make"),
        ("s1.policy=tandem.tools.faults.sweep:Nobody", "cannot load .*Nobody"),
        ("s1.policy=tandem.tools.faults.sweep:HORIZON", "HORIZON is not callable"),
        ("s1.options={colour: red}", "does not take these options"),
    ],
)
def test_factories_that_cannot_be_used(override: str, message: str) -> None:
    settings = config.load("sim_panda", [*SWEEP, override])
    assert settings.s1 is not None
    with pytest.raises(ConfigError, match=message):
        build.s1_policy(settings.s1, build.arm_model(settings).spec)


def test_a_factory_gets_what_it_has_parameters_for(settings: Config) -> None:
    assert settings.s1 is not None
    policy = build.s1_policy(settings.s1, build.arm_model(settings).spec)
    assert policy.spec.action.names[:2] == ("panda_joint1", "panda_joint2")
