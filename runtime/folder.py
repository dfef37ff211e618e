"""One folder per running robot: its sockets, its rings, its lock; made at the start, gone after.

The lock is the kernel's (flock), so it cannot outlive its holder; what it says (who runs, and which
children were started) lets a successor clean up after a daemon that was killed, and lets the other
verbs find a running one.
"""

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from tandem.runtime.clock import boot_id
from tandem.runtime.errors import RefusedError
from tandem.runtime.rundir import prepare_runtime_dir

LOCK = "daemon.lock"
_LOCK_TRIES = 3
_LEFTOVER_GRACE_S = 3.0  # an executor whose supervisor was killed brakes and leaves by itself


class Holder(msgspec.Struct):
    """What the lock file says."""

    pid: int
    robot: str
    config: str
    boot_id: str
    children: dict[str, int] = {}


@dataclass(frozen=True)
class Daemon:
    """A running daemon as the other verbs find it."""

    folder: Path
    holder: Holder


class RuntimeFolder:
    """Held by the supervisor for its life."""

    def __init__(self, path: Path, robot: str, config: str) -> None:
        """Make the folder and take its lock.

        Raises:
            RefusedError: another daemon runs this robot.
            ConfigError: the folder cannot be used, or belongs to someone else.
        """
        self.path = path
        prepare_runtime_dir(path)
        self._lock = _lock(path)
        self._end_leftovers(_read(path))
        for entry in path.iterdir():
            if entry.name != LOCK:
                _remove(entry)
        self._holder = Holder(os.getpid(), robot, config, boot_id())
        self._write()

    def record(self, children: dict[str, int]) -> None:
        """Say which child processes exist now, by role."""
        self._holder.children = dict(children)
        self._write()

    def remove(self) -> None:
        """Leave nothing behind, whoever asks first."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def _write(self) -> None:
        text = msgspec.json.encode(self._holder)
        os.pwrite(self._lock, text, 0)
        os.ftruncate(self._lock, len(text))

    def _end_leftovers(self, last: Holder | None) -> None:
        """Children of a daemon that was killed: let them brake and leave, then end them."""
        if last is None or last.boot_id != boot_id():
            return
        ours = {pid for pid in last.children.values() if _is_tandem(pid)}
        deadline = time.monotonic() + _LEFTOVER_GRACE_S
        while any(map(_is_tandem, ours)) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in filter(_is_tandem, ours):
            os.kill(pid, signal.SIGKILL)


def running(base: Path, extra: Iterable[Path] = ()) -> list[Daemon]:
    """Daemons that hold their lock right now, by looking into each robot's folder below `base`.

    Raises:
        RefusedError: the folder is not open to this user.
    """
    try:
        folders = [p for p in base.iterdir() if p.is_dir()] if base.is_dir() else []
    except PermissionError as error:
        raise RefusedError(
            f"{base} is open to the members of its group only; join it: "
            f"sudo usermod -aG $(stat -c %G {base}) $USER, then log in again"
        ) from error
    found = []
    for folder in sorted({*folders, *extra}):
        holder = _read(folder)
        if holder is not None and _is_locked(folder):
            found.append(Daemon(folder, holder))
    return found


def _lock(path: Path) -> int:
    """The lock's descriptor. Tried more than once: a verb that looks around holds it for µs."""
    for _ in range(_LOCK_TRIES):
        # Readable by the group: in a folder of a group its members look who holds it.
        try:
            descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except PermissionError:
            break  # another member's robot
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A daemon that was just leaving may have unlinked the file between our two calls.
            if os.fstat(descriptor).st_ino == (path / LOCK).stat().st_ino:
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            prepare_runtime_dir(path)
        os.close(descriptor)
        time.sleep(0.02)
    raise RefusedError(_already(path))


def _already(path: Path) -> str:
    holder = _read(path)
    who = f"{holder.robot} already runs as process {holder.pid}" if holder else f"{path} is in use"
    return f"{who}. Stop it with `tandem stop`, or look at it with `tandem status`."


def _read(folder: Path) -> Holder | None:
    try:
        return msgspec.json.decode((folder / LOCK).read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def _is_locked(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two verbs that look at once do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_tandem(pid: int) -> bool:
    """Is this process one of ours? A number may have been given to another program since."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return facts[0] != "Z" and b"tandem.runtime.app" in command


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
