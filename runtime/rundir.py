"""The runtime directory: where a run keeps its sockets and rings, open to nobody else."""

import os
import stat
from pathlib import Path

from tandem.runtime.errors import ConfigError
from tandem.runtime.streams import STREAMS

_PATH_MAX = 107  # sun_path, without its end


def prepare_runtime_dir(runtime_dir: Path) -> Path:
    """Make the directory of sockets and rings, mode 0700, or check the one that is there.

    Raises:
        ConfigError: it cannot be made, is not ours, is open to others, or its path is too long.
    """
    longest = max(len(name) for name in STREAMS) + len("request.supervisor-stop")
    if len(os.fsencode(runtime_dir)) + longest > _PATH_MAX:
        raise ConfigError(f"runtime_dir {runtime_dir} is too long for sockets; set a shorter one")
    try:
        runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = runtime_dir.lstat()
    except OSError as error:
        raise ConfigError(
            f"runtime_dir {runtime_dir} cannot be made: {error}; "
            "set runtime_dir to a directory of yours on a tmpfs"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(
            f"runtime_dir {runtime_dir} is not a directory of this user (owner {found.st_uid}); "
            "remove it or set another runtime_dir"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"runtime_dir {runtime_dir} is open to others; chmod 700 {runtime_dir}")
    if not os.access(runtime_dir, os.W_OK | os.X_OK):
        raise ConfigError(f"runtime_dir {runtime_dir} is not writable; chmod 700 {runtime_dir}")
    return runtime_dir
