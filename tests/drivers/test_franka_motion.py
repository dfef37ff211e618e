"""What a Franka hears, as positions or as velocities, whatever of it is lost on the way."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tandem.drivers.franka import velocity
from tandem.drivers.franka.line import Report
from tandem.drivers.franka.motion import Motion
from tandem.drivers.franka.velocity import VelocityMotion
from tandem.drivers.sim.panda import panda_spec
from tandem.runtime import config
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.interfaces import ArmSpec, Knot
from tandem.tools.evaluate import plant
from tandem.tools.fci_emulator.judge import Judge
from tandem.tools.fci_emulator.models import FR3, START_Q

from tests.drivers import vendor_clients
from tests.drivers.franka_campaign import FAULTS, Rounds
from tests.drivers.franka_rig import BY_VELOCITY, MODELS, PATIENCE_S, Cell, emulator

pytest.importorskip("pylibfranka")
vendor_clients.needed()
KINDS = {"position": Motion, "velocity": VelocityMotion}
_TOLERANCE_RAD = 3e-7
_SPEC = velocity.inside(replace(MODELS["fr3"].spec, dq_max=FR3.dq_max / 2))


class Robot:
    """The emulator's judge as a line: takes what is written, loses some, slips a little."""

    def __init__(self, control: str, slip_rad: float = 0.0) -> None:
        self.judge, self.ticks, self.moving = Judge(FR3, START_Q), 0, False
        self._take = self.judge.command if control == "position" else self.judge.command_velocity
        self._row: np.ndarray | None = None
        self._slip_rad = slip_rad
        self.errors: list[object] = []
        self.path: list[np.ndarray] = []  # [7] rad, of every millisecond

    def begin(self) -> None:
        self.moving = True

    def write(self, row: np.ndarray) -> None:
        self._row = row

    def finish(self, row: np.ndarray) -> None:
        self.moving = False
        self.errors += [self._take(row), self.judge.rest()]

    def report(self, lost: bool) -> Report:
        """A millisecond later, with what was written for it."""
        judge, self.ticks = self.judge, self.ticks + 1
        if self.moving and (lost or self._row is None):
            self.errors.append(judge.lose())
        elif self.moving:
            self.errors.append(self._take(self._row))
        self._row, judge.q = None, judge.q + self._slip_rad
        self.path.append(judge.q)
        q, dq, ddq = (np.float32(row).astype(float) for row in (judge.q, judge.dq, judge.ddq))
        return Report(self.ticks, q, dq, q, q, dq, ddq, "move", [], 1.0)


