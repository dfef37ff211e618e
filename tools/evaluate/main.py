"""`tandem eval`: closed-loop success over fresh scenes, in simulated or in real time."""

import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tandem.policies.s2.policy import STRATEGIES
from tandem.runtime import config
from tandem.runtime.errors import ConfigError
from tandem.tools import output
from tandem.tools.evaluate import caches, report
from tandem.tools.evaluate.records import DisturbName, TaskName
from tandem.tools.evaluate.runs import Report, Wish, evaluate, take_apart

_WIDTH = 130


class _OptionalFile(typer.core.TyperCommand):
    """Lets `--json` stand without a file: then the JSON goes to stdout."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: list[str] = []
        for word, following in zip(args, [*args[1:], None], strict=True):
            given.append(word)
            if word == "--json" and (following is None or following.startswith("-")):
                given.append(output.STDOUT)
        return super().parse_args(ctx, given)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("eval", cls=_OptionalFile)
def run(
    config_name: Annotated[
        str, typer.Option("--config", help="A packaged name or a YAML file; simulated.")
    ] = "sim_panda",
    episodes: Annotated[int, typer.Option(min=1, help="Fresh scenes.")] = 300,
    seed: Annotated[int | None, typer.Option(help="The same seed, the same scenes.")] = None,
    task: Annotated[TaskName, typer.Option()] = "pick",
    clock: Annotated[
        Literal["sim", "real"],
        typer.Option(help="Lockstep, faster than real time; or the daemon as it runs."),
    ] = "sim",
    cache: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"{', '.join(STRATEGIES)}; repeatable, or with commas: compared scene by scene; "
            "both: sdvla,none; all. sdvla by default.",
        ),
    ] = None,
    disturb: Annotated[DisturbName, typer.Option(help="What happens on the way.")] = "none",
    jobs: Annotated[int, typer.Option(min=1, help="Processes, with --clock sim.")] = 2,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Falsify each part of System 2 in turn.")
    ] = False,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="[FILE]", help="Write the result; without FILE to stdout."),
    ] = None,
    grid: Annotated[Path | None, typer.Option(help="A picture of the failures (.png).")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--config-override", help="key=value, e.g. sim.cubes=6; repeatable."),
    ] = None,
) -> None:
    """Play fresh scenes in closed loop and count successes."""
    names = caches.named(cache or ["sdvla"])
    settings = config.load(config_name, override or [])
    _check(settings, clock, json, grid)
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    wish = Wish(config_name, settings, episodes, seed, task, clock, disturb, jobs)
    console = output.console(json, _WIDTH)
    with _Bar(console) as tell:
        found = take_apart(wish, tell) if ablate else evaluate(wish, names, tell)
    _show(found, console)
    if json is not None:
        output.write(report.as_json(found.results, found.pairs), json)
    if grid is not None:
        _draw(found, grid, console)


def _check(settings: config.Config, clock: str, json: str | None, grid: Path | None) -> None:
    """Refuse now what would otherwise fail after a long run."""
    if not settings.simulated:
        raise ConfigError("an evaluation needs the simulated cell: it lays out new scenes")
    if settings.s1 is None:
        raise ConfigError(f"{settings.robot.name} has no s1: nothing could follow an instruction")
    for option, name in (("--json", json), ("--grid", grid)):
        output.refuse_nowhere(option, name)
    if grid is not None and grid.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--grid {grid}: the name must end in .png or .jpg")


class _Bar:
    """Shows how far each run is; a line a tenth where there is no terminal."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[successes]} succeeded"),
            TimeRemainingColumn(),
        )
        self._console = console
        self._progress = Progress(*columns, console=console, transient=True)
        self._rows: dict[str, Any] = {}

    def __enter__(self) -> "_Bar":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int, successes: int) -> None:
        if not self._console.is_terminal:
            if done and done % max(1, total // 10) == 0:
                self._console.print(f"{what}: {done} of {total}, {successes} succeeded")
            return
        if what not in self._rows:
            self._rows[what] = self._progress.add_task(what, total=total, successes=0)
        self._progress.update(self._rows[what], completed=done, successes=successes)


def _show(found: Report, console: Console) -> None:
    if len(found.results) <= 2 or not caches.comparable(found.results):
        for result in found.results:
            console.print(report.table(result))
    if caches.comparable(found.results):
        console.print(caches.table(found.results))
    for pair in found.pairs:
        console.print(report.paired_line(*pair))


def _draw(found: Report, path: Path, console: Console) -> None:
    from tandem.tools.evaluate.grid import write_grid

    total = sum(result.episodes for result in found.results)
    title = (
        f"{len(found.failures)} failures of {total} episodes, seed {found.results[0].terms.seed}"
    )
    write_grid(path, found.failures, title)
    console.print(f"failures drawn in {path}")
