"""`tandem feetech-emulator`: an SO-101's servo bus without the servos, for trying and testing."""

import os
import select
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from tandem.runtime.errors import RefusedError
from tandem.runtime.realtime import real_time
from tandem.tools.feetech_emulator.bus import Wire
from tandem.tools.feetech_emulator.exercise import exercise
from tandem.tools.feetech_emulator.orders import HELP, obey
from tandem.tools.feetech_emulator.port import Port
from tandem.tools.feetech_emulator.servo import Servo

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

# Shown position at rest, lowest, highest, homing offset: a calibrated SO-101 folded over its base.
SO101 = (
    (2047, 780, 3314, -120),
    (1460, 900, 3200, 340),
    (2640, 940, 3140, -45),
    (2640, 960, 3130, 77),
    (2047, 0, 4095, 12),
    (2300, 2040, 3200, -1000),
)
_LOOK_S = 0.02
_PRIORITY = 70


def servos() -> list[Servo]:
    return [
        Servo(number, shown + offset, low, high, offset)
        for number, (shown, low, high, offset) in enumerate(SO101, 1)
    ]


@app.command()
def feetech_emulator(
    link: Annotated[Path, typer.Option(help="Name of the port; give it as robot.arm.host.")] = Path(
        "/tmp/so101"
    ),
    wire: Annotated[bool, typer.Option(help="Answers take as long as 1 Mbaud takes.")] = True,
    seed: Annotated[int, typer.Option(help="Of the damage that `corrupt` does.")] = 0,
    exercise_s: Annotated[
        float, typer.Option(help="Run the whole daemon on it for so long, and account for it.")
    ] = 0.0,
    corrupt: Annotated[float, typer.Option(help="Share of the answers that is damaged.")] = 0.0,
) -> None:
    """Serve six servos until Ctrl-C; orders are read from the standard input, `help` lists them."""
    # Servos do not wait for a busy computer; below the executor, as the simulator's physics.
    real_time(_PRIORITY)
    baud = 1_000_000 if wire else None
    if exercise_s:
        given = Wire(servos(), seed)
        given.faults.corrupt = corrupt
        sys.exit(not exercise(lambda name: Port(given, name, baud), exercise_s))
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    signal.signal(signal.SIGINT, lambda number, _: ended.append(number))
    port = Port(Wire(servos(), seed), link, baud)
    port.wire.faults.corrupt = corrupt
    print(f"six servos at {link} ({os.readlink(link)}); `help` lists what can go wrong", flush=True)
    orders = Orders()
    try:
        while not ended:
            _turn(port, orders)
    finally:
        port.unplug()


class Orders:
    """Lines of the standard input, without waiting for them."""

    def __init__(self) -> None:
        self.open = True
        self._rest = ""

    def take(self) -> list[str]:
        """Every line that is whole by now. At the end of the input there will be no more."""
        data = os.read(sys.stdin.fileno(), 4096)
        self.open = bool(data)
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        return [line.strip() for line in lines if line.strip()]


def _turn(port: Port, orders: Orders) -> None:
    """Serve whoever speaks first."""
    stdin = sys.stdin.fileno()
    sources = [*([port.fileno()] if port.plugged else []), *([stdin] if orders.open else [])]
    ready = select.select(sources, [], [], _LOOK_S)[0]
    if stdin in ready:
        for line in orders.take():
            _order(port, line)
    if port.plugged and port.fileno() in ready:
        port.answer()


def _order(port: Port, line: str) -> None:
    try:
        print(HELP if line == "help" else obey(port, line), flush=True)
    except RefusedError as error:
        print(error, flush=True)
