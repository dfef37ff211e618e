"""The verb `tandem bench`: jitter, hop, franka, memory, step, console, cache; tables, or JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from rich.table import Table
from tandem.runtime.errors import ConfigError
from tandem.tools.bench import output
from tandem.tools.bench.bars import Bar
from tandem.tools.bench.children import orderly_termination
from tandem.tools.output import STDOUT, refuse_nowhere


class OptionalFile(typer.core.TyperCommand):
    """Lets `--json` stand without a file: then the JSON goes to stdout."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_stdout(args))


def with_stdout(args: list[str]) -> list[str]:
    """The same words with "-" behind a `--json` that names no file."""
    given: list[str] = []
    for word, following in zip(args, [*args[1:], None], strict=True):
        given.append(word)
        if word == "--json" and (following is None or following.startswith("--")):
            given.append(STDOUT)
    return given


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure jitter, latency and cost on this machine, beside something else in the same run.",
)

Json = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE]", help="Write the result; without FILE to stdout."),
]
Check = Annotated[bool, typer.Option("--check", help="Exit with 1 if a bar is not met.")]
Cpu = Annotated[int, typer.Option("--cpu", help="The core that executor and probe share.")]
Priority = Annotated[int, typer.Option("--priority", help="SCHED_FIFO of the executor, 0: none.")]
Words = Annotated[str, typer.Option(metavar="A,B", help="Separated by commas.")]

Measure = Callable[[output.Tell], dict[str, Any]]
Tables = Callable[[dict[str, Any]], list[Table]]


@app.command(cls=OptionalFile)
def jitter(
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each run of the executor.")] = 60.0,
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    rates: Words = "200,1000",
    loads: Annotated[str, typer.Option(metavar="A,B", help="Of idle, s2, system.")] = "idle,s2",
    cpu: Cpu = 0,
    priority: Priority = 80,
    idioms: Annotated[bool, typer.Option(help="Measure how others pace, too.")] = True,
    json: Json = None,
    check: Check = False,
) -> None:
    """Wake and send lateness of every tick, with a real-time probe beside it."""
    from tandem.tools.bench import jitter as bench
    from tandem.tools.bench.jitter_table import tables

    settings = bench.Settings(
        seconds, repeats, _numbers(rates), tuple(loads.split(",")), cpu, priority, idioms
    )
    _run(lambda tell: bench.measure(settings, tell), tables, json, check)


@app.command(cls=OptionalFile)
def hop(
    repeats: Annotated[int, typer.Option(min=1)] = 7,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each run.")] = 15.0,
    rate: Annotated[float, typer.Option(min=1.0, help="Messages per second and way.")] = 20.0,
    tokens: Annotated[int, typer.Option(min=1, help="K of the latent [K, D].")] = 2,
    width: Annotated[int, typer.Option(min=1, help="D of the latent [K, D].")] = 64,
    json: Json = None,
    check: Check = False,
) -> None:
    """A conditioning from System 2 to System 1, over the bus and over raw pyzmq."""
    from tandem.tools.bench import hop as bench

    settings = bench.Settings(repeats, seconds, rate, tokens, width)
    _run(lambda tell: bench.measure(settings, tell), lambda r: [bench.table(r)], json, check)


@app.command(cls=OptionalFile)
def franka(
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each run.")] = 60.0,
    cpu: Cpu = 0,
    priority: Priority = 80,
    loaded: Annotated[bool, typer.Option(help="Every core works as System 2 does.")] = True,
    json: Json = None,
    check: Check = False,
) -> None:
    """Set-points that an emulated FR3 loses of ours, and of the vendor's bare loop."""
    from tandem.tools.bench import franka as bench

    settings = bench.Settings(repeats, seconds, cpu, priority, loaded)
    _run(lambda tell: bench.measure(settings, tell), lambda r: [bench.table(r)], json, check)


@app.command(cls=OptionalFile)
def memory(
    minutes: Annotated[float, typer.Option(min=0.02)] = 60.0,
    rate: Annotated[float, typer.Option(min=20.0, help="Ticks per second.")] = 1000.0,
    cpu: Cpu = 0,
    priority: Priority = 80,
    json: Json = None,
    check: Check = False,
) -> None:
    """Does the executor grow?"""
    from tandem.tools.bench import memory as bench

    settings = bench.Settings(minutes, rate, cpu, priority)
    _run(lambda tell: bench.measure(settings, tell), lambda r: [bench.table(r)], json, check)


