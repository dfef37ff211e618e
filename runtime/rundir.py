"""The runtime directory: where a run keeps its sockets and rings, open to nobody else.

But where an administrator made the folder above it for a group (mode 0770, as systemd/ does for
`tandem`), the group is who may attach: what it holds is then open to the group, never to others.
"""

import os
import stat
from pathlib import Path

from tandem.runtime.errors import ConfigError
from tandem.runtime.streams import STREAMS

_PATH_MAX = 107  # sun_path, without its end
_OURS, _OF_A_GROUP = 0o700, 0o770


def prepare_runtime_dir(runtime_dir: Path) -> Path:
    """Make the directory of sockets and rings, mode 0700, or check the one that is there.

    Raises:
        ConfigError: it cannot be made, is not ours, is open to others, or its path is too long.
    """
    longest = max(len(name) for name in STREAMS) + len("request.supervisor-stop")
    if len(os.fsencode(runtime_dir)) + longest > _PATH_MAX:
        raise ConfigError(f"runtime_dir {runtime_dir} is too long for sockets; set a shorter one")
    mode = _OF_A_GROUP if is_shared(runtime_dir.parent) else _OURS
    try:
        if not runtime_dir.exists():
            runtime_dir.mkdir(mode=_OURS, parents=True, exist_ok=True)
            runtime_dir.chmod(mode)
        found = runtime_dir.lstat()
    except OSError as error:
        raise ConfigError(
            f"runtime_dir {runtime_dir} cannot be made: {error}; "
            "set runtime_dir to a directory of yours on a tmpfs"
        ) from error
    ours = found.st_uid == os.getuid() or (mode == _OF_A_GROUP and _is_in(found.st_gid))
    if not stat.S_ISDIR(found.st_mode) or not ours:
        raise ConfigError(
            f"runtime_dir {runtime_dir} is not a directory of this user (owner {found.st_uid}); "
            "remove it or set another runtime_dir"
        )
    if stat.S_IMODE(found.st_mode) & 0o777 & ~mode:
        raise ConfigError(f"runtime_dir {runtime_dir} is open to others; chmod 700 {runtime_dir}")
    if not os.access(runtime_dir, os.W_OK | os.X_OK):
        raise ConfigError(f"runtime_dir {runtime_dir} is not writable; chmod 700 {runtime_dir}")
    return runtime_dir


def is_shared(base: Path) -> bool:
    """Was the folder of runtime folders made for a group that we are in, and for nobody else?"""
    try:
        found = base.lstat()
    except OSError:
        return False
    made_for_a_group = stat.S_ISDIR(found.st_mode) and found.st_mode & 0o777 == _OF_A_GROUP
    return made_for_a_group and _is_in(found.st_gid)


def _is_in(group: int) -> bool:
    return os.geteuid() == 0 or group == os.getegid() or group in os.getgroups()
