"""What passes between a robot and its client: replies, motions, and answers that never change."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tandem.tools.fci_emulator.dialect import Controller, Generator
from tandem.tools.fci_emulator.models import Model, urdf
from tandem.tools.fci_emulator.targets import Targets


@dataclass(frozen=True)
class Reply:
    """To a request: `word` is a status word of the dialect."""

    name: str
    request_id: int
    word: str
    payload: bytes = b""


@dataclass
class Motion:
    request_id: int
    generator: Generator
    controller: Controller
    targets: Targets | None = None  # the robot finds its own way, at its own beat


def _cartesian_limit(model: Model) -> tuple[str, bytes]:
    """There is none."""
    return "Success", struct.pack("<3d16d?", *[0.0] * 3, *np.eye(4).ravel(), False)


# By the name of the request: the status word, and what follows it.
ANSWERS: dict[str, Callable[[Model], tuple[str, bytes]]] = {
    "GetRobotModel": lambda model: ("Success", urdf(model).encode()),
    "GetCartesianLimit": _cartesian_limit,
    "LoadModelLibrary": lambda model: ("NotPossible", b""),  # machine code, the vendor's own
}