@app.command(cls=OptionalFile)
def step(
    seconds: Annotated[float, typer.Option(min=1.0, help="Of robot time.")] = 60.0,
    rate: Annotated[float, typer.Option(min=20.0, help="Ticks per second.")] = 1000.0,
    cpu: Cpu = 0,
    priority: Priority = 80,
    json: Json = None,
    check: Check = False,
) -> None:
    """What a tick of the executor costs, part by part."""
    from tandem.tools.bench import step as bench

    settings = bench.Settings(seconds, rate, cpu, priority)
    _run(lambda tell: bench.measure(settings, tell), lambda r: [bench.table(r)], json, check)


@app.command(cls=OptionalFile)
def console(
    rounds: Annotated[int, typer.Option(min=2, help="With a console, and as many without.")] = 8,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each round.")] = 6.0,
    rate: Annotated[float, typer.Option(min=20.0, help="Ticks per second.")] = 1000.0,
    columns: Annotated[int, typer.Option(min=40, help="Of its terminal.")] = 200,
    rows: Annotated[int, typer.Option(min=10, help="Of its terminal.")] = 50,
    json: Json = None,
    check: Check = False,
) -> None:
    """What an attached console costs the daemon, and itself."""
    from tandem.tools.bench import watched as bench

    settings = bench.Settings(rounds, seconds, rate, columns, rows)
    _run(lambda tell: bench.measure(settings, tell), lambda r: [bench.table(r)], json, check)


@app.command(cls=OptionalFile)
def cache(
    backbone: Annotated[
        str,
        typer.Option(help="shipped (trained), or random: small, half (0.5 B), seven, oft (7 B)."),
    ] = "half",
    caches: Annotated[str, typer.Option(metavar="A,B", help="none among them; or all.")] = "all",
    frames: Annotated[int, typer.Option(min=2)] = 60,
    footage: Annotated[
        Path | None, typer.Option(help="A folder of TFRecord episodes instead of the simulator.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="bfloat16 or float32.")] = "bfloat16",
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="Of torch; 0: all cores.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the simulated film.")] = 1,
    insist: Annotated[bool, typer.Option(help="7 B on a CPU: minutes a step.")] = False,
    episodes: Annotated[int, typer.Option(min=1, help="Scenes to play; shipped only.")] = 20,
    cameras: Annotated[int, typer.Option(min=1, help="2: front and wrist.")] = 1,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="An SVG of it.")] = None,
    json: Json = None,
    check: Check = False,
) -> None:
    """Every cache of vision tokens on one backbone: time, multiply-adds, error."""
    from tandem.tools.bench.cache import measure as bench
    from tandem.tools.bench.cache.plot import svg
    from tandem.tools.bench.cache.table import tables

    names = () if caches == "all" else tuple(caches.split(","))
    settings = bench.Settings(
        backbone, names, frames, footage, dtype, device, threads, seed, insist, episodes, cameras
    )
    refuse_nowhere("--plot", plot)

    def measure(tell: output.Tell) -> dict[str, Any]:
        result = bench.measure(settings, tell)
        if plot is not None:
            plot.write_text(svg(result))
        return result

    _run(measure, tables, json, check)


def _run(measure: Measure, tables: Tables, json: str | None, check: bool) -> None:
    refuse_nowhere("--json", json)
    console = output.console(json)
    with orderly_termination():
        result = measure(lambda text: console.print(f"[dim]{text}"))
    output.write(result, json)
    console.print(output.headline(result))
    for table in tables(result):
        console.print(table)
    bars = [Bar(b["case"], b["name"], b["value"], b["limit"]) for b in result["bars"]]
    if bars:
        console.print(output.bar_table(bars))
    if check and not result["met"]:
        raise typer.Exit(1)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--rates {text}: numbers separated by commas, as in 200,1000") from error


if __name__ == "__main__":
    app()
