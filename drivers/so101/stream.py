"""The traffic of one arm: set-points out, samples in, one exchange at a time.

An exchange is a sync write of six goals with a sync read right behind it. The goals are where the
set-point will be when the servos are looked at, so each sample shows measurement and set-point of
one and the same moment.
"""

import numpy as np
from tandem.drivers.follow import Follower
from tandem.drivers.so101 import protocol
from tandem.drivers.so101.bus import Bus, Question
from tandem.drivers.so101.calibration import GRIPPER, Calibration
from tandem.drivers.so101.errors import SilentServoError
from tandem.drivers.so101.registers import BLOCK_SIZE, BLOCK_START, GOAL_POSITION, TORQUE_ENABLE
from tandem.drivers.so101.sample import Sample, Sampler
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock
from tandem.runtime.errors import DeviceTimeoutError
from tandem.runtime.interfaces import ArmSpec, Array

_LOST_NS = 25 * NS_PER_MS  # an answer that has not come by then never will
_LOST_LEAST_NS = 5 * NS_PER_MS
_SILENT_NS = 80 * NS_PER_MS  # whoever has not been heard for so long
_SILENT_ASKED = 3  # and was asked so often: a computer that stood still has asked nobody
_OPENINGS_PER_S = 2.5  # the hand's speed, in whole strokes
_FIRST_TRIES = 20
_SIZES = 12  # lengths of answers: more than questions are asked until silence counts
_SYNC_OVERHEAD = 8  # bytes of a sync packet around its rows
_GOAL_ROW = 3  # bytes per servo


