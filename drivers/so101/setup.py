"""What happens once, while nothing moves: who is there, are they ours, how are they to behave."""

from dataclasses import replace

import numpy as np
from tandem.drivers.so101 import calibration, registers
from tandem.drivers.so101.bus import Bus
from tandem.drivers.so101.calibration import GRIPPER, Calibration, Servo
from tandem.drivers.so101.errors import PortError, SilentServoError
from tandem.drivers.so101.registers import Register
from tandem.runtime.interfaces import ArmSpec

_HALF_TORQUE = 500  # of the gripper, 0.1 %: with all of it a closed hand burns its motor
_FAST_ACCELERATION = 254  # the runtime bounds the acceleration; the servo's own ramp would lag
_IDS = (1, 2, 3, 4, 5, 6)  # in the order of the joints, the gripper last, as LeRobot sets them


def find_all(bus: Bus, names: tuple[str, ...], ids: dict[str, int]) -> None:
    """
    Raises:
        SilentServoError: some servos do not answer; which, and where the cable is to be looked at.
        PortError: they are no STS3215.
    """
    there = {name: bus.answers_to_ping(ids[name]) for name in names}
    silent = [f"{ids[name]} ({name})" for name, answers in there.items() if not answers]
    if len(silent) == len(names):
        raise SilentServoError(
            f"no servo answers at {bus.port.path}: is the arm's power on, and is this port its own?"
        )
    if silent:
        raise SilentServoError(
            f"servo {', '.join(silent)} at {bus.port.path} does not answer: look at the three-wire "
            "cable to the first of them, and whether each servo has its own id"
        )
    for name in names:
        model = bus.read(ids[name], registers.MODEL)
        if model != registers.MODEL_STS3215:
            raise PortError(
                f"servo {ids[name]} ({name}) is of model {model}, not an STS3215 "
                f"({registers.MODEL_STS3215}); this driver would move it by wrong numbers"
            )


def default_ids(names: tuple[str, ...]) -> dict[str, int]:
    return dict(zip(names, _IDS, strict=True))


def read_calibration(bus: Bus, ids: dict[str, int], like: Calibration | None) -> Calibration:
    """What the servos themselves hold. The drive mode is in no servo: it is that of `like`.

    Raises:
        SilentServoError: one stopped answering.
        CalibrationError: they were never calibrated.
    """
    found: Calibration = {}
    for name, servo in ids.items():
        found[name] = Servo(
            id=servo,
            drive_mode=like[name].drive_mode if like else 0,
            homing_offset=bus.read(servo, registers.HOMING_OFFSET),
            range_min=bus.read(servo, registers.MIN_POSITION),
            range_max=bus.read(servo, registers.MAX_POSITION),
        )
    calibration.check(found, f"the servos at {bus.port.path}")
    calibration.check_calibrated(found)
    return found


def velocity_unit(bus: Bus, servo: int) -> int:
    """Steps per second of one unit of its velocity."""
    fine = bus.read(servo, registers.PHASE) & registers.FINE_VELOCITY
    return 1 if fine else registers.COARSE_STEPS


def configure(bus: Bus, ids: dict[str, int]) -> None:
    """Position mode, no delay before answers, and no ramp of the servo's own.

    What survives the power is only written where it differs, for it wears out.

    Raises:
        SilentServoError: one stopped answering.
    """
    for name, servo in ids.items():
        for register in (registers.RETURN_DELAY, registers.OPERATING_MODE):
            if bus.read(servo, register) != 0:
                _write_for_good(bus, servo, register, 0)
        bus.write(servo, registers.ACCELERATION, _FAST_ACCELERATION)
        bus.write(servo, registers.GOAL_TIME, 0)
        bus.write(servo, registers.GOAL_VELOCITY, 0)
        if name == GRIPPER:
            bus.write(servo, registers.TORQUE_LIMIT, _HALF_TORQUE)


def within(spec: ArmSpec, found: Calibration) -> ArmSpec:
    """The servos' own ranges, and never more than the limits file allows."""
    reach = np.array([found[name].reach_rad for name in spec.joint_names])
    return replace(spec, q_min=np.maximum(spec.q_min, -reach), q_max=np.minimum(spec.q_max, reach))


def _write_for_good(bus: Bus, servo: int, register: Register, value: int) -> None:
    bus.write(servo, registers.LOCK, 0)
    bus.write(servo, register, value)
    bus.write(servo, registers.LOCK, 1)
