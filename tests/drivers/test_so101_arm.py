"""The SO-101 driver on an emulated bus, and everything that a bus and its servos do to it.

Only what happens is asserted, within tenths of seconds; how fast is the affair of benchmarks.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tandem.drivers.so101 import registers
from tandem.drivers.so101.arm import So101Arm
from tandem.drivers.so101.bus import Bus
from tandem.drivers.so101.errors import (
    CalibrationError,
    PortError,
    ServoFaultError,
    SilentServoError,
)
from tandem.drivers.so101.port import SerialPort
from tandem.runtime.clock import MonotonicClock
from tandem.runtime.errors import ConfigError, DeviceError

from tests.drivers.so101_rig import SPEC, Emulator, Hand, in_real_time

STEP_RAD = 2 * np.pi / 4096
AWAY = np.array((0.3, 0.2, -0.2, 0.1, -0.3))


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    made = Emulator(tmp_path_factory.mktemp("so101"))
    yield made
    made.close()


@pytest.fixture
def emulator(process: Emulator) -> Emulator:
    process.tell("reset")
    return process


@pytest.fixture
def hand(emulator: Emulator) -> Iterator[Hand]:
    arm = So101Arm(SPEC, str(emulator.link))
    with in_real_time():
        arm.connect()
        made = Hand(arm)
        made.look(1.0, until=lambda state: state.status == "idle")
        yield made
        arm.close()


# -- as it should be -------------------------------------------------------------------------------


def test_it_holds_where_it_is_and_knows_its_servos_ranges(hand: Hand):
    first = hand.states[0]
    hand.look(0.3)
    for state in hand.states:
        assert np.abs(state.q - first.q).max() <= STEP_RAD
        assert np.abs(state.q_d - first.q).max() <= STEP_RAD
    spec = hand.arm.spec
    assert spec.q_max[2] == pytest.approx(1100 * STEP_RAD)  # 940 … 3140: narrower than the file
    assert spec.q_max[0] == SPEC.q_max[0]  # 780 … 3314: wider


def test_states_are_young_and_in_order(hand: Hand):
    hand.look(0.5)
    hand.look(0.5, until=lambda state: len(hand.states) > 15)
    stamps = [state.t_ns for state in hand.states]
    assert stamps == sorted(set(stamps))


def test_it_follows_a_path_and_no_set_point_is_missed(hand: Hand):
    for way in (AWAY, -AWAY, AWAY, -AWAY):  # again, where a stall of the machine ended the stream
        first, before, begun = len(hand.states), hand.states[-1], dict(hand.arm.counters)
        hand.move(way, 1.5, gripper=1.0)
        state = hand.look(1.0, until=lambda state: state.status == "idle" and not state.dq.any())
        if state.underruns == before.underruns:
            break
    assert np.abs(state.q_d - before.q_d - way).max() < 1e-6
    assert np.abs(state.q - before.q_d - way).max() < 2 * STEP_RAD
    assert state.width_m == pytest.approx(SPEC.width_max_m, rel=0.02)
    counters = {name: count - begun[name] for name, count in hand.arm.counters.items()}
    assert counters["set_points"] > 60
    assert counters["set_points_missed"] == counters["corrupted"] == 0
    steps = np.diff([state.q for state in hand.states[first - 1 :]], axis=0)
    assert np.abs(steps).max() < 0.1


def test_a_stream_that_ends_is_braked(hand: Hand):
    hand.move(AWAY * 4, 0.6)
    assert np.abs(hand.states[-1].dq_d).max() >= 0.0
    state = hand.look(1.0, until=lambda state: state.status == "idle")
    assert state.underruns >= 1
    speeds = np.array([state.dq_d for state in hand.states])
    seen_ns = np.diff([state.t_ns for state in hand.states])  # longer, where we were stalled
    assert np.abs(np.diff(speeds, axis=0)[seen_ns < 50_000_000]).max() < 1.5


def test_stop_comes_to_rest_and_can_be_said_twice(hand: Hand):
    start = hand.states[-1].q_d
    hand.move(AWAY, 0.4)
    hand.arm.stop()
    hand.arm.stop()
    state = hand.look(1.0, until=lambda state: state.status == "idle")
    assert np.abs(state.q_d - start).max() <= np.abs(AWAY).max() + 0.05


def test_a_successor_takes_over_without_a_jump(emulator: Emulator, hand: Hand):
    hand.move(AWAY, 0.8)
    last = hand.look(1.0, until=lambda state: state.status == "idle")
    hand.arm.close()
    successor = So101Arm(SPEC, str(emulator.link))
    successor.connect()
    heir = Hand(successor)
    state = heir.look(1.0, until=lambda state: True)
    assert np.abs(state.q_d - last.q_d).max() <= STEP_RAD
    successor.close()


def test_watched_only_it_stays_limp(emulator: Emulator):
    arm = So101Arm(SPEC, str(emulator.link), hold=False)
    arm.connect()
    hand = Hand(arm)
    before = hand.look(0.5, until=lambda state: True)
    emulator.tell("push 1 200")
    after = hand.look(1.0, until=lambda state: abs(state.q[0] - before.q[0]) > 0.2)
    assert np.array_equal(after.q_d, after.q)
    assert arm.counters["set_points"] == 0
    arm.close()


# -- what goes wrong, and what is said -------------------------------------------------------------


def test_a_silent_servo_is_named_and_only_a_reset_goes_on(emulator: Emulator, hand: Hand):
    emulator.tell("silence 3")
    assert "look at its cable" in hand.trouble("servo 3 (elbow_flex)")
    emulator.tell("speak 3")
    state = hand.look(1.0, until=lambda state: state.status == "reflex")
    assert "elbow_flex" in str(state.error)
    said = hand.arm.counters["set_points"]
    hand.look(0.3)
    assert hand.arm.counters["set_points"] == said
    hand.arm.recover()
    hand.look(1.0, until=lambda state: state.status == "idle")
    hand.move(AWAY, 0.5)
    hand.look(1.0, until=lambda state: state.status == "idle" and state.error is None)


def test_damaged_answers_are_counted_and_never_believed(emulator: Emulator, hand: Hand):
    emulator.tell("corrupt 0.03")
    start = hand.states[-1].q_d
    for way in (AWAY, -AWAY):
        hand.move(way, 0.5)
    counters = hand.arm.counters
    assert counters["corrupted"] > 0
    assert not hand.problems
    q = np.array([state.q for state in hand.states])
    assert np.abs(q - start).max() < np.abs(AWAY).max() + 0.05


def test_an_unplugged_arm_is_not_commanded_when_it_is_back(emulator: Emulator, hand: Hand):
    emulator.tell("unplug")
    hand.trouble("is gone")
    emulator.tell("plug")
    state = hand.look(2.0, until=lambda state: state.t_ns > hand.states[0].t_ns + 300_000_000)
    assert state.status == "reflex"
    assert "bus was lost" in str(state.error)
    before = emulator.count()["sync_writes"]
    hand.look(0.3)
    assert emulator.count()["sync_writes"] == before
    hand.arm.recover()
    hand.look(0.5, until=lambda state: state.status == "idle")
    hand.look(0.5, until=lambda state: emulator.count()["sync_writes"] > before)


def test_a_wish_to_recover_is_not_kept_for_a_bus_that_is_away(emulator: Emulator, hand: Hand):
    emulator.tell("unplug")
    hand.trouble("is gone")
    hand.arm.recover()
    emulator.tell("plug")
    hand.look(2.0, until=lambda state: "bus was lost" in str(state.error))
    assert hand.look(0.3).status == "reflex"


def test_an_overload_is_a_reflex_and_ends_by_recovering(emulator: Emulator, hand: Hand):
    emulator.tell("overload 2")
    state = hand.look(1.0, until=lambda state: state.status == "reflex")
    assert "servo 2 (shoulder_lift): overload" in str(state.error)
    hand.look(0.2)
    hand.arm.recover()
    hand.look(1.0, until=lambda state: state.status == "idle")


def test_what_still_jams_stays_in_reflex(emulator: Emulator, hand: Hand):
    emulator.tell("jam 2")
    hand.look(1.0, until=lambda state: state.status == "reflex")
    hand.look(0.2)
    hand.arm.recover()
    assert hand.look(1.3).status == "reflex"
    emulator.tell("free 2")
    assert hand.look(0.3).status == "reflex"
    hand.arm.recover()
    hand.look(1.0, until=lambda state: state.status == "idle")


def test_lost_power_is_noticed_and_the_arm_taken_where_it_fell(emulator: Emulator, hand: Hand):
    emulator.tell("power")
    emulator.tell("push 2 300")
    state = hand.look(1.0, until=lambda state: state.status == "reflex")
    assert "lost its torque" in str(state.error)
    state = hand.look(0.3)
    assert np.array_equal(state.q_d, state.q)
    fell = state.q
    hand.arm.recover()
    state = hand.look(1.0, until=lambda state: state.status == "idle")
    assert np.abs(hand.look(0.3).q - fell).max() <= 2 * STEP_RAD


@pytest.mark.parametrize(("order", "word"), [("volts 3", "voltage"), ("heat 5 90", "too hot")])
def test_what_the_servos_complain_about(emulator: Emulator, hand: Hand, order: str, word: str):
    emulator.tell(order)
    state = hand.look(1.0, until=lambda state: state.status == "reflex")
    assert word in str(state.error)
    emulator.tell("mend")
    hand.look(0.2)
    hand.arm.recover()
    hand.look(1.0, until=lambda state: state.status == "idle")


# -- before it is connected ------------------------------------------------------------------------


def test_two_programs_cannot_have_one_arm(emulator: Emulator, hand: Hand):
    with pytest.raises(PortError, match="in use by another program"):
        So101Arm(SPEC, str(emulator.link)).connect()
    with pytest.raises(DeviceError, match="connected already"):
        hand.arm.connect()
    assert hand.look(0.2).status == "idle"


def test_no_port_and_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(PortError, match=r"no port .*robot\.arm\.host"):
        So101Arm(SPEC, str(tmp_path / "none")).connect()
    with pytest.raises(ConfigError, match="by-id"):
        So101Arm(SPEC, "")
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(PortError, match="pip install pyserial"):
        So101Arm(SPEC, "/dev/ttyACM0").connect()


def test_nothing_works_before_connect():
    arm = So101Arm(SPEC, "/dev/null")
    with pytest.raises(DeviceError, match=r"connect\(\) first"):
        arm.read(0)
    arm.stop()
    arm.recover()
    arm.close()


def test_a_missing_servo_is_named_at_once(emulator: Emulator):
    emulator.tell("silence 4")
    with pytest.raises(SilentServoError, match=r"servo 4 \(wrist_flex\)"):
        So101Arm(SPEC, str(emulator.link)).connect()
    for servo in (1, 2, 3, 5, 6):
        emulator.tell(f"silence {servo}")
    with pytest.raises(SilentServoError, match="is the arm's power on"):
        So101Arm(SPEC, str(emulator.link)).connect()


def test_a_fault_that_was_there_before(emulator: Emulator):
    emulator.tell("volts 3")
    with pytest.raises(ServoFaultError, match="check the power supply"):
        So101Arm(SPEC, str(emulator.link)).connect()


def test_servos_as_they_left_the_factory_are_refused(emulator: Emulator):
    port = SerialPort(str(emulator.link), 1_000_000)
    port.connect()
    bus = Bus(port, MonotonicClock())
    for servo in (1, 2, 3):
        bus.write(servo, registers.MIN_POSITION, 0)
        bus.write(servo, registers.MAX_POSITION, 4095)
    port.close()
    with pytest.raises(CalibrationError, match=r"shoulder_lift.*never calibrated"):
        So101Arm(SPEC, str(emulator.link)).connect()


def test_a_calibration_of_another_arm_is_refused(emulator: Emulator, tmp_path: Path):
    rows = [
        f'"{name}": {{"id": {i}, "drive_mode": 0, "homing_offset": 1, "range_min": 900, '
        f'"range_max": 3000}}'
        for i, name in enumerate((*SPEC.joint_names, "gripper"), 1)
    ]
    (tmp_path / "arm.json").write_text("{" + ", ".join(rows) + "}")
    arm = So101Arm(SPEC, str(emulator.link), calibration=str(tmp_path / "arm.json"))
    with pytest.raises(CalibrationError, match="shoulder_pan: offset and range"):
        arm.connect()
