"""The real executor's role with a stop-watch or a counter inside: `python -m … WHAT ROLE CONFIG`.

WHAT is `parts` (time of each part of a tick, as samples of its own telemetry) or `blocks` (how many
blocks Python's allocator has handed out, as a gauge). Everything else is the role as it is.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

from tandem.runtime import executor
from tandem.runtime.executor import Executor
from tandem.runtime.journal import TickRecord

TIMED = ("read", "send", "listen", "decide", "join", "plan", "follow", "limit")
AFTERWARDS = ("publish",)  # behind the record that it publishes
PARTS = (*TIMED, *AFTERWARDS)
PREFIX = "part_"
BLOCKS = "python_blocks"
_BLOCKS_EVERY_S = 5.0  # counting walks all pools, so it may not be done every tick


class Parts(Executor):
    """Times each part; the stop-watch itself costs about a microsecond a tick."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._spent_ns = dict.fromkeys((*PARTS, "motion", "rest"), 0)
        timed: list[tuple[str, Any, str]] = [
            ("read", self.arm, "read"),
            ("listen", self, "_listen"),
            ("decide", self, "_decide"),
            ("plan", self.pilot, "next"),
            ("follow", self.setpoint._follower, "track"),
            ("motion", self.setpoint, "follow"),
            ("send", self.arm, "send"),
            ("publish", self.journal, "write"),
            ("join", self, "_take_plans"),
        ]
        for part, owner, name in timed:
            setattr(owner, name, self._timed(part, getattr(owner, name)))

    def step(self) -> TickRecord:
        record = super().step()
        spent_ns = self._spent_ns
        # Ruckig is inside of `setpoint.follow`; the rest of that is limits and gate.
        spent_ns["limit"] = spent_ns["motion"] - spent_ns["follow"]
        inside_ns = sum(spent_ns[part] for part in TIMED)
        spent_ns["rest"] = record.done_ns - record.beat.wake_ns - inside_ns
        for part in (*PARTS, "rest"):
            if spent_ns[part] > 0:  # what did not run in this tick took no time
                self.journal._tap.sample(PREFIX + part, spent_ns[part])
        self._spent_ns = dict.fromkeys(spent_ns, 0)
        return record

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start_ns = time.monotonic_ns()
            try:
                return call(*arguments)
            finally:
                self._spent_ns[part] += time.monotonic_ns() - start_ns

        return timed


class Blocks(Executor):
    """Counts the allocator's blocks now and then."""

    _due_s = 0.0

    def step(self) -> TickRecord:
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + _BLOCKS_EVERY_S
            self.journal._tap.gauge(BLOCKS, sys.getallocatedblocks())
        return super().step()


def main(what: str, role: str, config_file: str) -> int:
    from tandem.runtime.app import roles

    chosen: dict[str, type[Executor]] = {"parts": Parts, "blocks": Blocks}
    executor.Executor = chosen[what]  # type: ignore[misc]
    return roles.main(role, config_file)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
