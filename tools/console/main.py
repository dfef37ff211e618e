"""`tandem console`: latency and jitter of a running daemon, live. It watches, it never commands."""

import json
import os
import shutil
import sys
import time
from typing import Annotated

import typer
from tandem.runtime.errors import RefusedError
from tandem.tools.console import figures, text
from tandem.tools.console.watch import Watch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_LOOK_S = 0.05
_NICE = 10  # whoever watches steps back behind the robot


@app.command()
def console(
    robot: Annotated[
        str,
        typer.Argument(
            metavar="[ROBOT]", help="Its name or its YAML file; needed if several daemons run here."
        ),
    ] = "",
    named: Annotated[
        str, typer.Option("--robot", help="The same, as the other verbs say it.")
    ] = "",
    once: Annotated[
        bool, typer.Option("--once", help="Print the figures of a short window, then end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts; goes with --once.")] = False,
    seconds: Annotated[float, typer.Option(help="How long --once listens.", min=0.2)] = 3.0,
) -> None:
    """Latency, jitter and state of a running daemon, live. It can watch and never command."""
    os.nice(_NICE)
    watch = Watch(robot or named)
    if once or as_json:
        snapshot = listen(watch, seconds)
        if as_json:
            print(json.dumps(figures.to_json(snapshot), indent=2))
        else:
            print(text.page(snapshot, shutil.get_terminal_size((120, 50)).columns))
        return
    if not sys.stdout.isatty():
        raise RefusedError(
            "the console needs a terminal; for scripts: tandem console --once --json"
        )
    from tandem.tools.console.app import ConsoleApp

    ConsoleApp(watch).run()


def listen(watch: Watch, seconds: float) -> figures.Snapshot:
    """What `seconds` of listening give.

    Raises:
        RefusedError: no daemon was there in that time, or several were.
    """
    end_s = time.monotonic() + seconds
    try:
        while time.monotonic() < end_s:
            watch.look()
            time.sleep(_LOOK_S)
        watch.look()
        snapshot = watch.snapshot()
    finally:
        watch.close()
    if snapshot.presence == "waiting":
        raise RefusedError(f"{snapshot.note}; start one: tandem run sim_panda")
    return snapshot
