"""`tandem run`: the daemon in the foreground, with its status line, and its report at the end."""

import asyncio
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from tandem.runtime import config
from tandem.runtime.app.plan import stages
from tandem.runtime.children import Spec
from tandem.runtime.clock import NS_PER_MS, MonotonicClock
from tandem.runtime.errors import ConfigError, RefusedError
from tandem.runtime.folder import RuntimeFolder
from tandem.runtime.processes import cancel
from tandem.runtime.supervisor import Supervisor, install_signals
from tandem.runtime.telemetry import Collector
from tandem.tools import plant_watch, report, status_line, viewer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_LOOK_S = 0.1
_ENGAGE_RETRY_S = 0.5
_ENGAGE_TIMEOUT_S = 15.0
_LOUD_KINDS = ("mode", "fault")


@dataclass(frozen=True)
class Wishes:
    """What the command line asked for beside the robot itself."""

    go: str = ""
    seconds: float | None = None
    demo: bool = False
    rerun: bool = False
    report: Path | None = None
    video: Path | None = None


@app.command()
def run(
    config_name: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A packaged name (sim_panda) or a YAML file.")
    ],
    go: Annotated[str, typer.Option(help="Engage at once, with this instruction.")] = "",
    seconds: Annotated[float | None, typer.Option(help="Stop by itself after so long.")] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Stream to the Rerun viewer.")] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Write the run report there, as JSON.")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="Film what the cameras see (.mp4).")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Fresh scenes and instructions for ever (simulator).")
    ] = False,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--config-override", help="key=value, e.g. executor.rate_hz=1000; repeatable."
        ),
    ] = None,
) -> None:
    """Run a robot: start its processes, hold, wait for a task. Ctrl-C brakes, then ends."""
    settings = config.load(config_name, override or [])
    wishes = Wishes(go, seconds, demo, rerun, report_file, video)
    _check(settings, wishes)
    folder = RuntimeFolder(settings.folder, settings.robot.name, config_name)
    session = None
    try:
        config.save(settings, folder.path / "config.yaml")
        session = uvloop.run(_session(settings, wishes, folder))
    finally:
        folder.remove()
    result = session.result()
    report.show(result)
    if report_file is not None:
        report.write(result, report_file)
        print(f"report written to {report_file}")


def _check(settings: config.Config, wishes: Wishes) -> None:
    """Refuse now what would otherwise fail at the end of a long run."""
    for option, file in (("--report", wishes.report), ("--video", wishes.video)):
        if file is not None and not file.absolute().parent.is_dir():
            raise ConfigError(f"{option} {file}: there is no folder {file.absolute().parent}")
    if wishes.video is not None and not settings.cameras:
        raise ConfigError(f"--video: {settings.robot.name} has no cameras")
    if wishes.demo and settings.robot.arm.driver != "sim":
        raise ConfigError("--demo needs the simulated arm: it lays out new scenes")
    if (wishes.demo or wishes.go) and settings.s1 is None:
        raise ConfigError(f"{settings.robot.name} has no s1: nothing could follow an instruction")
    if wishes.rerun and (problem := viewer.missing()):
        raise ConfigError(problem)


async def _session(settings: config.Config, wishes: Wishes, folder: RuntimeFolder) -> "Session":
    session = Session(settings, wishes, folder)
    await session.run()
    return session


class Session:
    """A supervisor, and everything that watches it for the person at this terminal."""

    def __init__(self, settings: config.Config, wishes: Wishes, folder: RuntimeFolder) -> None:
        self._settings, self._wishes = settings, wishes
        self._line = status_line.StatusLine()
        file = folder.path / "config.yaml"
        self.supervisor = Supervisor(
            folder,
            [*stages(settings, file), _observers(wishes, file)],
            self._line.say,
            round(settings.executor.silent_ms * NS_PER_MS),
        )
        self._collector = Collector(self.supervisor.bus, MonotonicClock())
        self._plant = plant_watch.PlantWatch(settings)
        self._judge: Any = None
        self._shown_events = 0
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
        if self._settings.robot.arm.driver == "sim":
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
            if event.source != "supervisor" and (
                event.level != "info" or event.kind in _LOUD_KINDS
            ):
                self._line.say(f"{event.source}: {event.text}")
        self._shown_events = total
        if self.supervisor.ready.is_set():
            words = self.supervisor.desk.instruction
            self._line.show(status_line.describe(summary, words, time.monotonic_ns()))

    def _last_look(self) -> None:
        """All is at rest and ended; what was recorded in memory is still there."""
        self._look()
        self._plant.look()


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
