"""`tandem doctor [ROBOT]`: everything that would hurt, each with the command that mends it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from tandem.runtime.config import Config, Record
from tandem.tools.doctor import (
    cameras,
    cell,
    checks,
    daemons,
    finding,
    installation,
    machine,
    measured,
    network,
    probes,
)
from tandem.tools.doctor.finding import Finding

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_CAMERAS = "cameras"
_LATENCY_S, _LOOK_S = 30.0, 3.0
_POLICY_RTT_MS = 20.0


@app.command()
def doctor(
    robot: Annotated[
        str,
        typer.Argument(
            metavar="[ROBOT]",
            help="A configuration to look at as well; or the word `cameras` to list those here.",
        ),
    ] = "",
    of: Annotated[
        str,
        typer.Argument(
            metavar="[CONFIG]", help="After `cameras`: look through those of a configuration."
        ),
    ] = "",
    latency: Annotated[
        bool,
        typer.Option(
            "--latency", "--measure", help="Also half a minute of wake-ups at 1 kHz, and the disk."
        ),
    ] = False,
    show: Annotated[
        bool,
        typer.Option("--show", help="cameras: look through each, and write a picture of it."),
    ] = False,
    out: Annotated[Path, typer.Option(help="cameras: where the pictures go.")] = Path(),
    seconds: Annotated[
        float | None,
        typer.Option(
            help="How long to look: --latency 30, cameras 3.", min=0.1, show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Look at this machine, this installation and a robot; exit status 1 if something is wrong."""
    if of and robot != _CAMERAS:
        raise typer.BadParameter(f"{of}: a second word is for `tandem doctor cameras CONFIG`")
    if latency:
        wake_s = seconds or _LATENCY_S
        print(f"measuring wake-ups at 1 kHz for {wake_s:g} s …", file=sys.stderr, flush=True)
    if robot == _CAMERAS:
        found = list(_cameras(of, seconds or _LOOK_S, out if show else None))
    else:
        found = list(_everything(robot, (seconds or _LATENCY_S) * latency))
    if as_json:
        print(json.dumps(finding.as_data(found), indent=2, ensure_ascii=False))
    else:
        finding.show(found)
    raise typer.Exit(not finding.is_healthy(found))


def complaints() -> list[str]:
    """What is wrong, of all that shows at a glance: for the start of a daemon.

    What real time was granted, the executor itself says a moment later.
    """
    found = checks.all_of(machine.read({}, {}, None))
    sick = (f for f in found if f.verdict == "wrong")
    return [f"{f.name}: {f.found}; {f.why} → {f.fix}" for f in sick]


def _cameras(of: str, seconds: float, folder: Path | None) -> Iterator[Finding]:
    """What is plugged in; with --show what it gives; with a configuration, what that names."""
    if not of:
        yield from cameras.all_of()
        if folder is not None:
            yield from cameras.shown(seconds, folder)
        return
    found, settings = cell.configuration(of)
    yield found
    if settings is not None:
        yield from cameras.configured(settings, seconds, folder)


def _everything(robot: str, measure_s: float) -> Iterator[Finding]:
    yield from checks.all_of(machine.read(*probes.real_time()))
    yield installation.versions(installation.packages())
    base = daemons.base()
    yield daemons.runtime_folder(base)
    yield daemons.leftovers(base)
    for running in daemons.running():
        yield daemons.health(running)
    settings = None
    if robot:
        found, settings = cell.configuration(robot)
        yield found
    if settings is None or any(c.driver == "sim" for c in settings.cameras.values()):
        yield installation.pictures(probes.render())
    if settings is not None:
        yield from _robot(settings)
    record = settings.record if settings is not None else Record()
    disk = cell.disk(record.path, record.max_gib)
    yield cell.room(disk)
    if measure_s:
        yield measured.lateness(probes.lateness(measure_s), measure_s)
        if disk.writable:
            yield measured.disk_speed(measured.write_speed(disk.path))


def _robot(settings: Config) -> Iterator[Finding]:
    weights = cell.weights(settings)
    minds = cell.minds(weights)
    yield minds
    if "s1" in weights and minds.verdict == "ok":
        model = str(weights["s1"].path.with_suffix(".onnx"))
        yield installation.inference(probes.provider(model), installation.has_gpu())
    if settings.robot.arm.host:
        limit_ms = 500 / settings.executor.rate_hz  # half a period
        yield network.way(network.measure(settings.robot.arm.host), limit_ms)
    if settings.s1 is not None and settings.s1.host:
        yield network.way(network.measure(settings.s1.host), _POLICY_RTT_MS)
    if any(camera.driver != "sim" for camera in settings.cameras.values()):
        yield from cameras.all_of()
