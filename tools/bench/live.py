"""The real thing to measure: the daemon with its processes, on the simulated arm, in motion.

Nothing is patched or stubbed: `tandem run` starts the processes of a configuration, and a `go`
engages them. By itself, the executor is measured with the plant and a System 1 that never rests
(`swing`): a robot that holds still would measure less than one that moves. `whole` is the shipped
configuration with its cameras, System 2 and System 1 instead.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tandem.runtime import config, streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import DeviceTimeoutError, TandemError
from tandem.runtime.messages import Tick
from tandem.tools import control
from tandem.tools.bench import children, machine, ticks
from tandem.tools.bench.runs import Stamps

CONFIG = "sim_panda"
POLICY = "tandem.tools.bench.swing:make"
INSTRUCTION = "pick up the red cube"
_START_S = 90.0
_ENGAGE_S = 30.0
_END_S = 15.0
_POLL_S = 0.05
_SETTLE_S = 1.0  # after engaging: caches fill, the first batches are heard


@dataclass(frozen=True)
class Recording:
    """What the executor did for a while."""

    batches: list[Tick]
    cpu_share: float
    granted: dict[str, str]  # what real time the executor asked for and was given

    @property
    def stamps(self) -> Stamps:
        return ticks.stamps(self.batches)


class System:
    """A running daemon, seen from outside."""

    def __init__(self, folder: Path, pid: int, bus: ZmqBus) -> None:
        self.folder, self.pid = folder, pid
        self._ticks = bus.subscriber(streams.TICK, "executor")

    def record(self, seconds: float) -> Recording:
        """Every tick of the executor for about `seconds`.

        Raises:
            TandemError: it stopped moving, was started again, or its telemetry was lost.
        """
        batches, start_ns = [], time.monotonic_ns()
        cpu_ns, end_ns = machine.cpu_time_ns(self.pid), start_ns + round(seconds * NS_PER_S)
        while time.monotonic_ns() < end_ns:
            time.sleep(_POLL_S)
            batches += self._ticks.poll()
        used_ns = machine.cpu_time_ns(self.pid) - cpu_ns
        cpu_share = used_ns / (time.monotonic_ns() - start_ns)
        return Recording(batches, cpu_share, self.still_moving())

    def watch(self, seconds: float) -> dict[str, float]:
        """Let it run for `seconds`; the newest gauges of the executor."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(_POLL_S, left_s))
            self._ticks.poll()
        newest = self._ticks.latest
        return dict(newest.gauges) if newest is not None else {}

    def go_on(self) -> bool:
        """Engage again if the executor has left the policy; did it?

        Raises:
            TandemError: it is another executor by now, or refuses.
        """
        status = control.ask(self.folder, "status").data
        if status["children"]["executor"]["pid"] != self.pid:
            raise TandemError("the executor was started again: what was measured is gone with it")
        if status["mode"] == "policy":
            return False
        control.go(self.folder, INSTRUCTION, _ENGAGE_S)
        return True

    def still_moving(self) -> dict[str, str]:
        """What the executor was granted; raises TandemError unless it still follows the policy."""
        status = control.ask(self.folder, "status").data
        executor = status["children"]["executor"]
        if status["mode"] != "policy" or executor["pid"] != self.pid:
            reason = status.get("fault") or status.get("holding_for") or "no reason told"
            raise TandemError(f"the executor left the policy ({status['mode']}: {reason})")
        return dict(executor["facts"])


@dataclass(frozen=True)
class Wanted:
    """`instrument`: what `instrumented` puts into the executor; None leaves it as it is."""

    rate_hz: float
    cpu: int
    priority: int
    instrument: str | None = None
    whole: bool = False


@contextlib.contextmanager
def system(wanted: Wanted) -> Iterator[System]:
    """Start the daemon, engage it, hand it over, and end it.

    Raises:
        TandemError: it did not start, or refused to engage; the message is its reason.
    """
    with tempfile.TemporaryDirectory(prefix="tandem-bench-", dir="/dev/shm") as name:
        folder = Path(name)
        chosen = config.load(CONFIG, _overrides(folder / "run", wanted))
        config.save(chosen, folder / "bench.yaml")
        command = _command(folder / "bench.yaml", wanted.instrument)
        with children.child(command, grace_s=_END_S) as process:
            _await_daemon(chosen.folder, process)
            status = control.go(chosen.folder, INSTRUCTION, _ENGAGE_S)
            bus = ZmqBus(chosen.folder, "bench")
            try:
                running = System(chosen.folder, status["children"]["executor"]["pid"], bus)
                running.watch(_SETTLE_S)
                yield running
            finally:
                bus.close()


def _command(file: Path, instrument: str | None) -> list[str]:
    if instrument is None:
        return [sys.executable, "-m", "tandem.tools.main", "run", str(file)]
    return children.module("daemon", file, instrument)


def _overrides(folder: Path, wanted: Wanted) -> list[str]:
    executor = [
        f"runtime_dir={folder}",
        f"executor.rate_hz={wanted.rate_hz:g}",
        f"executor.cpu={wanted.cpu}",
        f"executor.priority={wanted.priority}",
    ]
    if wanted.whole:
        return [*executor, "sim.cubes=6"]  # every colour is on the table
    return [*executor, "cameras={}", "s2=null", f"s1={{policy: '{POLICY}'}}"]


def _await_daemon(folder: Path, process: "children.Process") -> None:
    """Wait until every process of the daemon is ready and the executor was heard."""
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise TandemError(f"`tandem run` ended with code {process.returncode}; see above")
        with contextlib.suppress(TandemError):
            status = control.ask(folder, "status").data
            ready = all(child["state"] == "ready" for child in status["children"].values())
            if ready and status["mode"] != "starting":
                return
        time.sleep(_POLL_S)
    raise DeviceTimeoutError(f"`tandem run` was not ready within {_START_S:g} s")