class Stream:
    """Made when the arm is known and at rest; `follower` is where its set-point is."""

    follower: Follower

    def __init__(
        self, bus: Bus, spec: ArmSpec, calibration: Calibration, sampler: Sampler, clock: Clock
    ) -> None:
        # Handed over; of those not found in the servos; of what the wire did not take, because an
        # answer was on it; and of the answers.
        self.counters = dict.fromkeys(
            ("set_points", "set_points_missed", "set_points_late", "answers_lost", "corrupted"), 0
        )
        self._bus, self._spec, self._calibration = bus, spec, calibration
        self._sampler, self._clock = sampler, clock
        self._names = {servo.id: name for name, servo in calibration.items()}
        self._told: dict[int, int] = {}  # goals that the question on the way is to find
        self._lost_ns = _LOST_NS
        self._asked = 0
        self._heard_ns = dict.fromkeys(self._names, clock.now_ns())
        self._unanswered = dict.fromkeys(self._names, 0)  # questions in a row
        self._opening, self._opening_t_ns = 0.0, 0

    @property
    def asked(self) -> bool:
        """An answer is on the way; the wire is not ours."""
        return self._bus.question is not None

    @property
    def commanding(self) -> bool:
        """The last question went behind a set-point."""
        return bool(self._told)

    # -- out ---------------------------------------------------------------------------------------

    def exchange(self, commands: bool) -> None:
        """Hand over the set-point, if it is ours to command, and ask how the servos are.

        Raises:
            PortError: the port is gone.
        """
        if not commands:
            self._told = {}
            self._ask(b"", self._looks_ns(0))
            return
        t_ns = self._looks_ns(_SYNC_OVERHEAD + _GOAL_ROW * len(self._calibration))
        point = self.follower.advance(t_ns)
        self._told = self._goals(point.q, self._slew(point.gripper, t_ns))
        data = {servo: GOAL_POSITION.bytes_of(steps) for servo, steps in self._told.items()}
        self._ask(protocol.sync_write(GOAL_POSITION.address, data), t_ns)
        self.counters["set_points"] += 1

    def follow_from(self, sample: Sample, measured: bool = False) -> None:
        """The set-point begins where the servos were told to be; limp ones, where they are."""
        where_it_is = measured or bool(sample.limp)
        q = sample.q if where_it_is else sample.q_goal
        gripper = sample.opening if where_it_is else self._told_opening(sample)
        self._opening, self._opening_t_ns = gripper, sample.t_ns
        if hasattr(self, "follower"):
            self.follower.restart(q, max(sample.t_ns, self._clock.now_ns()), gripper)
        else:
            self.follower = Follower(self._spec, q, sample.t_ns, gripper)

    def take_hold(self) -> None:
        """Torque, after a goal at the set-point: the other way round it jumps to an old goal.

        Raises:
            PortError: the port is gone.
        """
        goals = self._goals(self.follower.now.q, self._opening)
        self._bus.write_all(GOAL_POSITION, goals)
        self._bus.write_all(TORQUE_ENABLE, dict.fromkeys(goals, 1))

    # -- in ----------------------------------------------------------------------------------------

    def first(self) -> Sample:
        """Wait for one, while nothing moves, and learn how long this bus takes.

        Raises:
            SilentServoError: no whole answer came.
            PortError: the port is gone.
        """
        for _ in range(_FIRST_TRIES):
            self.exchange(commands=False)
            asked_ns = self._clock.now_ns()
            try:
                sample = self.sample(_LOST_NS)
            except DeviceTimeoutError:
                self._bus.question = None
                continue
            took_ns = self._clock.now_ns() - asked_ns
            self._lost_ns = min(max(2 * took_ns, _LOST_LEAST_NS), _LOST_NS)
            return sample
        raise SilentServoError(f"the servos at {self._bus.port.path} answer in pieces only")

    def sample(self, timeout_ns: int) -> Sample:
        """The answers to the last question.

        Raises:
            DeviceTimeoutError: not there yet.
            SilentServoError: a servo has been silent for longer than a few lost answers.
            PortError: the port is gone.
        """
        deadline_ns = self._clock.now_ns() + timeout_ns
        while (question := self._bus.collect()) is None:
            left_ns = deadline_ns - self._clock.now_ns()
            if left_ns <= 0 or not self.asked:
                raise self._absence()
            self._bus.port.wait(left_ns)
        self._note(question)
        sample = self._sampler.sample(question)
        if any(sample.goals[servo] != goal for servo, goal in self._told.items()):
            self.counters["set_points_missed"] += 1
        return sample

    def forget(self) -> None:
        """The port is gone, and with it what was on the way."""
        self._bus.question = None
        self._told = {}

    def _absence(self) -> DeviceTimeoutError | SilentServoError:
        """No answer yet: later perhaps, and after a while never."""
        question, now_ns = self._bus.question, self._clock.now_ns()
        if question is None or now_ns - question.asked_ns < self._lost_ns:
            return DeviceTimeoutError("the servos' answer is still on the way")
        self._bus.question = None
        self.counters["answers_lost"] += 1
        self._note(question)
        for servo in question.waiting:
            self._unanswered[servo] += 1
        silent = [
            servo
            for servo, ns in self._heard_ns.items()
            if now_ns - ns > _SILENT_NS and self._unanswered[servo] >= _SILENT_ASKED
        ]
        if not silent:
            return DeviceTimeoutError(f"no answer from {sorted(question.waiting)}, for once")
        names = ", ".join(f"{servo} ({self._names[servo]})" for servo in sorted(silent))
        return SilentServoError(
            f"servo {names} at {self._bus.port.path} does not answer any more: look at its cable "
            "and at the arm's power, then `tandem reset`"
        )

    def _note(self, question: Question) -> None:
        """Who was heard."""
        self._heard_ns |= dict.fromkeys(question.answers, self._clock.now_ns())
        self._unanswered |= dict.fromkeys(question.answers, 0)
        self.counters["corrupted"] = self._bus.corrupted

    # -- small things ------------------------------------------------------------------------------

    def _ask(self, before: bytes, t_ns: int) -> None:
        # Answers carry no number. Their lengths differ instead: one that comes after it was given
        # up cannot be taken for the answer to a later question.
        self._asked += 1
        size = BLOCK_SIZE + self._asked % _SIZES
        question = protocol.sync_read(BLOCK_START, size, self._names)
        self._bus.ask(before + question, self._names, size, t_ns)

    def _looks_ns(self, before: int) -> int:
        servos = len(self._names)
        sent = before + _SYNC_OVERHEAD + servos
        return self._bus.looks_at_ns(sent, servos, BLOCK_SIZE, self._clock.now_ns())

    def _goals(self, q: Array, opening: float) -> dict[int, int]:
        calibration = self._calibration
        joints = zip(self._spec.joint_names, q.tolist(), strict=True)
        goals = {calibration[name].id: calibration[name].steps(rad) for name, rad in joints}
        return goals | {calibration[GRIPPER].id: calibration[GRIPPER].steps_open(opening)}

    def _told_opening(self, sample: Sample) -> float:
        gripper = self._calibration[GRIPPER]
        return gripper.opening(sample.goals[gripper.id])

    def _slew(self, wanted: float, t_ns: int) -> float:
        reach = _OPENINGS_PER_S * (t_ns - self._opening_t_ns) / NS_PER_S
        self._opening = float(np.clip(wanted, self._opening - reach, self._opening + reach))
        self._opening_t_ns = t_ns
        return self._opening
