"""What a configuration may say of a Franka under `robot.arm.options`, checked before it moves.

Thresholds, load and stiffness are told to the robot at every connection, before it may move.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from tandem.runtime.errors import ConfigError, DeviceError

_JOINTS, _AXES = 7, 6
_KEY = "robot.arm.options"
_STIFFEST_NM_RAD = 14250.0
_OLD_STATES = 100  # may have been on their way when the robot answered
_BALL_M = 0.05  # radius of a load of which only the mass is told
Positive = Annotated[float, msgspec.Meta(gt=0)]
Row = float | tuple[float, ...]  # one number stands for every joint, or axis
T = TypeVar("T")


class Collision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Beyond these the robot stops by reflex. Forces are along x, y, z, moments about them."""

    torque_nm: Row = 20.0  # [7]
    force_n: Row = 20.0  # [6]: N, N, N, Nm, Nm, Nm


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What hangs on the flange beside the hand that its Desk knows; of 0 kg if nothing does."""

    mass_kg: Annotated[float, msgspec.Meta(ge=0)]
    centre_m: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in the frame of the flange
    inertia_kg_m2: tuple[float, ...] = ()  # [9] or its diagonal [3]; (): that of a small ball


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the robot is told when it is reached."""

    collision: Collision | None = None  # None: whatever the robot has
    load: Load | None = None
    stiffness_nm_rad: Row | None = None  # [7] of the joint impedance

    @property
    def missing(self) -> tuple[str, ...]:
        """What a policy may not move without."""
        given = {"collision": self.collision, "load": self.load}
        return tuple(f"{_KEY}.{name}" for name, value in given.items() if value is None)

    def tell(self, robot: Any) -> None:
        """Set it all through the vendor's library, either of them: they name everything alike.

        Raises:
            DeviceError: the robot refuses one of them, or reports another load afterwards.
        """
        if self.collision is not None:
            torques = _row(self.collision.torque_nm, _JOINTS)
            forces = _row(self.collision.force_n, _AXES)
            # Contact is told from the same values on: only the reflex matters here.
            _told("collision", robot.set_collision_behavior, torques, torques, forces, forces)
        if self.stiffness_nm_rad is not None:
            row = _row(self.stiffness_nm_rad, _JOINTS)
            _told("stiffness_nm_rad", robot.set_joint_impedance, row)
        if self.load is not None:
            load = self.load
            _told("load", robot.set_load, load.mass_kg, list(load.centre_m), _inertia(load))
            _check_load(load, robot)


class Way(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the robot is driven.

    `beat`: every set-point is ours, at 1 kHz; `async`: the robot interpolates between targets, for
    machines without a real-time kernel. `joint_velocity`: the robot integrates what it accepts, and
    a small loop on its set-point keeps it on the path.
    """

    handler: Literal["beat", "async"] = "beat"
    control: Literal["joint_position", "joint_velocity"] = "joint_position"


def settings(collision: Any = None, load: Any = None, stiffness_nm_rad: Any = None) -> Settings:
    """Raises ConfigError: something is unknown, of the wrong size, or impossible."""
    given = {"collision": collision, "load": load, "stiffness_nm_rad": stiffness_nm_rad}
    found = converted({k: v for k, v in given.items() if v is not None}, Settings)
    if found.collision is not None:
        _check_row("collision.torque_nm", found.collision.torque_nm, _JOINTS, math.inf)
        _check_row("collision.force_n", found.collision.force_n, _AXES, math.inf)
    if found.stiffness_nm_rad is not None:
        _check_row("stiffness_nm_rad", found.stiffness_nm_rad, _JOINTS, _STIFFEST_NM_RAD)
    if found.load is not None and len(found.load.inertia_kg_m2) not in (0, 3, 9):
        raise ConfigError(f"{_KEY}.load.inertia_kg_m2: give 9 numbers, or the 3 of its diagonal")
    return found


def converted(given: Any, kind: type[T]) -> T:
    """Raises ConfigError with the key that is wrong."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise ConfigError(f"{_KEY}{where.rstrip('`')}: {what}{_choices(kind, where)}") from error


def _choices(kind: type, where: str) -> str:
    """Of a word that is one of a few."""
    field = kind.__annotations__.get(where.strip(".`"))
    words = get_args(field) if get_origin(field) is Literal else ()
    return f"; there are {', '.join(words)}" if words else ""


def _check_row(key: str, row: Row, size: int, most: float) -> None:
    values = _row(row, size)
    if len(values) != size:
        raise ConfigError(f"{_KEY}.{key}: give one number, or {size}")
    if not all(0 < value <= most for value in values):
        limit = "" if math.isinf(most) else f" and at most {most:g}"
        raise ConfigError(f"{_KEY}.{key}: every number must be above 0{limit}")


def _row(row: Row, size: int) -> list[float]:
    return list(row) if isinstance(row, Sequence) else [float(row)] * size


def _inertia(load: Load) -> list[float]:
    given = load.inertia_kg_m2 or (0.4 * load.mass_kg * _BALL_M**2,) * 3
    if len(given) == 9:
        return list(given)
    x, y, z = given
    return [x, 0.0, 0.0, 0.0, y, 0.0, 0.0, 0.0, z]


def _told(key: str, call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except Exception as error:  # the two libraries raise in classes of their own
        raise DeviceError(
            f"the robot does not take {_KEY}.{key} ({error}); correct it in the configuration"
        ) from error


def _check_load(wanted: Load, robot: Any) -> None:
    for _ in range(_OLD_STATES):
        told_kg = robot.read_once().m_load
        if math.isclose(told_kg, wanted.mass_kg, abs_tol=1e-4):
            return
    raise DeviceError(
        f"the robot was told a load of {wanted.mass_kg:g} kg and reports {told_kg:g} kg; look at "
        "the end effector in its Desk, then start again"
    )
