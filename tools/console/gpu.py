"""The graphics cards, as their vendor's own tool tells; nothing where it is not installed."""

import contextlib
import shutil
import subprocess

from tandem.runtime.clock import NS_PER_S
from tandem.tools.console.figures import Gpu

_PERIOD_NS = 3 * NS_PER_S  # the tool costs more than all the rest of the console
_COMMAND = (
    "--query-gpu=name,utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader,nounits",
)


class Query:
    """Asks in a process of its own and never waits for the answer."""

    def __init__(self) -> None:
        self._tool = shutil.which("nvidia-smi")
        self._asked: subprocess.Popen[str] | None = None
        self._due_ns = 0
        self._known: tuple[Gpu, ...] = ()

    def look(self, now_ns: int) -> tuple[Gpu, ...]:
        if self._tool is None:
            return ()
        if self._asked is not None and self._asked.poll() is not None:
            text, _ = self._asked.communicate()
            self._known, self._asked = parse(text), None
        if self._asked is None and now_ns >= self._due_ns:
            self._due_ns = now_ns + _PERIOD_NS
            with contextlib.suppress(OSError):
                self._asked = subprocess.Popen(
                    (self._tool, *_COMMAND),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
        return self._known

    def close(self) -> None:
        if self._asked is not None:
            self._asked.kill()
            self._asked.communicate()
            self._asked = None


def parse(text: str) -> tuple[Gpu, ...]:
    """Lines of "name, percent, MiB, MiB"; what a card does not tell ("[N/A]") counts as 0."""
    cards = []
    for line in text.splitlines():
        words = [word.strip() for word in line.rsplit(",", 3)]
        if len(words) == 4:
            busy, used, total = (_number(word) for word in words[1:])
            cards.append(Gpu(words[0], busy / 100, used, total))
    return tuple(cards)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return 0.0
