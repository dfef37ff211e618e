"""One look at all servos: from their blocks of registers to what the runtime wants to know."""

from dataclasses import dataclass

import numpy as np
from tandem.drivers.so101 import protocol
from tandem.drivers.so101.bus import Question
from tandem.drivers.so101.calibration import GRIPPER, RAD_PER_STEP, Calibration
from tandem.drivers.so101.registers import (
    BLOCK_START,
    GOAL_POSITION,
    LOAD,
    POSITION,
    TORQUE_ENABLE,
    VELOCITY,
    Register,
)

_PER_MILLE = 1e-3


@dataclass(frozen=True, slots=True)
class Sample:
    t_ns: int
    q: np.ndarray  # [D] rad, measured
    dq: np.ndarray  # [D] rad/s
    tau: np.ndarray  # [D] Nm, of the voltage on the motor: an estimate
    goals: dict[int, int]  # servo → where it was told to go, steps
    q_goal: np.ndarray  # [D] rad, the same
    opening: float  # 0 closed … 1 open, measured
    limp: tuple[str, ...]  # joints without torque
    fault: str | None


class Sampler:
    """Knows the arm's calibration and units."""

    def __init__(
        self,
        names: tuple[str, ...],
        calibration: Calibration,
        velocity_units: dict[str, int],
        stall_torque_nm: float,
    ) -> None:
        self._names, self._calibration = names, calibration
        signs = [-1.0 if calibration[name].drive_mode else 1.0 for name in names]
        units = [velocity_units[name] for name in names]
        self._dq_unit = np.array(units) * np.array(signs) * RAD_PER_STEP
        self._tau_unit = np.array(signs) * stall_torque_nm * _PER_MILLE

    def sample(self, question: Question) -> Sample:
        blocks = {servo: status.data for servo, status in question.answers.items()}
        calibration = self._calibration

        def each(register: Register) -> dict[str, int]:
            return {
                name: register.within(BLOCK_START, blocks[servo.id])
                for name, servo in calibration.items()
            }

        positions, goals, torques = each(POSITION), each(GOAL_POSITION), each(TORQUE_ENABLE)
        velocities, loads = each(VELOCITY), each(LOAD)
        names = self._names
        return Sample(
            t_ns=question.t_ns,
            q=np.array([calibration[n].rad(positions[n]) for n in names]),
            dq=np.array([velocities[n] for n in names]) * self._dq_unit,
            tau=np.array([loads[n] for n in names]) * self._tau_unit,
            goals={calibration[n].id: goal for n, goal in goals.items()},
            q_goal=np.array([calibration[n].rad(goals[n]) for n in names]),
            opening=calibration[GRIPPER].opening(positions[GRIPPER]),
            limp=tuple(n for n, on in torques.items() if on != 1),
            fault=self._fault(question),
        )

    def _fault(self, question: Question) -> str | None:
        told = [
            f"servo {servo.id} ({name}): {text}"
            for name, servo in self._calibration.items()
            if (text := protocol.meaning(question.answers[servo.id].error))
        ]
        return "; ".join(told) or None
