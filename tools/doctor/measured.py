"""What takes seconds to find out: how late a 1 kHz loop wakes, how fast the disk takes data."""

import os
import tempfile
import time
from pathlib import Path

from tandem.tools.doctor.finding import Finding, advice, ok, wrong
from tandem.tools.doctor.probes import Tried

_MIB = 1 << 20
_BLOCKS = 64
_RECORDING_MIB_S = 30.0  # two cameras, compressed, and all that is said, with a margin
_P99_US, _MAX_US = 500.0, 2000.0


def lateness(tried: Tried, seconds: float) -> Finding:
    """Of a process that asks for real time as the executor does."""
    name = f"wake-ups, 1 kHz, {seconds:g} s"
    if tried.failed:
        return wrong(name, tried.failed, "nothing is known of this machine's lateness", "try again")
    _, p50, p99, p999, longest = (value / 1e3 for value in tried.answer)
    found = f"late p50 {p50:.0f}, p99 {p99:.0f}, p99.9 {p999:.0f}, max {longest:.0f} µs"
    if p99 > _P99_US:
        return wrong(
            name,
            f"{found} (p99 at most {_P99_US:.0f})",
            "an arm at 1 kHz misses commands all the time",
            "mend what is named above; end what else computes here; tandem bench jitter tells more",
        )
    if longest > _MAX_US:
        return advice(
            name,
            f"{found} (max at most {_MAX_US:.0f})",
            "one such wake-up in a while makes an arm at 1 kHz miss a command",
            "PREEMPT_RT and a core for the executor alone",
        )
    return ok(name, found)


def write_speed(folder: Path) -> float:
    """MiB/s that reach the disk in `folder`."""
    block = os.urandom(_MIB)
    with tempfile.TemporaryFile(dir=folder) as file:
        begun_s = time.monotonic()
        for _ in range(_BLOCKS):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return _BLOCKS / (time.monotonic() - begun_s)


def disk_speed(mib_s: float) -> Finding:
    found = f"{mib_s:.0f} MiB/s"
    if mib_s < _RECORDING_MIB_S:
        return wrong(
            "disk speed",
            found,
            "a recording loses images",
            "set record.path to a folder on a local disk, not on the network or a card",
        )
    return ok("disk speed", found)
