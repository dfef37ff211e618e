"""The console on a terminal: thin widgets that draw the newest snapshot five times a second.

A panel holds finished lines and repaints only those that have changed: over a slow line, and on a
machine whose cores belong to the robot, that is what keeps watching cheap.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from rich.segment import Segment
from rich.style import Style
from tandem.tools.console import frame_panels, loops_panel, way_panel
from tandem.tools.console.figures import Snapshot
from tandem.tools.console.ink import Line
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

_PERIOD_S = 0.2
_BACKGROUND = "#14171c"
_WIDE = loops_panel.WIDE
_TALL = 36
_MIDDLE_ROWS, _MIDDLE_ROWS_TALL = 8, 15
_COLOURS = {
    "dim": "#7d8590",
    "rule": "#3a414b",
    "title": "#9fb3c8",
    "bold": "bold #e6edf3",
    "ok": "#c9d1d9",
    "off": "#7d8590",
    "warn": "#d9a441",
    "error": "bold #f0655b",
    "accent": "#6cb6c9",
    "graph": "#5b87a8",
    "graph-dim": "#47606f",
    "key": "bold #9fb3c8",
    "mode-ok": "bold #14171c on #7fb08a",
    "mode-warn": "bold #14171c on #d9a441",
    "mode-error": "bold #14171c on #f0655b",
    "mode-off": "bold #14171c on #7d8590",
}
_BASE = Style.parse(f"#c9d1d9 on {_BACKGROUND}")
_STYLES = {name: _BASE + Style.parse(text) for name, text in _COLOURS.items()} | {"": _BASE}


class Source(Protocol):
    """Where the figures come from: `watch.Watch`."""

    def look(self) -> None: ...
    def snapshot(self) -> Snapshot: ...
    def close(self) -> None: ...


class Panel(Widget):
    """Finished lines on the screen."""

    ALLOW_SELECT = False

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.lines: list[Line] = []

    def show(self, lines: Sequence[Line]) -> None:
        """Repaint what differs from what is shown."""
        before, self.lines = self.lines, list(lines)
        for y in range(max(len(before), len(self.lines))):
            if before[y : y + 1] != self.lines[y : y + 1]:
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        parts = self.lines[y] if y < len(self.lines) else []
        strip = Strip([Segment(text, _STYLES[style]) for text, style in parts])
        return strip.adjust_cell_length(self.size.width, _BASE)


class ConsoleApp(App[None]):
    """`source` is looked at and drawn until `q`."""

    TITLE = "tandem console"
    ENABLE_COMMAND_PALETTE = False
    CSS = f"""
    Screen {{ background: {_BACKGROUND}; overflow: hidden; }}
    #head {{ height: 2; }}
    #middle {{ height: {_MIDDLE_ROWS}; }}
    #latency {{ width: 44; }}
    #minds {{ width: 1fr; }}
    #bottom, #detail {{ height: 1fr; }}
    #events {{ width: 1fr; }}
    #foot {{ dock: bottom; height: 1; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("question_mark", "help", "help"),
        Binding("p", "pause", "pause"),
        Binding("w", "basis", "window or since attach"),
        Binding("escape", "back", "back"),
        *(Binding(str(n), f"loop({n})", "loop", show=False) for n in range(1, 10)),
    ]

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.snapshot: Snapshot = source.snapshot()
        self.paused = False
        self.attached_figures = False  # on a narrow screen: all since attaching
        self.focused_loop = ""
        self.helping = False
        self._source = source

    def compose(self) -> ComposeResult:
        yield Panel("head")
        yield Panel("loops")
        with Horizontal(id="middle"):
            yield Panel("latency")
            yield Panel("minds")
        with Horizontal(id="bottom"):
            yield Panel("events")
            yield Panel("tails")
        yield Panel("detail")
        yield Panel("foot")

    def on_mount(self) -> None:
        self._panels = {panel.id or "": panel for panel in self.query(Panel)}
        self._middle, self._bottom = self.query_one("#middle"), self.query_one("#bottom")
        self.set_interval(_PERIOD_S, self._look)
        self._look()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def on_unmount(self) -> None:
        self._source.close()

    # -- keys --------------------------------------------------------------------------------------

    def action_help(self) -> None:
        self.helping = not self.helping
        self._draw()

    def action_pause(self) -> None:
        self.paused = not self.paused
        self._draw()

    def action_basis(self) -> None:
        self.attached_figures = not self.attached_figures
        self._draw()

    def action_back(self) -> None:
        self.focused_loop, self.helping = "", False
        self._draw()

    def action_loop(self, number: int) -> None:
        names = [loop.name for loop in self.snapshot.loops]
        if number <= len(names):
            again = names[number - 1] == self.focused_loop and not self.helping
            self.focused_loop, self.helping = "" if again else names[number - 1], False
            self._draw()

    # -- drawing -----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Listening goes on while the picture stands still."""
        self._source.look()
        if not self.paused:
            self.snapshot = self._source.snapshot()
            self._draw()

    def _draw(self) -> None:
        if not self.is_running or not hasattr(self, "_panels"):
            return
        detail = self._detail()
        self._lay_out(detail is not None)
        now, panels, width = self.snapshot, self._panels, self.size.width
        panels["head"].show(frame_panels.head(now, width, self.paused))
        if detail is not None:
            panels["detail"].show(detail)
        else:
            middle = int(self._middle.styles.height.value) if self._middle.styles.height else 0
            left = self._left_width()
            panels["loops"].show(loops_panel.loops(now, width, self.attached_figures))
            panels["latency"].show(way_panel.latency(now, left - 1, middle))
            panels["minds"].show(way_panel.minds(now, width - left, middle))
            rows = self.size.height - middle - len(now.loops) - 5
            over = self._tails_width()
            panels["events"].show(frame_panels.events(now, width - over - (over > 0), rows))
            panels["tails"].show(loops_panel.all_histograms(now.loops, over, rows) if over else [])
        focused = self._focused_number()
        panels["foot"].show(frame_panels.foot(now, width, self.attached_figures, focused))

    def _detail(self) -> list[Line] | None:
        """What takes the place of the overview, if anything does."""
        width, height = self.size.width, self.size.height - 3
        if self.helping:
            return frame_panels.help_page(width)
        number = self._focused_number()
        if not number:
            return None
        return loops_panel.focus(self.snapshot.loops[number - 1], number, width, height)

    def _focused_number(self) -> int:
        names = [loop.name for loop in self.snapshot.loops]
        return names.index(self.focused_loop) + 1 if self.focused_loop in names else 0

    def _left_width(self) -> int:
        return self.size.width * 11 // 20

    def _tails_width(self) -> int:
        """Of the histograms beside the events, which only a large screen has room for; 0: none."""
        return self.size.width - self._left_width() if self._is_large() else 0

    def _is_large(self) -> bool:
        return self.size.height >= _TALL and self.size.width >= _WIDE

    def _lay_out(self, detailed: bool) -> None:
        """Only what changes is set: each change lays the whole screen out anew."""
        rows = _MIDDLE_ROWS_TALL if self.size.height >= _TALL else _MIDDLE_ROWS
        wanted = {
            "loops": ("height", len(self.snapshot.loops) + 2),
            "latency": ("width", self._left_width()),
            "tails": ("width", self._tails_width()),
        }
        for name, (what, cells) in wanted.items():
            styles = self._panels[name].styles
            value = getattr(styles, what)
            if value is None or value.value != cells:
                setattr(styles, what, cells)
        if self._middle.styles.height is None or self._middle.styles.height.value != rows:
            self._middle.styles.height = rows
        for widget in (self._panels["loops"], self._middle, self._bottom):
            if widget.display == detailed:
                widget.display = not detailed
        if self._panels["detail"].display != detailed:
            self._panels["detail"].display = detailed
