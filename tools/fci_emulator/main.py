"""`tandem fci-emulator`: a Franka for everybody's client library, on a loopback address."""

import contextlib
import gc
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import ConfigError
from tandem.tools.fci_emulator import desk
from tandem.tools.fci_emulator.body import Body, Kinematic, Simulated
from tandem.tools.fci_emulator.faults import KINDS
from tandem.tools.fci_emulator.models import MODELS, START_Q
from tandem.tools.fci_emulator.server import Emulator, Pace

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, invoke_without_command=True)
_Host = Annotated[str, typer.Option(help="Its loopback address; one an arm.")]


@app.callback()
def run(
    context: typer.Context,
    host: _Host = "127.0.0.1",
    robot: Annotated[str, typer.Option(help="fr3 (server version 10) or fer (5).")] = "fr3",
    lockstep: Annotated[
        bool, typer.Option("--lockstep", help="Time waits for the client: the same on any machine.")
    ] = False,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Backed by the simulated cell and its physics.")
    ] = False,
    cameras: Annotated[
        Path | None, typer.Option(help="Runtime folder of a daemon that shall see this cell.")
    ] = None,
    patience: Annotated[
        float, typer.Option(help="Seconds that lockstep waits for an answer before it is lost.")
    ] = 1.0,
    black_box: Annotated[
        Path | None, typer.Option(help="File for what the arm of the cell was commanded, every ms.")
    ] = None,
    speed: Annotated[float, typer.Option(help="Of its clock against this machine's.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the scene and of random losses.")] = 0,
    cubes: Annotated[int, typer.Option(help="In the scene.")] = 4,
    object_m: Annotated[float, typer.Option(help="Width between the fingers, if light.")] = 0.0,
    narrower_rad: Annotated[float, typer.Option(help="Off both ends of every joint.")] = 0.0,
    priority: Annotated[int, typer.Option(help="SCHED_FIFO, 0: ordinary.")] = 0,
    cpu: Annotated[int | None, typer.Option(help="The core that it stays on.")] = None,
) -> None:
    """Run an arm until Ctrl-C."""
    if context.invoked_subcommand:
        return
    if robot not in MODELS:
        raise ConfigError(f"--robot {robot}: there are {', '.join(MODELS)}")
    in_cell = simulated or cameras is not None or black_box is not None
    body: Body = Simulated(seed, cubes, cameras) if in_cell else Kinematic(START_Q, object_m)
    model = MODELS[robot].narrowed(narrower_rad)
    emulator = Emulator(model, body, host, Pace(lockstep, speed, patience), seed)
    besides = _answering(emulator, body, black_box) if isinstance(body, Simulated) else None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(emulator, "stopping", True))
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    if priority:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    gc.collect()
    gc.freeze()
    print(f"{robot} on {host}, {'lockstep' if lockstep else 'wall clock'}; Ctrl-C ends", flush=True)
    with contextlib.closing(emulator):
        emulator.run(besides or (lambda: None))


def _answering(emulator: Emulator, body: Simulated, black_box: Path | None) -> Callable[[], None]:
    """Let the cell be asked at the emulator's own port; what is to be done every millisecond."""
    from tandem.drivers.sim.blackbox import BlackBox
    from tandem.tools.fci_emulator.cell import Cell

    cell = Cell(emulator, body, BlackBox(black_box, NS_PER_MS) if black_box else None)
    emulator.further |= {"cell": cell.at_the_desk, "scene": cell.scene}
    return cell.record


@app.command()
def report(host: _Host = "127.0.0.1") -> None:
    """What a running emulator has received, lost and objected to."""
    print(json.dumps(desk.ask(host, do="report"), indent=2))


@app.command()
def fault(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    host: _Host = "127.0.0.1",
    share: Annotated[float, typer.Option(help="lose, reorder: of the packets.")] = 0.0,
    burst: Annotated[int, typer.Option(help="lose: longest run of lost packets.")] = 1,
    count: Annotated[int | None, typer.Option(help="lose: just so many, now.")] = None,
    ticks: Annotated[int, typer.Option(help="late: by so many milliseconds.")] = 5,
    error: Annotated[str, typer.Option(help="reflex: which one.")] = "joint_reflex",
) -> None:
    """Let something go wrong in a running emulator; `none` ends what lasts."""
    asked = {"share": share, "burst": burst, "ticks": ticks, "error": error}
    if count is not None:
        asked["count"] = count
    desk.ask(host, do="fault", kind=kind, **asked)


if __name__ == "__main__":
    app()
