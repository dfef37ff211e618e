"""Between a servo's steps and the joint's radians: LeRobot's calibration, from its file or servos.

LeRobot writes one JSON file per arm (joint → id, drive_mode, homing_offset, range_min, range_max)
and the same numbers into the servos. Zero is the middle of a joint's range, as in LeRobot's degrees
and in the maker's URDF ("new calibration"). A turn has 4096 steps; LeRobot divides it by 4095, so
its degrees are 0.025 % larger than these radians, 0.03° at the end of a joint.
"""

from collections.abc import Mapping
from math import pi
from pathlib import Path

import msgspec
from tandem.drivers.so101.errors import CalibrationError
from tandem.drivers.so101.registers import STEPS_PER_TURN

GRIPPER = "gripper"
_LAST_STEP = STEPS_PER_TURN - 1
RAD_PER_STEP = 2 * pi / STEPS_PER_TURN
_WHOLE = 0.98  # of a turn: more than any joint but the wrist's roll can go


class Servo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One joint's line. Positions are as the servo shows them, its homing offset taken off."""

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int

    @property
    def middle(self) -> float:
        return (self.range_min + self.range_max) / 2

    @property
    def reach_rad(self) -> float:
        """From the middle to either end."""
        return (self.range_max - self.range_min) / 2 * RAD_PER_STEP

    def rad(self, steps: float) -> float:
        return (steps - self.middle) * RAD_PER_STEP * self._sign

    def steps(self, rad: float) -> int:
        """The nearest step inside the range."""
        wanted = round(self.middle + rad * self._sign / RAD_PER_STEP)
        return min(max(wanted, self.range_min), self.range_max)

    def opening(self, steps: float) -> float:
        """0 at the range's lower end … 1 at its upper; with the drive inverted the other way."""
        share = (steps - self.range_min) / (self.range_max - self.range_min)
        share = min(max(share, 0.0), 1.0)
        return 1.0 - share if self.drive_mode else share

    def steps_open(self, opening: float) -> int:
        share = 1.0 - opening if self.drive_mode else opening
        return round(self.range_min + share * (self.range_max - self.range_min))

    @property
    def _sign(self) -> int:
        return -1 if self.drive_mode else 1


Calibration = dict[str, Servo]


def load(file: Path, names: tuple[str, ...]) -> Calibration:
    """LeRobot's file, for the joints `names` and the gripper.

    Raises:
        CalibrationError: no such file, no calibration, or of another arm.
    """
    where = "LeRobot keeps them in ~/.cache/huggingface/lerobot/calibration/robots/so101_follower"
    try:
        read = msgspec.json.decode(file.read_bytes(), type=dict[str, Servo])
    except OSError as error:
        raise CalibrationError(f"no calibration {file} ({error.strerror}); {where}") from error
    except msgspec.DecodeError as error:
        raise CalibrationError(
            f"{file} is no calibration of LeRobot's: {error}; {where}"
        ) from error
    missing = [name for name in (*names, GRIPPER) if name not in read]
    if missing:
        raise CalibrationError(
            f"{file} has no {', '.join(missing)}; it knows {', '.join(read)}: is it another arm's?"
        )
    chosen = {name: read[name] for name in (*names, GRIPPER)}
    check(chosen, str(file))
    return chosen


def save(calibration: Mapping[str, Servo], file: Path) -> None:
    """Write it as LeRobot reads it."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(dict(calibration)), indent=4))


def check(calibration: Calibration, source: str) -> None:
    """
    Raises:
        CalibrationError: ids that two joints share, or a range that is none.
    """
    ids = [servo.id for servo in calibration.values()]
    if len(set(ids)) != len(ids):
        raise CalibrationError(f"{source}: two joints have one id: {ids}")
    for name, servo in calibration.items():
        if not 0 <= servo.range_min < servo.range_max <= _LAST_STEP or servo.drive_mode not in (
            0,
            1,
        ):
            raise CalibrationError(
                f"{source}: {name} has the range {servo.range_min} … {servo.range_max} and the "
                f"drive mode {servo.drive_mode}; calibrate the arm again (`lerobot-calibrate`)"
            )


def check_calibrated(calibration: Calibration) -> None:
    """
    Raises:
        CalibrationError: the servos still have the range that they left the factory with.
    """
    factory = [
        name
        for name, servo in calibration.items()
        if servo.range_max - servo.range_min >= _WHOLE * STEPS_PER_TURN
    ]
    # The roll of the wrist may turn all the way round; LeRobot calibrates it so.
    if len(factory) > 1:
        raise CalibrationError(
            f"{', '.join(factory)}: never calibrated, the servos allow a whole turn; run "
            "`lerobot-calibrate --robot.type=so101_follower …` once, it writes into the servos"
        )


def check_same(file: Calibration, servos: Calibration, path: str) -> None:
    """
    Raises:
        CalibrationError: the file and the servos disagree, so one of them is of another arm.
    """
    for name, wanted in file.items():
        there = servos[name]
        numbers = [(s.homing_offset, s.range_min, s.range_max) for s in (wanted, there)]
        if numbers[0] != numbers[1]:
            raise CalibrationError(
                f"{name}: offset and range are {numbers[0]} in {path}, but {numbers[1]} in the "
                "servo. Leave robot.arm.options.calibration out to go by the servos, or let "
                "LeRobot write the file into them (`lerobot-calibrate`, then ENTER)"
            )
