"""`tandem export lerobot RECORDING OUT` and `tandem export trace RECORDING OUT.json`."""

from pathlib import Path
from typing import Annotated

import typer
from tandem.runtime.errors import ConfigError
from tandem.tools.record.reader import Recording

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recordings in the formats of other tools.",
)

_Recording = Annotated[
    Path, typer.Argument(metavar="RECORDING", help="A folder of .mcap files, or one file.")
]


@app.command()
def trace(
    recording: _Recording,
    out: Annotated[Path, typer.Argument(metavar="OUT.json", help="Open it in ui.perfetto.dev.")],
    begin: Annotated[float, typer.Option(help="Seconds after the recording's begin.")] = 0.0,
    seconds: Annotated[float | None, typer.Option(help="How much; all by default.")] = None,
) -> None:
    """One time line of all processes, with arrows from the camera to the command."""
    from tandem.tools.export.trace import export

    _must_not_exist(out)
    counts = export(Recording(recording), out, begin, seconds)
    print(f"{out}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))


@app.command()
def lerobot(
    recording: _Recording,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    fps: Annotated[int | None, typer.Option(min=1, help="By default the cameras' rate.")] = None,
    robot_type: Annotated[str, typer.Option(help="By default the robot's own name.")] = "",
) -> None:
    """A LeRobot v3 dataset: an episode per instruction, with mode and intervention flags."""
    from tandem.tools.export.lerobot import export

    _must_not_exist(out)
    told = export(Recording(recording), out, fps, robot_type)
    print(f"{out}: {told}")


def _must_not_exist(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"{out} exists; name something new")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"there is no folder {out.absolute().parent}")
