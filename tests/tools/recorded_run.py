"""The daemon as a user starts it, recording; and recordings with something taken out again."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mcap.reader import make_reader
from tandem.tools.record.reader import Recording
from tandem.tools.record.segments import Bounds, Channel, Segments

HERE = str(Path(__file__).parent)  # where a user's own classes would be
# The simulated arm, swept by scripted minds in processes of their own; nothing of it is lost.
SWEEP = [
    "cameras={front: {driver: sim, size: [32, 32]}}",
    "s2={policy: 'watchful:Watchful', cameras: [front]}",
    "s1={policy: 'tandem.tools.faults.sweep:SweepS1'}",
    "robot.limits.tool_speed_m_s=0.6",
]


def overridden(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--config-override", override)]


def tandem(*words: str, base: Path) -> "subprocess.CompletedProcess[str]":
    """To its end."""
    return subprocess.run(
        command(*words), capture_output=True, text=True, timeout=80, env=environment(base)
    )


def started(*words: str, base: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, text=True, env=environment(base)
    )


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tandem.tools.main", *words]


def environment(base: Path) -> dict[str, str]:
    return os.environ | {"TANDEM_RUNTIME_DIR": str(base), "PYTHONPATH": HERE}


def processes(*words: str) -> list[int]:
    """Whose command line holds all of these words; one should name a folder of the test's own."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = entry.read_bytes()
            if all(word.encode() in line for word in words):
                found.append(int(entry.parent.name))
    return found


def without(folder: Path, out: Path, gone: Callable[[str, int], bool]) -> Recording:
    """A copy of a recording in which some messages (topic, number) are missing."""
    (file,) = folder.glob("*.mcap")
    with file.open("rb") as stream:
        reader = make_reader(stream)
        facts = {m.name: m.metadata for m in reader.iter_metadata() if m.name != "segment"}
        copy = Segments(out, "copy", Bounds(1 << 30, 0), facts)
        for schema, channel, m in reader.iter_messages(log_time_order=False):
            if not gone(channel.topic, m.sequence):
                about = (schema.name, schema.encoding, schema.data)
                to = Channel(channel.topic, channel.message_encoding, *about)
                copy.write(to, m.data, m.sequence, m.log_time, m.publish_time)
        copy.close()
    return Recording(out)
