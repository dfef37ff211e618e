"""`tandem run`: the daemon in the foreground, with its status line, and its report at the end."""

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
import uvloop
from tandem.runtime import config
from tandem.runtime.errors import ConfigError
from tandem.runtime.folder import RuntimeFolder
from tandem.tools import report, viewer
from tandem.tools.doctor import main as doctor
from tandem.tools.session import Session, Wishes

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


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
    record: Annotated[
        bool, typer.Option("--record", help="Record everything (MCAP) below record.path.")
    ] = False,
    record_to: Annotated[
        Path | None, typer.Option("--record-to", help="Record, below this folder.")
    ] = None,
    images: Annotated[
        Literal["jpeg", "png"] | None,
        typer.Option(help="Pictures in the recording: jpeg is small, png loses nothing (replay)."),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--config-override", help="key=value, e.g. executor.rate_hz=1000; repeatable."
        ),
    ] = None,
) -> None:
    """Run a robot: start its processes, hold, wait for a task. Ctrl-C brakes, then ends."""
    pictures = [f"record.images={images}"] if images else []
    settings = config.load(config_name, [*(override or []), *pictures])
    recording = _recording(settings, record_to) if record or record_to else None
    wishes = Wishes(go, seconds, demo, rerun, report_file, video, recording)
    _check(settings, wishes)
    for complaint in doctor.complaints():
        print(complaint)
    # As Ctrl-C, until the loop hears them itself: whoever is told to end leaves nothing behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
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
    if recording is not None and recording.is_dir():
        print(f"recorded in {recording}")


def _recording(settings: config.Config, below: Path | None) -> Path:
    """The folder of this run's recording; the only place where wall time names something."""
    base = below or Path(settings.record.path)
    began = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return base.expanduser().absolute() / f"{settings.robot.name}-{began}"


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


async def _session(settings: config.Config, wishes: Wishes, folder: RuntimeFolder) -> Session:
    session = Session(settings, wishes, folder)
    await session.run()
    return session
