"""The real-time probe: a small C loop, built once, that runs above the executor on its core."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tandem.runtime.clock import NS_PER_S, NS_PER_US
from tandem.runtime.errors import TandemError
from tandem.tools.bench import children
from tandem.tools.bench.runs import Stamps

SOURCE = Path(__file__).with_name("probe.c")
# A stall that begins and ends between two wakes of the probe is never seen. At 1 kHz that hid some
# of up to a millisecond; this period and the threshold of `stalls` together show any above 500 µs.
PERIOD_NS = 250 * NS_PER_US
PRIORITY = 95
_HEADER_WORDS = 5
_FLAGS = ("-O2", "-Wall", "-Wextra")


def build() -> Path:
    """The compiled probe, from the cache folder if this source was built before.

    Raises:
        TandemError: there is no C compiler, or it failed.
    """
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    binary = _cache_folder() / f"probe-{digest}"
    if binary.exists():
        return binary
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise TandemError("no C compiler for the real-time probe: sudo apt-get install gcc")
    binary.parent.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_suffix(f".{os.getpid()}")
    result = subprocess.run(
        [compiler, *_FLAGS, "-o", str(fresh), str(SOURCE)], capture_output=True, text=True
    )
    if result.returncode != 0:
        raise TandemError(f"{compiler} could not build the real-time probe:\n{result.stderr}")
    fresh.replace(binary)  # another bench may be building the same
    return binary


class Probe:
    """A probe that runs; `read` at any time gives what it has seen so far."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Stamps:
        return parse(np.fromfile(self._path, dtype="<i8"))


@contextlib.contextmanager
def running(cpu: int, seconds: float) -> Iterator[Probe]:
    """Probe the core `cpu` at 4 kHz, FIFO 95, for the block; it stops by itself after `seconds`.

    Raises:
        TandemError: real time was refused, so that nothing could be explained.
    """
    binary = build()
    count = int(seconds * NS_PER_S / PERIOD_NS)
    with tempfile.TemporaryDirectory(prefix="tandem-probe-", dir="/dev/shm") as folder:
        path = Path(folder) / "stamps"
        command = [str(binary), str(path), str(PERIOD_NS), str(count), str(cpu), str(PRIORITY)]
        with children.child(command, ready_s=10.0):
            yield Probe(path)


def parse(words: np.ndarray) -> Stamps:
    """Stamps out of the probe's file: five words of header, then a wake a tick."""
    t0_ns, period_ns, written = (int(word) for word in words[:3])
    index = np.arange(written, dtype=np.int64)
    return Stamps(index, t0_ns + index * period_ns, words[_HEADER_WORDS:][:written].copy())


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "tandem"
