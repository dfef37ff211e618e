"""From the words of a configuration to a Franka arm with its hand."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tandem.drivers.franka import options
from tandem.drivers.franka.arm import FrankaArm
from tandem.drivers.franka.fer import FerLine, FerVelocityLine
from tandem.drivers.franka.fr3 import Fr3Line, Fr3VelocityLine
from tandem.drivers.franka.fr3_targets import Fr3TargetLine
from tandem.drivers.franka.hand import FrankaHand
from tandem.drivers.franka.line import Line
from tandem.drivers.franka.manner import Hand, Manner
from tandem.runtime.clock import Clock
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import ArmSpec

DRIVERS = {"franka_fr3": (Fr3Line, "pylibfranka"), "franka_fer": (FerLine, "panda_py")}
ASYNC = {"franka_fr3": Fr3TargetLine}
VELOCITY: dict[str, Callable[..., Line]] = {
    "franka_fr3": Fr3VelocityLine,
    "franka_fer": FerVelocityLine,
}


def franka_arm(
    driver: str,
    spec: ArmSpec,
    host: str,
    hand: bool = True,
    hand_speed_m_s: float = 0.1,
    hand_force_n: float = 20.0,
    tolerance_rad: float | None = None,
    success_rate_min: float = 0.9,
    collision: dict[str, Any] | None = None,
    load: dict[str, Any] | None = None,
    stiffness_nm_rad: float | list[float] | None = None,
    handler: str = "beat",
    control: str = "joint_position",
) -> FrankaArm:
    """Not connected yet; its hand's process starts at once.

    `tolerance_rad`: how far the robot's own set-point may be from ours before it counts as lost.
    `success_rate_min`: people are told when fewer of the set-points arrive in time. `collision`,
    `load`, `stiffness_nm_rad`: see `options`; a policy moves nothing without the first two.
    `handler`: beat (every set-point is ours, at 1 kHz) or async (an FR3 finds its own way between
    targets, for machines without a real-time kernel). `control`: joint_position or joint_velocity.

    Raises:
        ConfigError: no host is given, an option is impossible, or the vendor's library is not
            installed.
    """
    if not host:
        raise ConfigError(f"robot.arm.host: {driver} needs the robot's address, e.g. 172.16.0.2")
    if not 0 <= success_rate_min <= 1:
        raise ConfigError("robot.arm.options.success_rate_min is a share, from 0 to 1")
    manner = Manner(success_rate_min=success_rate_min)
    if tolerance_rad is not None:
        manner = replace(manner, tolerance_rad=tolerance_rad)
    kind = line_kind(driver, handler, control)
    told = options.settings(collision, load, stiffness_nm_rad)
    build_hand = partial(FrankaHand, DRIVERS[driver][1], host, hand_speed_m_s, hand_force_n)
    return assemble(kind, spec, host, told, manner, build_hand if hand else None)


def line_kind(
    driver: str, handler: str = "beat", control: str = "joint_position"
) -> Callable[..., Line]:
    """Raises ConfigError: there is no such way to drive this robot."""
    way = options.converted({"handler": handler, "control": control}, options.Way)
    by_velocity = way.control == "joint_velocity"
    if way.handler == "beat":
        return VELOCITY[driver] if by_velocity else DRIVERS[driver][0]
    if driver not in ASYNC:
        raise ConfigError(
            f"robot.arm.options.handler: async is of the FR3's system, {driver} has beat only"
        )
    if by_velocity:
        raise ConfigError(
            "robot.arm.options.control: the robot's own handler takes positions only; choose "
            "handler: beat, or control: joint_position"
        )
    return ASYNC[driver]


def assemble(
    kind: Callable[..., Line],
    spec: ArmSpec,
    host: str,
    told: options.Settings,
    manner: Manner,
    build_hand: Callable[[], Hand] | None = None,
    clock: Clock | None = None,
) -> FrankaArm:
    """The same from parts; with a VirtualClock for a robot in lockstep."""
    line = partial(kind, settings=told, patience_ns=manner.patience_ns)
    line(host)  # says what is missing before any process is started
    hand = build_hand() if build_hand else None
    spec = replace(spec, unset=(*spec.unset, *told.missing))
    return FrankaArm(spec, host, line, hand, clock, manner)
