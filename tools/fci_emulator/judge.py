"""The robot's own judgement of what it was commanded: differences at 1 kHz, nothing else.

Sees every millisecond, commanded or extrapolated, and keeps the worst of each as a share of its
limit, so that a run tells not only that nothing broke but how close it came.
"""

from dataclasses import dataclass, field

import numpy as np
from tandem.tools.fci_emulator.dialect import Error
from tandem.tools.fci_emulator.models import Model

TICK_S = 0.001
_START_RAD = 0.1  # farther from the set-point, and a first command is refused
_ROUNDING = 1 + 1e-6
MAX_LOST = 20  # in a row


@dataclass
class Peaks:
    """The largest share of its limit that each quantity ever had; above 1 it was violated."""

    velocity: float = 0.0
    acceleration: float = 0.0
    jerk: float = 0.0

    def note(self, name: str, share: float) -> None:
        setattr(self, name, max(getattr(self, name), share))


@dataclass
class Tally:
    """What became of the packets."""

    received: int = 0
    lost: int = 0
    longest_loss: int = 0
    motions: int = 0
    violations: dict[str, int] = field(default_factory=dict)
    peaks: Peaks = field(default_factory=Peaks)


class Judge:
    """The commanded motion as the robot sees it: `q`, `dq`, `ddq` [7] are differences."""

    def __init__(self, model: Model, q: np.ndarray) -> None:
        self.tally = Tally()
        self._model = model
        self._lost = 0
        self._first = True
        self.place(q)

    def place(self, q: np.ndarray) -> None:
        """At rest at `q`, with no motion under way."""
        self.q, zero = np.array(q, dtype=float), np.zeros(len(q))
        self.dq, self.ddq = zero, zero.copy()

    def begin(self) -> None:
        """A motion starts here."""
        self.tally.motions += 1
        self._first, self._lost = True, 0

    @property
    def in_a_row(self) -> int:
        """Packets lost since the last one that came."""
        return self._lost

    def command(self, q: np.ndarray) -> Error | None:
        """Take what the client commands; the error that it is, if it is one."""
        self.tally.received += 1
        self._lost = 0
        if not np.isfinite(q).all():
            return self._violated(Error.MG_POSITION_LIMITS)
        first, self._first = self._first, False
        if first and np.abs(q - self.q).max() > _START_RAD:
            return self._violated(Error.START_POSE_INVALID)
        return self._move_to(np.array(q, dtype=float))

    def command_velocity(self, dq: np.ndarray) -> Error | None:
        """The same for a motion of velocities, which the robot integrates: what it accelerates and
        jerks by are the differences of what it is told."""
        self.tally.received += 1
        self._lost, self._first = 0, False
        if not np.isfinite(dq).all():
            return self._violated(Error.MG_VELOCITY_LIMITS)
        return self._move_to(self.q + dq * TICK_S)

    def rest(self) -> Error | None:
        """The last command has come, and the robot rests where it is: judged like a command."""
        return self._move_to(self.q) or self._move_to(self.q)

    def follow(self, q: np.ndarray) -> Error | None:
        """Where the robot's own way has led: judged like everything that it is commanded."""
        return self._move_to(q)

    def lose(self) -> Error | None:
        """Nothing came: go on at constant acceleration; too often, and it is an error."""
        self.tally.lost += 1
        self._lost += 1
        self.tally.longest_loss = max(self.tally.longest_loss, self._lost)
        if self._lost >= MAX_LOST:
            return self._violated(Error.COMMUNICATION)
        return self._move_to(self.q + (self.dq + self.ddq * TICK_S) * TICK_S)

    def brake(self) -> bool:
        """One millisecond of the robot's own stop; True once it stands."""
        push = self._model.ddq_max * TICK_S
        dq = np.sign(self.dq) * np.maximum(np.abs(self.dq) - push, 0)
        self.ddq = (dq - self.dq) / TICK_S
        self.q, self.dq = self.q + dq * TICK_S, dq
        if dq.any():
            return False
        self.ddq = np.zeros(len(dq))
        return True

    def _move_to(self, q: np.ndarray) -> Error | None:
        model, peaks = self._model, self.tally.peaks
        dq = (q - self.q) / TICK_S
        ddq = (dq - self.dq) / TICK_S
        jerk = (ddq - self.ddq) / TICK_S
        slowest, fastest = model.dq_range(self.q)
        speed = np.where(dq > 0, dq / np.maximum(fastest, 1e-9), dq / np.minimum(slowest, -1e-9))
        shares = (
            ("velocity", Error.MG_VELOCITY_LIMITS, float(speed.max())),
            (
                "acceleration",
                Error.MG_VELOCITY_DISCONTINUITY,
                float((np.abs(ddq) / model.ddq_max).max()),
            ),
            (
                "jerk",
                Error.MG_ACCELERATION_DISCONTINUITY,
                float((np.abs(jerk) / model.jerk_max).max()),
            ),
        )
        for name, _, share in shares:
            peaks.note(name, share)
        outside = bool((q < model.q_min).any() or (q > model.q_max).any())
        # A leap breaks everything at once; the robot names what is broken first.
        broken = [error for _, error, share in reversed(shares) if share > _ROUNDING]
        if outside:
            broken.append(Error.MG_POSITION_LIMITS)
        if broken:
            return self._violated(broken[-1])
        self.q, self.dq, self.ddq = q, dq, ddq
        return None

    def _violated(self, error: Error) -> Error:
        name = error.name.lower()
        self.tally.violations[name] = self.tally.violations.get(name, 0) + 1
        return error
