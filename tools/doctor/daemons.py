"""Daemons that run here, and what dead ones left: folders, locks, children."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tandem.runtime import config, folder
from tandem.runtime.bus import request
from tandem.runtime.errors import RefusedError, TandemError
from tandem.runtime.messages import Request
from tandem.runtime.rundir import is_shared
from tandem.tools.doctor.finding import Finding, advice, ok, wrong

_ASK_NS = 2_000_000_000


@dataclass(frozen=True)
class Base:
    """The folder of runtime folders; `mode` 0: it is not there yet."""

    path: Path
    mode: int = 0
    owner: int = 0
    user: int = 0
    shared: bool = False  # made for a group that we are in
    stale: tuple[str, ...] = ()  # folders of daemons that are gone


@dataclass(frozen=True)
class Running:
    """A daemon; `status` is its own word, None: it does not answer."""

    robot: str
    pid: int
    status: dict[str, Any] | None = field(default=None)


def base() -> Base:
    path = config.base_folder()
    try:
        found = path.lstat()
        folders = [entry.name for entry in path.iterdir() if (entry / folder.LOCK).exists()]
    except PermissionError:
        return Base(path, stat.S_IMODE(found.st_mode), found.st_uid, os.getuid())
    except OSError:
        return Base(path, user=os.getuid())
    alive = {daemon.folder.name for daemon in folder.running(path)}
    stale = tuple(sorted(set(folders) - alive))
    mode = stat.S_IMODE(found.st_mode)
    return Base(path, mode, found.st_uid, os.getuid(), is_shared(path), stale)


def running() -> list[Running]:
    """Those that we may see."""
    try:
        found = folder.running(config.base_folder())
    except RefusedError:  # `runtime_folder` tells
        return []
    return [Running(d.holder.robot, d.holder.pid, _status(d.folder)) for d in found]


def _status(path: Path) -> dict[str, Any] | None:
    try:
        return request(path, "supervisor", Request(verb="status"), _ASK_NS).data
    except TandemError:
        return None


def runtime_folder(facts: Base) -> Finding:
    name = "runtime folder"
    if not facts.mode:
        return ok(name, f"{facts.path} is made at the first start")
    if facts.shared:
        return ok(name, f"{facts.path}, shared with a group")
    if facts.owner != facts.user:
        return wrong(
            name,
            f"{facts.path} belongs to user {facts.owner}",
            "no daemon of yours can start there",
            f"sudo rm -r {facts.path}, or set TANDEM_RUNTIME_DIR to a folder of yours on a tmpfs",
        )
    if facts.mode & 0o022:
        return wrong(
            name,
            f"{facts.path} has mode {facts.mode:o}",
            "whoever writes there could command the arm",
            f"chmod 700 {facts.path}",
        )
    return ok(name, str(facts.path))


def leftovers(facts: Base) -> Finding:
    if facts.stale:
        paths = " ".join(str(facts.path / name) for name in facts.stale)
        return advice(
            "dead daemons",
            f"left behind: {', '.join(facts.stale)}",
            "it was killed; its rings take memory until it starts again, which clears them",
            f"start it again, or: rm -r {paths}",
        )
    return ok("dead daemons", "none")


def health(facts: Running) -> Finding:
    """What a running daemon lacks, by its own word: parts, real time; a fault that stands."""
    name, status = f"daemon {facts.robot}", facts.status
    if status is None:
        return wrong(
            name,
            f"process {facts.pid} does not answer",
            "it is frozen, or of another version; nobody can stop it by a command",
            f"kill {facts.pid}, and kill -9 {facts.pid} if it stays",
        )
    absent = [role for role, child in status["children"].items() if child["state"] != "ready"]
    if absent:
        return wrong(
            name,
            f"not running: {', '.join(absent)}",
            "nothing may move without it",
            f"tandem status --robot {facts.robot}; its log: {absent[0]}.log in the runtime folder",
        )
    if status["fault"]:
        return wrong(
            name,
            f"fault: {status['fault']}",
            "it holds until somebody says otherwise",
            f"mend the cause, then tandem reset --robot {facts.robot}",
        )
    refused = list(_refused(status["children"]))
    if refused:
        return wrong(
            name,
            "; ".join(text.partition(";")[0] for text in refused),
            "this run has less real time than this user could have",
            "mend what is named above, then start it again",
        )
    return ok(name, f"{status['mode']}, every part runs, all that was asked for was granted")


def _refused(children: dict[str, Any]) -> Sequence[str]:
    return [
        f"{role}: {name} {text}"
        for role, child in children.items()
        for name, text in child["facts"].items()
        if str(text).startswith("refused")
    ]
