"""The SO-101 passes every law of an arm's driver, in lockstep with its emulated bus."""

import contextlib
import itertools
from collections import deque

import numpy as np
import pytest
from tandem.drivers.so101.arm import So101Arm
from tandem.drivers.so101.errors import PortError, SilentServoError
from tandem.drivers.so101.port import SerialPort
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, VirtualClock
from tandem.runtime.errors import DeviceError, DeviceTimeoutError
from tandem.tools.feetech_emulator.bus import Wire
from tandem.tools.feetech_emulator.main import SO101, servos

from tests.drivers.conformance.laws import LAWS, Drive
from tests.drivers.conformance.subjects import Subject
from tests.drivers.so101_rig import SPEC

RAD_PER_STEP = 2 * np.pi / 4096
JOINTS = SO101[:5]
_BYTE_NS = 10_000  # at 1 Mbaud


class Loopback(SerialPort):
    """The emulated wire without a terminal between: bytes take the time that they take on it."""

    def __init__(self, wire: Wire, clock: VirtualClock) -> None:
        super().__init__("loopback", 1_000_000)
        self.wire, self.clock = wire, clock
        self.up = self.broken = False
        self.late_ns = 0  # beyond what the bytes take
        self._coming: deque[tuple[int, bytes]] = deque()

    @property
    def open(self) -> bool:
        return self.up

    def connect(self) -> None:
        self.up, self.broken = True, False

    def close(self) -> None:
        self.up = False
        self._coming.clear()

    def write(self, data: bytes) -> None:
        self._check()
        now_ns = self.clock.now_ns()
        self.wire.advance(now_ns / NS_PER_S)
        answer = self.wire.take(data)
        wire_ns = _BYTE_NS * (len(data) + len(answer))
        self._coming.append((now_ns + wire_ns + self.late_ns, answer))

    def read(self) -> bytes:
        self._check()
        there = b""
        while self._coming and self._coming[0][0] <= self.clock.now_ns():
            there += self._coming.popleft()[1]
        return there

    def wait(self, timeout_ns: int) -> None:
        end_ns = self.clock.now_ns() + timeout_ns
        due_ns = self._coming[0][0] if self._coming else end_ns
        self.clock.sleep_until(min(due_ns, end_ns))

    def _check(self) -> None:
        if self.broken or not self.up:
            raise PortError("the loopback was cut; recover on purpose")


class So101(Subject):
    period_ns, lead_ns = 10 * NS_PER_MS, 20 * NS_PER_MS

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.wire = Wire(servos())
        self.wire.start(self.clock.now_ns() / NS_PER_S)
        for servo in self.wire.servos.values():
            servo.stiffness_per_s = 1000.0  # follows at once, so that truth is what was commanded
        self.port = Loopback(self.wire, self.clock)

    def make(self) -> So101Arm:
        return So101Arm(SPEC, "loopback", clock=self.clock, serial=self.port)

    def truth(self) -> np.ndarray:
        self.wire.advance(self.clock.now_ns() / NS_PER_S)
        middles = [(low + high) / 2 for _, low, high, _ in JOINTS]
        shown = [self.wire.servos[i].shown for i in range(1, 6)]
        return (np.array(shown) - middles) * RAD_PER_STEP

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        reach = np.array([(high - low) / 2 for _, low, high, _ in JOINTS]) * RAD_PER_STEP
        return np.maximum(-reach, SPEC.q_min), np.minimum(reach, SPEC.q_max)

    def silence(self) -> None:
        self.wire.faults.silent |= {1, 2, 3, 4, 5, 6}

    def reflex(self) -> None:
        self.wire.servos[2].overload()

    def cut(self) -> None:
        self.port.broken = True


def test_an_answer_that_was_given_up_is_not_taken_for_the_next():
    """It comes after the next question was asked, and tells of set-points that are past."""
    given = So101()
    drive = Drive(given, given.make())
    path = drive.swing(0, 0.2)
    states = []
    for tick in range(50):
        given.port.late_ns = 15 * NS_PER_MS if tick % 5 == 0 else 0
        drive.send(given.clock.now_ns() + given.lead_ns, path(tick * 0.01))
        given.wait()
        with contextlib.suppress(DeviceTimeoutError):
            states.append(drive.arm.read(2 * NS_PER_MS))
    counters = drive.arm.counters
    assert counters["answers_lost"] == 10
    assert counters["set_points_missed"] == 0
    assert all(later.t_ns > state.t_ns for state, later in itertools.pairwise(states))


def test_a_servo_is_silent_only_if_it_was_asked():
    """A computer that stands still asks nobody: three lost answers count, at any pace."""
    given = So101()
    drive = Drive(given, given.make())
    given.silence()
    before = drive.arm.counters["answers_lost"]
    for lost in (1, 2, 3):
        given.clock.sleep_until(given.clock.now_ns() + 300 * NS_PER_MS)
        with pytest.raises(SilentServoError if lost == 3 else DeviceTimeoutError):
            _asked_in_vain(drive, before + lost)


def _asked_in_vain(drive: Drive, lost: int) -> None:
    """Read until so many answers were lost; raises what the last read said."""
    while drive.arm.counters["answers_lost"] < lost:
        try:
            drive.arm.read(2 * NS_PER_MS)
        except DeviceError as error:
            told = error
    raise told


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law):
    given = So101()
    law(given, given.make)
