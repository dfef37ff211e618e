"""The arm's state as a checkpoint was trained to be told it: numbers that lie within −1 … 1.

Which part of the state is which number, nothing in a checkpoint says: the user does
(`s2.options.state`). Where −1 and 1 lie is in its statistics (policies/vla/statistics.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import pi
from typing import Any

import numpy as np
from tandem.policies.robot_state import StateVector
from tandem.runtime.errors import ConfigError, DeviceError
from tandem.runtime.interfaces import ArmSpec, Array
from tandem.runtime.messages import RobotState

KEY = "s2.options.state"
BINS = 256  # openpi, models/tokenizer.py


@dataclass(frozen=True, kw_only=True)
class StateOptions:
    """`s2.options.state`: the parts by themselves, or a map with more."""

    parts: str  # tool_position+tool_rotvec+fingers …, in training's order
    tool: Sequence[float] | None = None  # position m and quaternion xyzw of training's tool in ours
    base: Sequence[float] | None = None  # the same of its base
    range: Sequence[Sequence[float]] = ()  # [−1 is at …, 1 is at …], over the checkpoint's own
    dataset: str = ""  # whose statistics, where a checkpoint carries several
    # That the prompt holds, where not those of the parts: the others are 0. LeRobot filled up to
    # 32 until 2025 (huggingface/lerobot, issue 2863).
    numbers: int | None = None

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> "StateOptions":
        """Raises ConfigError: a key that is none, or no parts."""
        told = {"parts": given} if isinstance(given, str) else dict(given)
        known = [field.name for field in fields(cls)]
        wrong = [key for key in told if key not in known]
        if wrong or "parts" not in told:
            raise ConfigError(
                f"{KEY} is parts joined with + (tool_position+tool_rotvec+fingers), or a map of "
                f"{', '.join(known)}; {', '.join(map(repr, wrong)) or 'there are no parts'}"
            )
        return cls(**told)


@dataclass(frozen=True)
class Range:
    """Where training put −1 and 1, number by number."""

    low: Array  # [n]
    high: Array  # [n]
    tiny: float = 0.0  # added to a number's range, so that one that never moved is no division by 0
    clips: bool = False  # what lies outside

    def __call__(self, numbers: Array) -> Array:
        """[n], normalised."""
        share = 2 * (numbers - self.low) / (self.high - self.low + self.tiny) - 1
        return np.clip(share, -1, 1) if self.clips else share

    def written_as_trained(self, rotvec: Array, first: int) -> Array:
        """The same turn, the other way about if that is nearer to the middle of the range.

        rotvec [3], of the numbers from `first` on. A gripper that looks straight down has turned
        by about π, where a rotation vector changes its sign; training data went on beyond it
        (LIBERO: up to 3.7 rad).
        """
        turn = float(np.linalg.norm(rotvec))
        if turn == 0:
            return rotvec
        middle = ((self.low + self.high) / 2)[first : first + 3]
        other = rotvec * (1 - 2 * pi / turn)
        nearer = np.linalg.norm(other - middle) < np.linalg.norm(rotvec - middle)
        return other if nearer else rotvec


class Proprio:
    """A state to [numbers] float32."""

    def __init__(self, options: StateOptions, arm: ArmSpec | None, trained: Range) -> None:
        """
        Raises:
            ConfigError: another number of numbers than were trained, or parts that are none.
        """
        if arm is None:
            raise ConfigError(f"{KEY} is read by an arm's names; build this policy with its spec")
        width_m, frames = arm.width_max_m, (options.tool, options.base)
        self._vector = StateVector(options.parts, KEY, arm, width_m, *frames)
        columns = self._vector.columns()
        if len(columns) != len(trained.low):
            raise ConfigError(
                f"{KEY} {options.parts} makes {_counted(columns)}, this checkpoint was trained "
                f"with {len(trained.low)} numbers; LIBERO's 8 are tool_position+tool_rotvec+fingers"
            )
        self.count = options.numbers or len(columns)
        if self.count < len(columns):
            raise ConfigError(f"{KEY}: numbers {self.count}, but its parts make {len(columns)}")
        self._options, self._range = options, trained
        self._turns = [
            i for i in range(len(columns)) if columns[i] == "tool_rotvec" != columns[i - 1]
        ]

    def __call__(self, state: RobotState | None) -> Array:
        """Raises DeviceError: there is none."""
        if state is None:
            raise DeviceError("S2 needs the arm's state, and was asked without one")
        numbers = self._vector(state)
        for first in self._turns:
            turn = numbers[first : first + 3]
            numbers[first : first + 3] = self._range.written_as_trained(turn, first)
        told = np.zeros(self.count, np.float32)
        told[: len(numbers)] = self._range(numbers)
        return told

    def facts(self) -> dict[str, Any]:
        """What decides the meaning of its numbers."""
        low, high = self._range.low.tolist(), self._range.high.tolist()
        return asdict(self._options) | {"range": [low, high], "clips": self._range.clips}


def in_bins(numbers: Array) -> str:
    """Words for normalised numbers: 0 … 255, and −1 for what is below −1.

    Physical-Intelligence/openpi, models/tokenizer.py; huggingface/lerobot, policies/pi05.
    """
    edges = np.linspace(-1, 1, BINS + 1)[:-1]
    return " ".join(str(number) for number in np.digitize(numbers, edges) - 1)


def _counted(columns: Sequence[str]) -> str:
    each = ", ".join(f"{columns.count(part)} of {part}" for part in dict.fromkeys(columns))
    return f"{len(columns)} numbers ({each})"
