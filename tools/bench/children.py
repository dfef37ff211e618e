"""Child processes that always go away: on success, on an error, on Ctrl-C, on a dying parent."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from tandem.runtime.errors import DeviceTimeoutError, TandemError
from tandem.runtime.realtime import end_with_parent

_READY = b"ready"
_GRACE_S = 5.0

Process = subprocess.Popen[bytes]


@contextlib.contextmanager
def child(
    command: Sequence[str], ready_s: float | None = None, grace_s: float = _GRACE_S
) -> Iterator[Process]:
    """Run `command` in a session of its own and end that whole session at the end of the block.

    `ready_s`: wait so long for a line "ready" on its stdout first. Its own session keeps Ctrl-C for
    the parent, which then ends the children in order.

    Raises:
        DeviceTimeoutError: it was not ready in time. TandemError: it ended before it was.
    """
    stdout = subprocess.DEVNULL if ready_s is None else subprocess.PIPE
    process = subprocess.Popen(
        command, stdout=stdout, start_new_session=True, preexec_fn=end_with_parent
    )
    try:
        if ready_s is not None:
            _await_ready(process, ready_s)
        yield process
    finally:
        end(process, grace_s)


def module(name: str, *arguments: object) -> list[str]:
    """Command line of a module of this package, in the same interpreter."""
    return [sys.executable, "-m", f"tandem.tools.bench.{name}", *map(str, arguments)]


def finish(process: Process, timeout_s: float) -> None:
    """Wait for a child that ends by itself.

    Raises:
        DeviceTimeoutError: it did not. TandemError: it failed.
    """
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise DeviceTimeoutError(
            f"{_name(process)} was still running after {timeout_s} s"
        ) from error
    if code != 0:
        raise TandemError(f"{_name(process)} ended with code {code}; see its messages above")


def end(process: Process, grace_s: float = _GRACE_S) -> None:
    """SIGTERM to the session, SIGKILL to what is left of it after `grace_s`."""
    _signal_session(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _signal_session(process, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def orderly_termination() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C does, so that `finally` blocks end the children."""

    def unwind(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _await_ready(process: Process, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            line = process.stdout.readline()
            if line.strip() == _READY:
                return
            if not line:
                raise TandemError(f"{_name(process)} ended before it was ready; see above")
    raise DeviceTimeoutError(f"{_name(process)} was not ready within {timeout_s} s")


def _signal_session(process: Process, number: int) -> None:
    # The leader's id stays the session's while any member lives, even when the leader has gone.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _name(process: Process) -> str:
    command = process.args
    parts = [command] if isinstance(command, str | bytes) else list(command)  # type: ignore[arg-type]
    return " ".join(str(part) for part in parts[:4])
