"""A snapshot as plain text: what `--once` prints for people, and what the tests read."""

from tandem.tools.console import frame_panels, ink, loops_panel, way_panel
from tandem.tools.console.figures import Snapshot
from tandem.tools.console.ink import Line

_ROWS = 20


def page(snapshot: Snapshot, width: int) -> str:
    """Every panel, one below the other."""
    lines: list[Line] = [
        *frame_panels.head(snapshot, width),
        *loops_panel.loops(snapshot, width),
        *way_panel.latency(snapshot, width, _ROWS),
        *way_panel.minds(snapshot, width, _ROWS),
        *frame_panels.events(snapshot, width, _ROWS),
    ]
    return ink.plain(lines)
