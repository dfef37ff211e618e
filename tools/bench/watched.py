"""`tandem bench console`: what it costs to be watched: a daemon at 1 kHz, now alone, now watched.

Rounds with and without take turns in one run of one daemon, so what the machine does meanwhile
falls on both; what counts is the difference of each pair. The console runs on a real
pseudo-terminal of the size asked for. CPU time is the kernel's own count, in nanoseconds.
"""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from tandem.runtime import folder
from tandem.runtime.errors import DeviceTimeoutError, TandemError
from tandem.tools import control
from tandem.tools.bench import children, machine, output
from tandem.tools.bench.bars import Bar

DAEMON_SHARE, OWN_SHARE = 0.03, 0.10  # of a core
_START_S = 30.0
_WARM_S = 2.0
_SETTLE_S = 4.0  # until the console has started, attached and drawn


@dataclass(frozen=True)
class Settings:
    rounds: int = 8  # of each, with and without
    seconds: float = 6.0  # of each
    rate_hz: float = 1000.0
    columns: int = 200
    rows: int = 50


def measure(settings: Settings, tell: output.Tell) -> dict[str, Any]:
    """Run it; the finished document."""
    rounds: list[dict[str, Any]] = []
    with _daemon(settings) as base:
        for number in range(settings.rounds):
            pair: dict[str, Any] = {}
            for watched in (False, True) if number % 2 else (True, False):
                pair |= _round(base, settings, watched)
            rounds.append(pair)
            tell(
                f"pair {number + 1}: daemon {pair['alone']:.3f} alone, {pair['watched']:.3f} "
                f"watched, the console itself {pair['console']:.3f} of a core"
            )
    body = {"settings": asdict(settings), "pairs": rounds, **analyse(rounds)}
    return output.document("console", settings.rounds, body, held(body))


def analyse(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares of a core: mean difference of the pairs, its standard error, the console's mean."""
    differences = np.array([pair["watched"] - pair["alone"] for pair in rounds])
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else float("nan")
    return {
        "daemon_alone": float(np.mean([pair["alone"] for pair in rounds])),
        "daemon_watched": float(np.mean([pair["watched"] for pair in rounds])),
        "daemon_more": float(differences.mean()),
        "daemon_more_error": spread / np.sqrt(len(differences)),
        "console": float(np.mean([pair["console"] for pair in rounds])),
        "console_max": float(max(pair["console"] for pair in rounds)),
    }


def held(figures: dict[str, Any]) -> list[Bar]:
    """The daemon's share with twice its error on top: what it costs at most, very probably."""
    most = figures["daemon_more"] + 2 * figures["daemon_more_error"]
    return [
        Bar("console", "daemon's share of a core, at most", float(most), DAEMON_SHARE),
        Bar("console", "its own share of a core", figures["console"], OWN_SHARE),
    ]


def table(result: dict[str, Any]) -> Table:
    asked = result["settings"]
    title = f"console of {asked['columns']}×{asked['rows']} at {asked['rate_hz']:g} Hz"
    shown = output.figure_table(title, "share of a core", ("mean", "error or max"))
    for name, key, more in (
        ("daemon alone", "daemon_alone", ""),
        ("daemon watched", "daemon_watched", ""),
        ("difference", "daemon_more", f"± {result['daemon_more_error']:.4f}"),
        ("the console itself", "console", f"max {result['console_max']:.4f}"),
    ):
        shown.add_row(name, f"{result[key]:.4f}", more)
    return shown


def _round(base: Path, settings: Settings, watched: bool) -> dict[str, Any]:
    if not watched:
        time.sleep(_SETTLE_S)
        return {"alone": _spent(base, settings.seconds)[0]}
    with _console(base, settings) as process:
        time.sleep(_SETTLE_S)
        daemon, own = _spent(base, settings.seconds, process.pid)
    return {"watched": daemon, "console": own}


def _spent(base: Path, seconds: float, other: int | None = None) -> tuple[float, float]:
    """Shares of a core that the daemon's processes, and another one, take."""
    (daemon,) = folder.running(base)
    pids = [daemon.holder.pid, *daemon.holder.children.values()]
    groups = (pids, [other] if other else [])
    begun_ns, before = time.monotonic_ns(), [machine.cpu_time_ns(*group) for group in groups]
    time.sleep(seconds)
    passed_ns = time.monotonic_ns() - begun_ns
    after = [machine.cpu_time_ns(*group) for group in groups]
    return (after[0] - before[0]) / passed_ns, (after[1] - before[1]) / passed_ns


@contextmanager
def _daemon(settings: Settings) -> Iterator[Path]:
    """`tandem run fake` in a folder of its own, holding; yields the folder of runtime folders."""
    with tempfile.TemporaryDirectory(prefix="tandem-b", dir="/dev/shm") as made:
        rate = f"executor.rate_hz={settings.rate_hz:g}"
        words = ["-m", "tandem.tools.main", "run", "fake", "--config-override", rate]
        command = ["env", f"TANDEM_RUNTIME_DIR={made}", sys.executable, *words]
        with children.child(command) as process:
            deadline_s = time.monotonic() + _START_S
            while not _ready(Path(made)):
                if time.monotonic() > deadline_s or process.poll() is not None:
                    raise DeviceTimeoutError("the daemon did not get ready: try tandem run fake")
                time.sleep(0.1)
            time.sleep(_WARM_S)
            yield Path(made)


def _ready(base: Path) -> bool:
    """It holds: before, an executor that still rehearses would count as a cheap one."""
    try:
        return any(
            control.ask(d.folder, "status").data["mode"] == "hold" for d in folder.running(base)
        )
    except TandemError:
        return False


@contextmanager
def _console(base: Path, settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    """On a terminal of that size, which is read as fast as it draws."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", settings.rows, settings.columns, 0, 0))
    environment = {"TANDEM_RUNTIME_DIR": str(base), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tandem.tools.main", "console"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, **environment, "COLORTERM": "truecolor"},
        start_new_session=True,
    )
    os.close(slave)
    threading.Thread(target=_drain, args=(master,), daemon=True).start()
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        os.close(master)


def _drain(master: int) -> None:
    try:
        while os.read(master, 1 << 16):
            pass
    except OSError:
        return  # its other end is closed
