"""Ask the system for real time, and report what was granted, with the command that fixes a refusal.

Nothing here is required: a loop that is refused runs all the same, later than it could. Create the
ZeroMQ context before: its thread would inherit FIFO, and two of those on one core block each other.
"""

import atexit
import contextlib
import ctypes
import errno
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tandem.runtime.clock import ahead_ns

_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_MCL_CURRENT_AND_FUTURE = 3
_LATENCY_DEVICE = Path("/dev/cpu_dma_latency")
_LIMITS = "/etc/security/limits.d/50-tandem.conf"


@dataclass
class Granted:
    """What was asked for, by name, and what came of it."""

    facts: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # name: why, and what to do
    # Closing it would take the promise of short wake-ups back.
    latency_fd: int | None = None

    def ask(self, name: str, granted: str, call: Callable[[], object], fix: str) -> None:
        """Make one request; a refusal is noted, never raised."""
        try:
            call()
        except OSError as error:
            self.facts[name] = "refused"
            self.refused[name] = f"{error.strerror or error}; {fix}"
        else:
            self.facts[name] = granted

    def lines(self) -> dict[str, str]:
        """For people: what was granted, and for each refusal what would help."""
        return self.facts | {name: f"refused: {why}" for name, why in self.refused.items()}


def real_time(priority: int, cpu: int | None = None) -> Granted:
    """Ask for SCHED_FIFO at `priority` (0: stay ordinary), one core, and no late wake-ups.

    Children and later threads start ordinary again (SCHED_RESET_ON_FORK).
    """
    granted = Granted()
    if cpu is not None:
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        granted.ask(
            "core", str(cpu), lambda: os.sched_setaffinity(0, {cpu}), f"choose one of {cores}"
        )
    if priority > 0:
        granted.ask("scheduling", f"FIFO {priority}", lambda: _fifo(priority), _limit("rtprio 99"))
        granted.ask("memory", "locked", _lock_memory, _limit("memlock unlimited"))
    granted.ask("timer slack", "1 ns", lambda: _prctl(_PR_SET_TIMERSLACK, 1), "no sleep is exact")
    granted.ask(
        "deep sleep of the CPU",
        "off",
        lambda: _awake(granted),
        f"sudo chmod o+rw {_LATENCY_DEVICE} (systemd/ has a udev rule that lasts)",
    )
    return granted


def nice(level: int = 10) -> Granted:
    """Step back behind the loops that command and read the robot."""
    granted = Granted()
    granted.ask(
        "scheduling",
        f"nice {level}",
        lambda: os.setpriority(os.PRIO_PROCESS, 0, level),
        "a process may not become less nice again",
    )
    return granted


def freeze_garbage() -> None:
    """No collection from now on: one takes milliseconds, and a tick makes no cycles."""
    atexit.register(gc.unfreeze)  # else what is frozen counts as leaked, and is complained of
    gc.collect()
    gc.freeze()
    gc.disable()


def suspended_ns() -> int:
    """How long this machine has been suspended in all: CLOCK_MONOTONIC leaves that out."""
    return ahead_ns(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def ending_on_term(end: Callable[[], None]) -> Iterator[None]:
    """SIGTERM calls `end`; SIGINT, a Ctrl-C meant for the supervisor, is ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: end()),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fifo(priority: int) -> None:
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, policy, os.sched_param(priority))


def _lock_memory() -> None:
    """No page of ours is ever fetched from disk in the middle of a tick."""
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT_AND_FUTURE) != 0:
        code = ctypes.get_errno() or errno.EPERM
        raise OSError(code, os.strerror(code))


def end_with_parent() -> bool:
    """From now on the kernel sends us SIGTERM when our parent dies. False: it has died already."""
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno() or errno.EPERM
        raise OSError(code, os.strerror(code))


def _awake(granted: Granted) -> None:
    """The kernel keeps the CPU out of states that take long to wake from while the file is open."""
    fd = os.open(_LATENCY_DEVICE, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, (0).to_bytes(4, "little"))
    except OSError:
        os.close(fd)
        raise
    granted.latency_fd = fd


def _limit(what: str) -> str:
    user = os.environ.get("USER", "your-user")
    return f'echo "{user} - {what}" | sudo tee -a {_LIMITS}, then log in again'
