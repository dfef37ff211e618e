"""The whole daemon on the emulated bus for a while, and an account of every set-point.

A set-point may be missing for one reason only, that the wire says so: an answer that was lost or
late, which the driver and the wire count each for itself.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tandem.runtime.errors import DeviceError
from tandem.tools.feetech_emulator.bus import Counts
from tandem.tools.feetech_emulator.port import Port

_POLICY = "tandem.tools.bench.swing:make"
_EXTRA_WRITES = 2  # the driver's, when it takes hold: goals, then torque


def exercise(make: Callable[[Path], Port], seconds: float) -> bool:
    """Run `tandem run so101` for so long against the port that is made; whether all is accounted.

    Raises:
        DeviceError: the daemon ended before its time.
    """
    with tempfile.TemporaryDirectory(prefix="so101-") as folder:
        port = make(Path(folder) / "bus")
        report = Path(folder) / "report.json"
        daemon = _daemon(Path(folder), port.link, report, seconds)
        try:
            while daemon.poll() is None:
                port.serve(0.05)
        finally:
            daemon.terminate()
            daemon.wait()
            port.unplug()
        if daemon.returncode != 0 or not report.exists():
            raise DeviceError(f"the daemon ended with {daemon.returncode}; what it said is above")
        return account(json.loads(report.read_text()), port.wire.counts)


def account(report: dict[str, Any], wire: Counts) -> bool:
    """Print what became of the set-points; whether the wire explains all that are missing."""
    loop = report["loops"]["executor"]
    # A report leaves out what never happened.
    arm = Counter({name.removeprefix("arm_"): n for name, n in loop["counters"].items()})
    rows = {
        "ticks of the executor": loop["ticks"],
        "missed by it": loop["missed_ticks"],
        "set-points handed to the wire": arm["set_points"],
        "received by the servos' end": wire.sync_writes - _EXTRA_WRITES,
        "not found in the servos": arm["set_points_missed"],
        "put off to the next, an answer was on the wire": arm["set_points_late"],
        "answers lost or too late": arm["answers_lost"],
        "packets damaged": arm["corrupted"] + wire.damaged,
        "longest time without a set-point, ms": wire.longest_gap_us / 1e3,
        "faults": len(report["faults"]),
    }
    for name, value in rows.items():
        print(f"{name:<48}{value:>12}")
    unexplained = arm["set_points_missed"] - arm["answers_lost"]
    fine = unexplained <= 0 and not report["faults"]
    print("every set-point is accounted for" if fine else "some set-points are unaccounted for")
    return fine


def _daemon(folder: Path, port: Path, report: Path, seconds: float) -> "subprocess.Popen[bytes]":
    overrides = {"robot.arm.host": port, "s1.policy": _POLICY}
    words = [w for item in overrides.items() for w in ("--config-override", "{}={}".format(*item))]
    command = [sys.executable, "-m", "tandem.tools.main", "run", "so101", "--go", "swing"]
    return subprocess.Popen(
        [*command, "--seconds", str(seconds), "--report", str(report), *words],
        env=os.environ | {"TANDEM_RUNTIME_DIR": str(folder)},
    )
