"""What a person may tell the emulator while it runs: one word and its numbers a line."""

from dataclasses import asdict

from tandem.runtime.errors import RefusedError
from tandem.tools.feetech_emulator.port import Port

HELP = """\
silence ID | speak ID      a servo says nothing | speaks again
corrupt SHARE | lose SHARE of the answers
delay MS                   every answer comes later
overload ID | jam ID | free ID   lets go until torque is given again | and again and again | no more
volts V | heat ID C        supply voltage of all | temperature of one
push ID STEPS              somebody moves it by hand
power                      off and on: limp, and what was not saved is forgotten
unplug | plug              the USB cable
count                      what has crossed the wire
mend                       all faults end
reset                      all is as at the start"""


def obey(port: Port, line: str) -> str:
    """Do it; what to print.

    Raises:
        RefusedError: no such order, or it makes no sense.
    """
    word, *given = line.split()
    wire, faults = port.wire, port.wire.faults
    try:
        numbers = [float(text) for text in given]
        match word, numbers:
            case "silence", [servo]:
                faults.silent.add(round(servo))
            case "speak", [servo]:
                faults.silent.discard(round(servo))
            case "corrupt", [share]:
                faults.corrupt = share
            case "lose", [share]:
                faults.lose = share
            case "delay", [milliseconds]:
                faults.hold_back_s = milliseconds * 1e-3
            case "overload", [servo]:
                wire.servos[round(servo)].overload()
            case "jam", [servo]:
                wire.servos[round(servo)].jammed = True
                wire.servos[round(servo)].overload()
            case "free", [servo]:
                wire.servos[round(servo)].jammed = False
            case "volts", [volts]:
                for each in wire.servos.values():
                    each.voltage_v = volts
            case "heat", [servo, degrees]:
                wire.servos[round(servo)].heat_c = round(degrees)
            case "push", [servo, steps]:
                wire.servos[round(servo)].position += steps
            case "power", []:
                for each in wire.servos.values():
                    each.power_on()
            case "unplug", []:
                port.unplug()
            case "plug", []:
                port.plug()
            case "count", []:
                return " ".join(f"{key}={value}" for key, value in asdict(wire.counts).items())
            case "mend", []:
                _mend(port)
            case "reset", []:
                _mend(port)
                for each in wire.servos.values():
                    each.begin()
            case _:
                raise RefusedError(f"{line!r} is no order. There are:\n{HELP}")
    except (KeyError, ValueError) as error:
        raise RefusedError(f"{line!r}: {error}; servos are {sorted(wire.servos)}") from error
    return word


def _mend(port: Port) -> None:
    faults = port.wire.faults
    faults.silent.clear()
    faults.corrupt = faults.lose = faults.hold_back_s = 0.0
    for servo in port.wire.servos.values():
        servo.jammed, servo.voltage_v, servo.heat_c = False, 12.0, 30
    port.plug()
