"""From the words of a configuration to a Franka arm with its hand."""

from tandem.drivers.franka.arm import FrankaArm
from tandem.drivers.franka.fer import FerLine
from tandem.drivers.franka.fr3 import Fr3Line
from tandem.drivers.franka.hand import FrankaHand
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import ArmSpec

DRIVERS = {"franka_fr3": (Fr3Line, "pylibfranka"), "franka_fer": (FerLine, "panda_py")}


def franka_arm(
    driver: str,
    spec: ArmSpec,
    host: str,
    hand: bool = True,
    hand_speed_m_s: float = 0.1,
    hand_force_n: float = 20.0,
    tolerance_rad: float | None = None,
) -> FrankaArm:
    """Not connected yet; its hand's process starts at once.

    `tolerance_rad`: how far the robot's own set-point may be from ours before it counts as lost.

    Raises:
        ConfigError: no host is given, or the vendor's library is not installed.
    """
    line, library = DRIVERS[driver]
    if not host:
        raise ConfigError(f"robot.arm.host: {driver} needs the robot's address, e.g. 172.16.0.2")
    line(host)  # says what is missing before any process is started
    gripper = FrankaHand(library, host, hand_speed_m_s, hand_force_n) if hand else None
    further = {} if tolerance_rad is None else {"tolerance_rad": tolerance_rad}
    return FrankaArm(spec, host, line, gripper, **further)
