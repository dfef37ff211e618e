"""Questions and answers on the servo bus: one at a time, either waited for or collected later."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tandem.drivers.so101 import protocol
from tandem.drivers.so101.errors import SilentServoError
from tandem.drivers.so101.port import SerialPort
from tandem.drivers.so101.protocol import Parser, Status
from tandem.drivers.so101.registers import Register
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock

_BITS_PER_BYTE = 10  # a start and a stop bit
_ANSWER_NS = 60 * NS_PER_MS  # while nothing moves: some adapters hold bytes back for 16 ms
_TRIES = 3


@dataclass
class Question:
    """What is on the way: who still has to answer, with how many bytes."""

    t_ns: int  # when the servos were looked at, as well as a computer can know
    asked_ns: int
    waiting: set[int]
    size: int
    answers: dict[int, Status] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return not self.waiting


class Bus:
    def __init__(self, port: SerialPort, clock: Clock) -> None:
        self.port, self.clock = port, clock
        self.question: Question | None = None
        self._parser = Parser()

    @property
    def corrupted(self) -> int:
        """Packets that arrived damaged, since the start."""
        return self._parser.corrupted

    # -- collected later ---------------------------------------------------------------------------

    def looks_at_ns(self, sent: int, servos: int, size: int, now_ns: int) -> int:
        """When servos answer that are asked now: amid the answers, behind `sent` bytes of ours.

        The wire's own time. A USB adapter adds up to a millisecond that nobody tells us.
        """
        answers = servos * protocol.status_bytes(size)
        return now_ns + self._wire_ns(sent) + self._wire_ns(answers) // 2

    def ask(self, data: bytes, servos: Iterable[int], size: int, t_ns: int) -> Question:
        """Send; the answers of `servos` are collected by `collect`. What was on the way is lost.

        Raises:
            PortError: the port is gone.
        """
        self.port.read()  # late answers to an older question must not answer this one
        self._parser.clear()
        self.port.write(data)
        self.question = Question(t_ns, self.clock.now_ns(), set(servos), size)
        return self.question

    def collect(self) -> Question | None:
        """The question whose answers are all there, once; never waits.

        Raises:
            PortError: the port is gone.
        """
        data, question = self.port.read(), self.question
        statuses = self._parser.feed(data) if data else []
        if question is None:
            return None
        for status in statuses:
            if status.servo in question.waiting and len(status.data) == question.size:
                question.waiting.discard(status.servo)
                question.answers[status.servo] = status
        if not question.complete:
            return None
        self.question = None
        return question

    # -- waited for --------------------------------------------------------------------------------

    def read(self, servo: int, register: Register) -> int:
        """
        Raises:
            SilentServoError: it did not answer, three times.
            PortError: the port is gone.
        """
        question = protocol.read(servo, register.address, register.size)
        return register.value_of(self._answer(question, servo, register.size).data)

    def write(self, servo: int, register: Register, value: int) -> None:
        """Raises as `read` does."""
        data = register.bytes_of(value)
        self._answer(protocol.write(servo, register.address, data), servo, 0)

    def write_all(self, register: Register, values: Mapping[int, int]) -> None:
        """Nobody answers this one.

        Raises:
            PortError: the port is gone.
        """
        data = {servo: register.bytes_of(value) for servo, value in values.items()}
        self.port.write(protocol.sync_write(register.address, data))

    def answers_to_ping(self, servo: int) -> bool:
        """
        Raises:
            PortError: the port is gone.
        """
        try:
            self._answer(protocol.ping(servo), servo, 0)
        except SilentServoError:
            return False
        return True

    def _answer(self, data: bytes, servo: int, size: int) -> Status:
        for _ in range(_TRIES):
            self.ask(data, (servo,), size, self.clock.now_ns())
            deadline_ns = self.clock.now_ns() + _ANSWER_NS
            while (question := self.collect()) is None:
                left_ns = deadline_ns - self.clock.now_ns()
                if left_ns <= 0:
                    break
                self.port.wait(left_ns)
            if question is not None:
                return question.answers[servo]
        self.question = None
        raise SilentServoError(f"servo {servo} at {self.port.path} does not answer")

    def _wire_ns(self, count: int) -> int:
        return count * _BITS_PER_BYTE * NS_PER_S // self.port.baud
