"""Hears the operator's stream as the executor's process does: all of it, and how long it was under
way."""

import threading
import time
from pathlib import Path

from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.messages import OperatorCommand

_LOOK_S = 0.0005
_LONG_NS = 100 * NS_PER_MS  # a message that was older when it came had waited for us


class Ear:
    """`links_ms`: the way of each command, to half a millisecond."""

    def __init__(self, folder: Path) -> None:
        self.links_ms: list[float] = []
        self._commands: list[OperatorCommand] = []
        self._bus = ZmqBus(folder, "ear")
        self._line = self._bus.subscriber(streams.OPERATOR, "teleop", conflate=False)
        self._ending = threading.Event()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def heard(self) -> list[OperatorCommand]:
        """Since the last call."""
        heard, self._commands = self._commands, []
        return heard

    def close(self) -> None:
        self._ending.set()
        self._listening.join()
        self._bus.close()

    def _listen(self) -> None:
        while not self._ending.wait(_LOOK_S):
            for command in self._line.poll():
                self._commands.append(command)
                under_way_ns = time.monotonic_ns() - command.t_ns
                if under_way_ns < _LONG_NS:
                    self.links_ms.append(under_way_ns / NS_PER_MS)
