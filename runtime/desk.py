"""Where people and tools ask the executor for something; every request is answered at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tandem.runtime.errors import RefusedError
from tandem.runtime.messages import Reply, Request
from tandem.runtime.ports import Server
from tandem.runtime.seat import Seat

_QUESTIONS = ("status", "ping")  # they change nothing


@dataclass(slots=True)
class Wishes:
    """What was asked for since the last tick."""

    go: str | None = None  # the instruction to engage for
    hold: bool = False
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """What the desk must know to answer; each is called only when somebody asks."""

    refusals: Callable[[str], Iterable[str]]  # why not to engage for this instruction
    standing: Callable[[], str | None]  # why a reset would be refused
    stopping: Callable[[], str]  # how far it is to rest
    status: Callable[[], dict[str, Any]]


class Desk:
    """`server` answers everything; `stop_server` only stops, so that a stop never queues."""

    def __init__(self, server: Server, stop_server: Server, seat: Seat, answers: Answers) -> None:
        self.stop = False  # asked for, and not reset since
        self.answered: list[tuple[Request, Reply]] = []  # in the last poll, but for mere questions
        self._server, self._stop_server = server, stop_server
        self._seat, self._answers = seat, answers

    def poll(self, now_ns: int) -> Wishes:
        """Answer what has arrived."""
        wishes = Wishes()
        self.answered.clear()
        self._seat.forget(now_ns)
        for server in (self._stop_server, self._server):
            request = server.poll()
            if request is not None:
                reply = self._answer(request, wishes, now_ns)
                if request.verb not in _QUESTIONS:
                    self.answered.append((request, reply))
                server.reply(reply)
        return wishes

    def vacate(self) -> None:
        """The operator's process has gone: as if it had, at last, given its lease back."""
        holder = self._seat.desert()
        if holder is not None:
            gone = Request(verb="release_lease", text=holder)
            self.answered.append((gone, Reply(ok=True, text="its link was closed")))

    def _answer(self, request: Request, wishes: Wishes, now_ns: int) -> Reply:
        reply = Reply(ok=True, t_ns=now_ns, valid=True)
        try:
            self._serve(request, wishes, reply, now_ns)
        except RefusedError as refusal:
            reply.ok, reply.text = False, str(refusal)
        return reply

    def _serve(self, request: Request, wishes: Wishes, reply: Reply, now_ns: int) -> None:
        match request.verb:
            case "stop":
                self.stop = True
                reply.text = f"stopping: {self._answers.stopping()}"
            case "hold":
                wishes.hold = True
                reply.text = f"holding: {self._answers.stopping()}"
            case "go":
                reasons = [*self._answers.refusals(request.text)]
                if reasons:
                    raise RefusedError("; ".join(reasons))
                wishes.go = request.text
                reply.text = "engaging"
            case "reset":
                standing = self._answers.standing()
                if standing:
                    raise RefusedError(f"the cause still stands: {standing}")
                self.stop, wishes.reset = False, True
                reply.text = "reset"
            case "take_lease":
                reply.data["lease"] = self._seat.take(request.text, now_ns)
            case "release_lease":
                self._seat.release(request.text)
            case "status":
                reply.data = self._answers.status()
            case "ping":
                reply.text = "here"
