"""Which processes a configuration needs, in which order, and how nice each is to the others."""

import sys
from pathlib import Path

from tandem.runtime.children import Spec
from tandem.runtime.config import Config

# At nice 0 these delay a state message to its reader by milliseconds; the robot comes first.
_NICE = {"camera": 10, "s2": 10}
# Importing torch on a busy machine takes longest.
_READY_TIMEOUT_S = {"s2": 90.0, "s1": 60.0}
# The executor brakes before it leaves, and the plant must be there while it does.
_END_TIMEOUT_S = {"executor": 3.0}


def stages(config: Config, config_file: Path) -> list[list[Spec]]:
    """The robot first, then eyes and minds all at once."""
    minds = [role for role in ("s2", "s1") if getattr(config, role) is not None]
    eyes = ["camera"] if config.cameras else []
    later = ["executor", *eyes, *minds]
    if config.emulated:
        cell = (sys.executable, "-m", "tandem.tools.fci_emulator.cell", str(config_file))
        return [[Spec("sim", cell)], [_spec(role, config_file) for role in later]]
    if config.robot.arm.driver != "sim":
        return [[_spec(role, config_file) for role in later]]
    # A new plant has new memory: who holds the old one's must attach again.
    sim = _spec("sim", config_file, takes_along=("executor",))
    return [[sim], [_spec(role, config_file) for role in later]]


def _spec(role: str, config_file: Path, takes_along: tuple[str, ...] = ()) -> Spec:
    return Spec(
        role,
        (sys.executable, "-m", "tandem.runtime.app", role, str(config_file)),
        ready_timeout_s=_READY_TIMEOUT_S.get(role, 30.0),
        nice=_NICE.get(role, 0),
        end_timeout_s=_END_TIMEOUT_S.get(role, 2.0),
        takes_along=takes_along,
    )
