"""What is to be done: the latched task, the way of a `go` from a person to the executor, and what
the policies say to it."""

import time

from tandem.runtime import streams
from tandem.runtime.messages import REFUSED, Reply, Request, RobotState, Task
from tandem.runtime.ports import Bus

_ANSWER_TIMEOUT_S = 1.0


class TaskDesk:
    """Publishes the task, latched, and asks the executor on behalf of people."""

    def __init__(self, bus: Bus) -> None:
        self.instruction = ""
        self.instruction_id = 0
        self.refused: str | None = None  # why no policy will do it
        self._tasks = bus.publisher(streams.TASK)
        self._minds = [bus.subscriber(streams.EVENT, mind) for mind in ("s1", "s2")]
        self._executor = bus.client("executor")

    def set_instruction(self, instruction: str, now_ns: int, epoch: int = 0) -> None:
        """A new instruction is a new id, even if its words are the same."""
        self.instruction = instruction
        self.instruction_id += 1
        self._publish(now_ns, epoch)

    def listen(self) -> None:
        """Hear whether a policy refuses the instruction."""
        for event in (event for mind in self._minds for event in mind.poll()):
            if event.kind == REFUSED and event.data.get("instruction_id") == self.instruction_id:
                self.refused = event.text

    def refresh(self, now_ns: int, state: RobotState | None = None) -> None:
        """Say it again once a second, for those who came late."""
        self._tasks.refresh(now_ns)

    def send(self, question: Request) -> None:
        question.valid = True
        self._executor.send(question)

    def poll(self) -> Reply | None:
        return self._executor.poll()

    async def ask(self, question: Request) -> Reply:
        """The executor's answer, or a refusal that says that it is silent."""
        self.send(question)
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        while (remaining := deadline - time.monotonic()) > 0:
            if (reply := self.poll()) is not None:
                return reply
            await self._executor.arrived(remaining)
        text = f"the executor did not answer within {_ANSWER_TIMEOUT_S:g} s; ask again"
        return Reply(ok=False, text=text)

    async def go(self, instruction: str) -> Reply:
        """Engage for a new instruction; without words, for the one that stands."""
        now_ns, self.refused = time.monotonic_ns(), None
        if instruction:
            self.set_instruction(instruction, now_ns)
        if not self.instruction:
            return Reply(ok=False, text='nothing to do yet; say what: tandem go "…"')
        reply = await self.ask(Request(verb="go", text=self.instruction, t_ns=now_ns))
        reply.data["instruction_id"] = self.instruction_id
        return reply

    def _publish(self, now_ns: int, epoch: int) -> None:
        self._tasks.send(
            Task(
                instruction=self.instruction,
                instruction_id=self.instruction_id,
                epoch=epoch,
                t_ns=now_ns,
                valid=True,
            )
        )
