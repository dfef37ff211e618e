"""A progress bar per part of the work, with elapsed and remaining time."""

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress


class Progress:
    """`with Progress() as p: advance = p.part("demos", 700); advance(4)`; silent if told to be."""

    def __init__(self, quiet: bool = False) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(quiet=quiet),
        )

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def part(self, name: str, total: int) -> Callable[..., None]:
        """Begin a part; the returned function takes how much was done and, if wanted, `note=`."""
        task = self._bars.add_task(name, total=total, note="")

        def advance(done: int = 1, note: str | None = None) -> None:
            self._bars.update(task, advance=done, **({} if note is None else {"note": note}))

        return advance

    def say(self, text: str) -> None:
        self._bars.console.print(text)
