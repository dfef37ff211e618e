"""An emulated SO-101 in its own process; what is to go wrong is told to its standard input."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tandem.drivers.so101.arm import So101Arm
from tandem.runtime import arm_file, config
from tandem.runtime.errors import DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import ArmState, Knot

MODEL = arm_file.load(config.PACKAGED / "limits" / "so101.yaml")
SPEC = MODEL.spec
TICK_S = 0.01
_PATIENCE_S = 10.0  # a machine may stall
_AHEAD_S = 0.08  # more than an executor takes, because a test may be kept waiting


class Emulator:
    def __init__(self, folder: Path, *options: str) -> None:
        self.link = folder / "bus"
        command = [sys.executable, "-m", "tandem.tools.main", "feetech-emulator"]
        self._process = subprocess.Popen(
            [*command, "--link", str(self.link), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert "six servos" in self._process.stdout.readline()
        with contextlib.suppress(PermissionError):  # as if it had a processor of its own
            os.sched_setscheduler(self._process.pid, os.SCHED_FIFO, os.sched_param(61))

    def tell(self, order: str) -> str:
        """Its answer: whoever reads it knows that the order was carried out."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(order + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    def count(self) -> dict[str, int]:
        pairs = (pair.split("=") for pair in self.tell("count").split())
        return {name: int(number) for name, number in pairs}

    def close(self) -> None:
        process = self._process
        process.terminate()
        process.wait(20)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


@contextlib.contextmanager
def in_real_time() -> Iterator[None]:
    """As the executor is, if we may: a crowded machine must not make servos of ours look silent."""
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(60))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, param)


class Hand:
    """Ticks an arm as the executor does: read, then send what is due; keeps what came of it."""

    def __init__(self, arm: So101Arm) -> None:
        self.arm = arm
        self.states: list[ArmState] = []
        self.problems: list[str] = []

    def look(self, seconds: float, until: Callable[[ArmState], bool] | None = None) -> ArmState:
        """Only read, for so long, or until a state is as wanted."""
        end_s = time.monotonic() + max(seconds, _PATIENCE_S if until else 0.0)
        while time.monotonic() < end_s:
            heard = self._read()
            if heard and until and until(self.states[-1]):
                return self.states[-1]
            time.sleep(TICK_S)
        assert until is None, f"not in time; {self.problems[-3:]} {self.states[-1:]}"
        return self.states[-1]

    def trouble(self, words: str) -> str:
        """Only read, until an error says so."""
        end_s = time.monotonic() + _PATIENCE_S
        while not any(words in problem for problem in self.problems):
            assert time.monotonic() < end_s, f"no {words!r} in {self.problems[-3:]}"
            self._read()
            time.sleep(TICK_S)
        return next(problem for problem in self.problems if words in problem)

    def move(self, away: np.ndarray, seconds: float, gripper: float = float("nan")) -> None:
        """A smooth step of the joints by `away` [D] rad, knots well ahead."""
        start = self.states[-1].q_d
        t0_ns = time.monotonic_ns()
        while (passed_s := (time.monotonic_ns() - t0_ns) * 1e-9) < seconds:
            self._read()
            self.arm.send(self._knot(start, away, passed_s, seconds, t0_ns, gripper))
            time.sleep(TICK_S)

    def _knot(
        self,
        start: np.ndarray,
        away: np.ndarray,
        passed_s: float,
        seconds: float,
        t0_ns: int,
        gripper: float,
    ) -> Knot:
        ahead_s = passed_s + _AHEAD_S
        u = min(ahead_s / seconds, 1.0)
        s = u**3 * (10 - 15 * u + 6 * u * u)
        ds = 30 * u * u * (1 - u) ** 2 / seconds
        dds = 60 * u * (1 - 3 * u + 2 * u * u) / seconds**2
        t_ns = t0_ns + round(ahead_s * 1e9)
        underruns = self.states[-1].underruns
        return Knot(t_ns, start + s * away, ds * away, dds * away, gripper, underruns)

    def _read(self) -> bool:
        try:
            self.states.append(self.arm.read(2_000_000))
        except DeviceTimeoutError:
            return False
        except DeviceError as error:
            self.problems.append(str(error))
            return False
        return True
