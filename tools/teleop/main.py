"""`tandem teleop`: attach to a running daemon and drive its arm by hand."""

import asyncio
import contextlib
import getpass
import os
import socket
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from tandem.runtime import config
from tandem.runtime.config_tools import Teleop
from tandem.runtime.errors import TandemError
from tandem.tools import control
from tandem.tools.teleop import devices
from tandem.tools.teleop.devices import Choice
from tandem.tools.teleop.session import Session
from tandem.tools.teleop.terminal import Terminal
from tandem.tools.teleop.wish import Caps, Controls, Frame, Want

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def teleop(
    robot: Annotated[
        str, typer.Argument(metavar="[ROBOT]", help="Which one, if several daemons run here.")
    ] = "",
    device: Annotated[
        Choice | None, typer.Option(help="What to hold in the hand.", show_default="auto")
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Say what is plugged in.")
    ] = False,
    want: Annotated[
        Want,
        typer.Option(
            help="drive: a pressed dead-man takes over. standby: it only stands by, and has the "
            "arm at once when the policy is lost."
        ),
    ] = "drive",
    frame: Annotated[
        Frame | None, typer.Option(help="Whose axes the hand moves along.", show_default="base")
    ] = None,
    max_m_s: Annotated[
        float | None,
        typer.Option(min=0.005, max=1.0, help="Tool, full speed.", show_default="0.15"),
    ] = None,
    max_rad_s: Annotated[
        float | None,
        typer.Option(
            min=0.02, max=1.0, help="Tool's turning, or joints, full speed.", show_default="1.0"
        ),
    ] = None,
    sensitivity: Annotated[
        float | None,
        typer.Option(
            min=0.05, max=1.0, help="Share of full speed to begin with.", show_default="0.5"
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Who you are, for the others.")] = "",
) -> None:
    """Drive the arm by hand; keep the emergency stop in reach, this is no safety function.

    What is not given here is taken from `teleop:` of the robot's configuration.
    """
    if list_devices:
        print("\n".join(devices.listing()))
        return
    folder = control.find(robot)
    given = {
        "device": device,
        "frame": frame,
        "max_m_s": max_m_s,
        "max_rad_s": max_rad_s,
        "sensitivity": sensitivity,
    }
    why = _drive(folder, _lease(name), want, settings_for(folder, given))
    with contextlib.suppress(OSError):  # of a terminal that has hung up
        print(f"teleop: {why}", flush=True)


def settings_for(folder: Path, given: dict[str, Any]) -> Teleop:
    """What was given goes before what the daemon that runs there was configured with."""
    try:
        base = config.load(folder / "config.yaml").teleop
    except TandemError:  # of another version: our own defaults are better than no operator
        base = Teleop()
    return msgspec.structs.replace(base, **{k: v for k, v in given.items() if v is not None})


def _drive(folder: Path, lease: str, want: Want, settings: Teleop) -> str:
    """Returns why it ended; whatever happens, the terminal is as it was."""
    caps = Caps(settings.max_m_s, settings.max_rad_s)
    controls = Controls(caps, want, settings.frame, settings.sensitivity)
    with contextlib.ExitStack() as stack:
        terminal = stack.enter_context(Terminal()) if Terminal.there() else None
        device = devices.pick(settings.device, terminal, caps)
        stack.callback(device.close)
        session = Session(folder, lease, device, controls, terminal, settings.rate_hz)
        asyncio.run(session.run())
    return session.ended


def _lease(name: str) -> str:
    """Of one process: the same person in two windows is two operators."""
    try:
        who = name or f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError) as error:
        raise TandemError(f"who are you? give a --name ({error})") from error
    return f"{who}/{os.getpid()}"
