"""One run of the daemon in a terminal: the supervisor, and everything that watches it."""

import asyncio
import re
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem.runtime import config, metrics_server
from tandem.runtime.app.plan import stages
from tandem.runtime.children import Spec
from tandem.runtime.clock import NS_PER_MS, MonotonicClock
from tandem.runtime.errors import RefusedError
from tandem.runtime.folder import RuntimeFolder
from tandem.runtime.processes import cancel
from tandem.runtime.supervisor import Supervisor, install_signals
from tandem.runtime.telemetry import Collector
from tandem.tools import plant_watch, report, status_line

_LOOK_S = 0.1
_ENGAGE_RETRY_S = 0.5
_ENGAGE_TIMEOUT_S = 15.0
_REPEAT_S = 10.0
_ALWAYS_TOLD = ("mode", "fault")


@dataclass(frozen=True)
class Wishes:
    """What the command line asked for beside the robot itself."""

    go: str = ""
    seconds: float | None = None
    demo: bool = False
    rerun: bool = False
    report: Path | None = None
    video: Path | None = None
    record: Path | None = None  # the folder to make for it


class Session:
    """A supervisor, and everything that watches it for the person at this terminal."""

    def __init__(self, settings: config.Config, wishes: Wishes, folder: RuntimeFolder) -> None:
        self._settings, self._wishes = settings, wishes
        self._line = status_line.StatusLine()
        file = folder.path / "config.yaml"
        self.supervisor = Supervisor(
            folder,
            [_recorder(wishes, file), *stages(settings, file), _observers(wishes, file)],
            self._line.say,
            round(settings.executor.silent_ms * NS_PER_MS),
        )
        self._collector = Collector(self.supervisor.bus, MonotonicClock())
        self._plant = plant_watch.PlantWatch(settings)
        self._judge: Any = None
        self._shown_events = 0
        self._told_s: dict[str, float] = {}
        self._begun_s = time.monotonic()

    async def run(self) -> None:
        install_signals(asyncio.get_running_loop(), self.supervisor)
        self._line.say(f"{self._settings.robot.name}: starting; Ctrl-C brakes and ends")
        tasks = [asyncio.create_task(task) for task in self._tasks()]
        for task in tasks:
            task.add_done_callback(self._on_done)
        try:
            await self.supervisor.run(last_look=self._last_look)
        finally:
            await cancel(*tasks)
            self._line.erase()
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()

    def result(self) -> dict[str, Any]:
        processes = self.supervisor.processes
        return report.build(
            self._collector.summary,
            self._settings.robot.name,
            time.monotonic() - self._begun_s,
            self._plant.result(),
            self._judge.results if self._judge is not None else [],
            {c.role: c.starts - 1 for c in processes if c.starts > 1},
        )

    def _tasks(self) -> list[Coroutine[Any, Any, None]]:
        tasks = [self._watch(), self._plant.watch(), self._begin()]
        if self._settings.metrics is not None:
            port, name = self._settings.metrics.port, self._settings.robot.name
            summary, processes = self._collector.summary, self.supervisor.processes
            tasks.append(metrics_server.serve(port, name, summary, processes))
        if self._wishes.seconds is not None:
            tasks.append(self._stop_after(self._wishes.seconds))
        return tasks

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        """A task that failed ends the run; its error is told once everything has been ended."""
        if not task.cancelled() and task.exception() is not None:
            self.supervisor.stopping.set()

    async def _begin(self) -> None:
        """Once all are there: say so, then do what was asked for."""
        await self.supervisor.ready.wait()
        self._line.say(f"ready: holding after {time.monotonic() - self._begun_s:.1f} s")
        waits = []
        if self._settings.simulated:
            waits += self._judged()
        if self._wishes.go and not self._wishes.demo:
            await self._engage(self._wishes.go)
        elif not self._wishes.demo and self._settings.s1 is not None:
            self._line.say('give it something to do: tandem go "pick up the red cube"')
        await asyncio.gather(*waits)

    def _judged(self) -> list[Coroutine[Any, Any, None]]:
        from tandem.tools.demo import WELCOME, Demo
        from tandem.tools.judge import Judge, SimClient

        sim = SimClient(self.supervisor.bus)
        self._judge = Judge(sim)
        waits = [self._judge.watch(), self._follow_instructions()]
        if self._wishes.demo:
            self._line.say(WELCOME.format(tandem=_command()))
            seed, cubes = self._settings.sim.seed, self._settings.sim.cubes
            demo = Demo(self.supervisor, sim, self._judge, self._line.say, seed, cubes)
            waits.append(demo.run())
        return waits

    async def _follow_instructions(self) -> None:
        desk, seen = self.supervisor.desk, 0
        while True:
            if desk.instruction_id != seen:
                seen = desk.instruction_id
                self._judge.begin(desk.instruction, seen)
            await asyncio.sleep(_LOOK_S / 2)

    async def _engage(self, instruction: str) -> None:
        """Insist for a while: cameras and minds may need a moment after they are ready."""
        deadline_s = time.monotonic() + _ENGAGE_TIMEOUT_S
        while not (reply := await self.supervisor.go(instruction)).ok:
            if time.monotonic() > deadline_s:
                raise RefusedError(f"not engaged: {reply.text}")
            await asyncio.sleep(_ENGAGE_RETRY_S)

    async def _stop_after(self, seconds: float) -> None:
        await self.supervisor.ready.wait()
        await asyncio.sleep(seconds)
        self.supervisor.stopping.set()

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(_LOOK_S)

    def _look(self) -> None:
        summary = self._collector.poll()
        total = sum(summary.event_counts.values())
        for event in list(summary.events)[len(summary.events) - (total - self._shown_events) :]:
            if event.source == "supervisor":  # that one speaks for itself
                continue
            if event.kind in _ALWAYS_TOLD:
                self._line.say(f"{event.source}: {event.text}")
            elif event.level != "info":
                self._complain(f"{event.source}: {event.text}")
        self._shown_events = total
        if self.supervisor.ready.is_set():
            words = self.supervisor.desk.instruction
            self._line.show(status_line.describe(summary, words, time.monotonic_ns()))

    def _complain(self, text: str) -> None:
        """Print it, unless the same, but for its numbers, was printed a moment ago."""
        now_s, words = time.monotonic(), re.sub(r"\d+", "#", text)
        if now_s - self._told_s.get(words, -_REPEAT_S) >= _REPEAT_S:
            self._told_s[words] = now_s
            self._line.say(text)

    def _last_look(self) -> None:
        """All is at rest and ended; what was recorded in memory is still there."""
        self._look()
        self._plant.look()


def _recorder(wishes: Wishes, file: Path) -> list[Spec]:
    """Started first and ended last: it hears everybody's first and last word.

    Killed, it is started again and goes on in a new file: better half a recording than none.
    """
    if wishes.record is None:
        return []
    argv = (sys.executable, "-m", "tandem.tools.record.main", str(file), str(wishes.record))
    return [Spec("recorder", argv, nice=10, end_timeout_s=10.0, essential=False, revive=True)]


def _observers(wishes: Wishes, file: Path) -> list[Spec]:
    specs = []
    if wishes.video is not None:
        argv = ("-m", "tandem.tools.video", str(file), str(wishes.video.absolute()))
        specs.append(Spec("video", (sys.executable, *argv), nice=10, essential=False))
    if wishes.rerun:
        argv = ("-m", "tandem.tools.viewer", str(file))
        specs.append(Spec("viewer", (sys.executable, *argv), nice=10, essential=False))
    return specs


def _command() -> str:
    """How this user calls tandem: the console script may not be on the path."""
    script = Path(sys.executable).with_name("tandem")
    try:
        return str(script.relative_to(Path.cwd()))
    except ValueError:
        return "tandem"