def swing(t_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q - START_Q, dq, ddq [7] of a motion that begins and goes on smoothly."""
    w, size = 3.0, 0.1
    grows = np.clip(t_s / 0.5, 0, 1)
    s, ds, dds = grows**3 * (10 - 15 * grows + 6 * grows**2), 0.0, 0.0
    if 0 < t_s < 0.5:
        ds, dds = 60 * grows**2 * (1 - grows) ** 2, 240 * grows * (1 - grows) * (1 - 2 * grows)
    sin, cos = np.sin(w * t_s), np.cos(w * t_s)
    rows = (s * sin, ds * sin + s * w * cos, dds * sin + 2 * ds * w * cos - s * w * w * sin)
    return tuple(np.full(7, size * row) for row in rows)  # type: ignore[return-value]


def driven(robot: Robot, kind, ticks: int, fate=lambda k: "") -> tuple[Motion, float]:
    """Along `swing` for so long, then to the end of the motion; how far off it was at most, rad."""
    before = robot.report(False)
    motion = kind(robot, _SPEC, before, _TOLERANCE_RAD)
    motion.begin(before)
    tracker, first, off_rad = motion.tracker, 0, 0.0
    for k in range(ticks + 2000):
        report = robot.report(lost=fate(k) == "lost")
        if fate(k) == "unseen":  # the state was lost, or we slept: nobody answers it
            continue
        motion.take(report, before)
        off_rad = max(off_rad, np.abs(report.q_d - tracker.now.q).max())
        if k < ticks and k % 10 == 0 and (tracker.standing or first):
            if tracker.standing:  # at first, and whenever something was lost: set out anew
                first, start, begun = report.ticks, tracker.now.q, tracker.underruns
            q, dq, ddq = swing((report.ticks + 20 - first) / 1000)
            t_ns = (report.ticks + 20) * NS_PER_MS
            motion.offer(Knot(t_ns, start + q, dq, ddq, np.nan, begun), report)
        motion.keep_up(too_late=False)
        if k >= ticks and motion.standing:
            motion.end()
            return motion, off_rad
        before = report
    raise AssertionError("it does not come to rest")


def shares(robot: Robot, spec: ArmSpec) -> plant.Extremes:
    """As `tandem eval` judges the emulator's record."""
    path = np.array(robot.path)
    return plant.extremes(np.arange(len(path)) * NS_PER_MS, path, spec)


@pytest.mark.parametrize("control", KINDS)
@example(seed=1021880114, share=0.08371630392743815)  # it turns back while nobody looks
@example(seed=758216291, share=0.12218490723828525)
@example(seed=516, share=0.09375)  # of the very first, some are lost
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1 << 30), share=st.floats(0.0, 0.1))
def test_whatever_is_lost_or_unseen_no_limit_is_broken_and_it_ends_at_rest(control, seed, share):
    rng, fates = np.random.default_rng(seed), []
    while len(fates) < 3000:
        burst = int(rng.integers(1, 15)) if rng.random() < share else 0
        fates += [str(rng.choice(["lost", "unseen"]))] * burst + [""] * 3
    robot = Robot(control)
    _, off_rad = driven(robot, KINDS[control], 800, fates.__getitem__)
    assert [error for error in robot.errors if error is not None] == []
    assert robot.judge.tally.violations == {}
    assert not robot.judge.dq.any()
    assert off_rad < 1e-5
    assert shares(robot, plant.plant_spec(config.load("franka_fr3"))).inside


def test_a_stop_after_lost_packets_is_judged_by_the_limits_of_the_arm_that_stops():
    """An FR3 brakes its second joint at 8 rad/s², and a Panda, whose cell it is, can do 7.5."""
    robot = Robot("position")
    driven(robot, Motion, 1040, lambda k: "lost" if 1000 <= k < 1004 else "")
    own = plant.plant_spec(config.load("franka_fr3"))
    assert shares(robot, own).acceleration_share == pytest.approx(0.8, abs=0.02)
    assert shares(robot, panda_spec()).acceleration_share == pytest.approx(1.067, abs=0.02)


def test_what_is_too_small_to_be_noticed_does_not_add_up():
    """Beside the path by so little in every millisecond makes 1.2 mrad of 4 s, untold."""
    slip_rad, ticks = 3e-7, 4000
    robot = Robot("velocity", slip_rad)
    motion, off_rad = driven(robot, VelocityMotion, ticks)
    assert motion.lost == 0
    assert robot.judge.tally.violations == {}
    assert off_rad < 0.05 * slip_rad * ticks


@pytest.mark.parametrize("kind", ["fr3", "fer"])
def test_lost_packets_and_faults_are_met_as_in_position_control(kind):
    with emulator(kind, "--lockstep", "--seed", "5") as rig:
        cell = Cell(rig, seed=5, line=BY_VELOCITY[kind])
        cell.go()
        cell.move(0.6)
        rig.fault("lose", share=0.05, burst=14)
        cell.move(1.5)
        report = rig.report()
        assert cell.mode == "policy"
        assert (report["violations"], report["motion"]) == ({}, True)
        assert report["lost"] > 20
        assert max(report["peaks"].values()) <= 1.0
        assert cell.off_set_point_rad < 2e-5
        cell.arm.close()
        report = rig.report()  # stopped, and told so: no reflex is left behind
        assert (report["mode"], report["violations"], report["motion"]) == ("idle", {}, False)
        assert not np.any(report["dq_d"])
        rounds = Rounds(rig, 5, PATIENCE_S, BY_VELOCITY[kind])
        named = {"fr3": FAULTS, "fer": ("25 packets lost",)}[kind]
        for name in named:
            if name != "robot silent":  # which is measured on the machine's clock
                assert rounds.hurt(name) == []
        rounds.cell.arm.close()
