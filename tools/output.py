"""Where a verb's results go: tables to people, JSON to programs; never both into one stream."""

import sys
from pathlib import Path

from rich.console import Console
from tandem.runtime.errors import ConfigError

STDOUT = "-"


def refuse_nowhere(option: str, target: str | Path | None) -> None:
    """Refuse now what would otherwise fail after a long run.

    Raises:
        ConfigError: the file's folder does not exist.
    """
    if target is None or str(target) == STDOUT:
        return
    if not Path(target).absolute().parent.is_dir():
        raise ConfigError(f"{option} {target}: there is no such folder")


def console(json: str | Path | None, width: int) -> Console:
    """Where tables go: stdout belongs to the JSON if that was asked for there.

    `width` in characters, for a file or a pipe, which has no edge.
    """
    found = Console(stderr=str(json) == STDOUT, highlight=False)
    if not found.is_terminal:
        found.width = width
    return found


def write(text: str, target: str | Path | None) -> None:
    """To a file, to stdout ("-"), or nowhere (None)."""
    if target is None:
        return
    if str(target) == STDOUT:
        sys.stdout.write(text)
    else:
        Path(target).write_text(text)
