"""The drivers under test, each with its arm: what a law may do to it, and the truth about it.

Truth never comes through the driver: it is asked of the plant, or of the emulator's own port.
"""

import contextlib
import os
import time
from collections.abc import Iterator

import numpy as np
from tandem.drivers.fake import FakeArm
from tandem.drivers.franka.arm import FrankaArm
from tandem.drivers.sim.lockstep import LockstepArm, LockstepCell
from tandem.drivers.sim.world import World
from tandem.runtime import arm_file, config
from tandem.runtime.clock import NS_PER_MS, VirtualClock
from tandem.runtime.errors import DeviceError
from tandem.runtime.interfaces import Arm, ArmState

from tests.drivers.franka_rig import BY_VELOCITY, MODELS, Rig, emulator

# The suite's ten thousand set-points take a minute; every run takes a fifth of them.
LONG = bool(os.environ.get("TANDEM_LONG_TESTS"))
BY = " by velocity"
PANDA = arm_file.load(config.PACKAGED / "limits" / "panda.yaml")


class Subject:
    """One arm. `period_ns` between set-points, sent `lead_ns` ahead of the newest state."""

    period_ns, lead_ns = 5 * NS_PER_MS, 10 * NS_PER_MS
    set_points = 10_000 if LONG else 2_000
    can_fall_silent = can_reconnect = exclusive = True
    pace_s = 0.0  # real seconds that a millisecond of the arm may take while nothing moves

    clock: VirtualClock

    def make(self) -> Arm:
        """A client of its own, not connected."""
        raise NotImplementedError

    def truth(self) -> np.ndarray:
        """[7] rad, where the joints are."""
        raise NotImplementedError

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """[7] rad each: what the arm itself allows."""
        raise NotImplementedError

    def wait(self) -> None:
        """Let one period pass, as an executor would."""
        self.clock.sleep_until(self.clock.now_ns() + self.period_ns)

    def silence(self) -> None:
        raise NotImplementedError

    def reflex(self) -> None:
        raise NotImplementedError

    def calm(self) -> None:
        """The cause of the reflex is gone; the reflex stays."""

    def cut(self) -> None:
        """End the connection from the other side, then be reachable again."""
        raise NotImplementedError


class Fake(Subject):
    can_reconnect = False

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.arm: FakeArm | None = None

    def make(self) -> Arm:
        self.arm = FakeArm(PANDA.spec, PANDA.home_q, self.clock, trace=True)
        return self.arm

    def truth(self) -> np.ndarray:
        return self.arm.followed[-1][1] if self.arm.followed else PANDA.home_q

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        return PANDA.spec.q_min, PANDA.spec.q_max

    def silence(self) -> None:
        self.arm.go_silent()

    def reflex(self) -> None:
        self.arm.interrupt("reflex", "it met something; clear the way, then reset")


class Simulated(Subject):
    can_fall_silent = can_reconnect = False  # in lockstep there is nobody to fall silent

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.cell = LockstepCell(World(seed=1, cubes=1), self.clock)

    def make(self) -> Arm:
        return LockstepArm(self.cell)

    def truth(self) -> np.ndarray:
        self.cell.advance()
        return self.cell.plant.world.q

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        return PANDA.spec.q_min, PANDA.spec.q_max

    def reflex(self) -> None:
        self.cell.plant.interrupt("reflex", "it met something; clear the way, then reset")


class Franka(Subject):
    period_ns = lead_ns = NS_PER_MS

    def __init__(self, rig: Rig, line=None) -> None:
        self.rig, self.line = rig, line
        self.clock = VirtualClock()
        self._made: list[FrankaArm] = []

    def make(self) -> Arm:
        self._made.append(self.rig.arm(self.clock, self.line))
        return self._made[-1]

    def close(self) -> None:
        for arm in self._made:
            arm.close()

    def truth(self) -> np.ndarray:
        return np.array(self.rig.report()["q"])

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        report = self.rig.report()
        return np.array(report["q_min"]), np.array(report["q_max"])

    def wait(self) -> None:
        """The arm gives the beat: reading waits."""

    def silence(self) -> None:
        self.rig.fault("silence")

    def reflex(self) -> None:
        self.rig.fault("reflex")

    def cut(self) -> None:
        self.rig.fault("close_tcp")
        time.sleep(0.05)


@contextlib.contextmanager
def robot(kind: str) -> Iterator[Rig | None]:
    """The emulator behind this kind of subject, if it has one."""
    kind = kind.removesuffix(BY)
    if kind not in MODELS:
        yield None
        return
    # No table knows this robot: who does not ask it, does not know its range.
    narrower = ("--narrower-rad", "0.05") if kind == "fr3" else ()
    with emulator(kind, "--lockstep", *narrower) as rig:
        yield rig


@contextlib.contextmanager
def subject(kind: str, rig: Rig | None) -> Iterator[Subject]:
    if rig is None:
        yield Fake() if kind == "fake" else Simulated()
        return
    rig.restart()
    line = BY_VELOCITY[rig.kind] if kind.endswith(BY) else None
    with contextlib.closing(Franka(rig, line)) as franka:
        yield franka


def next_state(given: Subject, arm: Arm, tries: int = 3000) -> ArmState:
    """The next state, however long the arm takes to find its voice again."""
    for _ in range(tries):
        given.wait()
        with contextlib.suppress(DeviceError):
            return arm.read(20 * NS_PER_MS)
        given.clock.sleep_until(given.clock.now_ns() + NS_PER_MS)
        time.sleep(0.001)
    raise AssertionError("it does not speak again")
