"""All child processes of a daemon: started in stages, restarted when they die, ended in reverse."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from tandem.runtime.children import Child, Spec
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import TandemError
from tandem.runtime.folder import RuntimeFolder
from tandem.runtime.messages import Level

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_HEALTHY_NS = 30 * NS_PER_S  # alive for so long, and the next death counts as a first one

Tell = Callable[[Level, str, str], None]  # level, kind, text


class Processes:
    """`stages` start one after the other; within a stage all start at once."""

    def __init__(self, folder: RuntimeFolder, stages: Sequence[Sequence[Spec]], tell: Tell) -> None:
        self._folder = folder
        self._tell = tell
        self._stages = [[Child(s, folder.path, self._on_death) for s in stage] for stage in stages]
        self.by_role = {child.role: child for stage in self._stages for child in stage}
        self._revivals: dict[str, asyncio.Task[None]] = {}
        self._deaths: dict[str, int] = {}
        self._meant_to_die: set[str] = set()
        self._ending = False

    def __iter__(self) -> Any:
        return iter(self.by_role.values())

    def missing(self) -> list[str]:
        """Essential roles that are not there right now."""
        return [c.role for c in self if c.spec.essential and c.state != "ready"]

    async def start(self) -> None:
        """Start every stage; returns when all are ready.

        Raises:
            TandemError: one cannot start; `end` then ends the others.
        """
        for stage in self._stages:
            await _all(self._start(child) for child in stage)

    async def end(self) -> None:
        """End all, the first started last: minds before the robot."""
        self._ending = True
        await cancel(*self._revivals.values())
        for stage in reversed(self._stages):
            await asyncio.gather(*(child.end() for child in stage))

    def kill(self) -> None:
        self._ending = True
        for child in self:
            child.signal(signal.SIGKILL)

    def heartbeat(self) -> None:
        for child in self:
            child.heartbeat()

    async def _start(self, child: Child) -> None:
        begun_s = time.monotonic()
        try:
            await child.start(self._record)
        except TandemError as error:
            if child.spec.essential:
                raise
            self._tell("warn", "missing", f"going on without {child.role}: {error}")
            return
        finally:
            self._record()
        took_s = time.monotonic() - begun_s
        self._tell("info", "ready", f"{child.role} ready after {took_s:.1f} s{_facts(child)}")

    def _record(self) -> None:
        """Write down who lives, for a successor, should we be killed."""
        self._folder.record({c.role: c.pid for c in self if c.pid is not None})

    def _on_death(self, child: Child) -> None:
        if self._ending or child.role in self._meant_to_die or child.role in self._revivals:
            return
        if not child.ready_ns:
            return  # it never ran: whoever starts it is told there
        last_words = f"{child.role} died ({child.ending()})\n{child.tail()}".strip()
        self._tell("error", "death", last_words)
        if not (child.spec.essential or child.spec.revive):
            return
        task = asyncio.create_task(self._revive(child))
        self._revivals[child.role] = task
        task.add_done_callback(lambda _: self._revivals.pop(child.role, None))

    async def _revive(self, child: Child) -> None:
        """Start it again, ever more patiently; with it those that hold on to what it left."""
        if time.monotonic_ns() - child.ready_ns > _HEALTHY_NS:
            self._deaths[child.role] = 0
        family = [child] + [self.by_role[r] for r in child.spec.takes_along if r in self.by_role]
        self._meant_to_die.update(c.role for c in family)
        while True:
            await asyncio.gather(*(c.end() for c in family))
            deaths = self._deaths[child.role] = self._deaths.get(child.role, 0) + 1
            await asyncio.sleep(_BACKOFF_S[min(deaths, len(_BACKOFF_S)) - 1])
            try:
                await self._start(child)
                await _all(self._start(c) for c in family[1:])
            except TandemError as error:
                self._tell("error", "restart", str(error))
            if all(c.state == "ready" for c in family):  # none died while another started
                break
        self._meant_to_die.difference_update(c.role for c in family)
        self._revivals.pop(child.role, None)
        self._tell("warn", "restart", f"{child.role} runs again (start {child.starts})")


def _facts(child: Child) -> str:
    """What a child was granted or chose, as it told when it became ready."""
    return "".join(f"\n    {key}: {value}" for key, value in child.facts.items())


async def _all(starts: Iterable[Awaitable[None]]) -> None:
    """Wait for all; at the first failure the others are given up, then it is raised."""
    tasks = [asyncio.ensure_future(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    finally:
        await cancel(*tasks)


async def cancel(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel and wait until each is really over."""
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
