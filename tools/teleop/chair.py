"""The operator's end of the daemon: the lease, the stream of commands, and what the robot says."""

import asyncio
from pathlib import Path

from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock
from tandem.runtime.errors import DeviceTimeoutError, RefusedError
from tandem.runtime.messages import Event, OperatorCommand, Reply, Request, RobotState, Verb
from tandem.runtime.ports import Publisher

_ANSWER_S = 1.0
_FORGOTTEN_S = 2.5  # the lease of a frozen process ends after two seconds, of a dead one at once
_JOIN_S = 0.4  # the executor looks for us five times a second: before, no word would be heard
_LISTEN_S = 0.003  # a word is taken in by one tick, and only the state of that tick says so
_AGAIN_NS = 500 * NS_PER_MS
_FAREWELLS = 3


class Chair:
    """Sit down with `sit` and `greet`, say what to do with `send`, leave with `leave`."""

    def __init__(self, folder: Path, lease: str) -> None:
        self.lease = lease
        self._clock = MonotonicClock()
        self._bus = ZmqBus(folder, "teleop", self._clock)
        self._client = self._bus.client("executor")
        self._states = self._bus.subscriber(streams.STATE, "executor")
        self._events = self._bus.subscriber(streams.EVENT, "executor")
        self._commands: Publisher | None = None
        self._asked_ns = 0

    @property
    def state(self) -> RobotState | None:
        return self._states.latest

    def silence_s(self, now_ns: int) -> float:
        """For how long the robot has said nothing, beyond what is usual."""
        if self.state is None:
            return 0.0
        age_ns = now_ns - self.state.t_ns
        return age_ns / NS_PER_S if age_ns > 10 * streams.STATE.max_age_ns else 0.0

    async def sit(self) -> RobotState:
        """Take the lease; wait a little for one whose holder may have gone.

        Raises:
            RefusedError: somebody else holds it, and is there.
            DeviceTimeoutError: the executor does not answer.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _FORGOTTEN_S
        while not (reply := await self._ask("take_lease")).ok:
            if loop.time() > deadline_s:
                raise RefusedError(reply.text)
            await asyncio.sleep(_ANSWER_S / 2)
        # Only now: another one's endpoint must not be taken away from under them.
        self._commands = self._bus.publisher(streams.OPERATOR)
        await self._states.arrived(_ANSWER_S)
        self._states.poll()
        if self.state is None:
            raise DeviceTimeoutError("the executor says nothing about the arm; see tandem status")
        return self.state

    async def greet(self, word: OperatorCommand) -> None:
        """Say it until the executor has taken it in, or must have: who then presses is heard."""
        loop, said = asyncio.get_running_loop(), set[int]()
        deadline_s, due_s = loop.time() + _JOIN_S, 0.0
        while loop.time() < deadline_s and not self._took_in(said):
            if loop.time() >= due_s:
                due_s = loop.time() + 1 / streams.OPERATOR.rate_hz
                word.t_ns = self._clock.now_ns()
                said.add(word.t_ns)
                self.send(word)
            await asyncio.sleep(_LISTEN_S)
            self._states.poll()

    def _took_in(self, said: set[int]) -> bool:
        heard = self.state.heard.get(streams.OPERATOR.name, ()) if self.state else ()
        return not said.isdisjoint(heard)

    def send(self, command: OperatorCommand) -> None:
        assert self._commands is not None, "sit down first"
        self._commands.send(command)

    def listen(self) -> list[Event]:
        """Take in the newest state; returns what has happened."""
        self._states.poll()
        return self._events.poll()

    def lost(self, now_ns: int) -> bool:
        """The executor does not know our lease: it was started anew, or forgot us. Ask again.

        Raises:
            RefusedError: somebody else holds it now.
        """
        reply = self._client.poll()
        if reply is not None and not reply.ok:
            raise RefusedError(reply.text)
        state = self.state
        fresh = state is not None and now_ns - state.t_ns < streams.STATE.max_age_ns
        if state is None or not fresh or state.operator == self.lease:
            return False
        if now_ns - self._asked_ns > _AGAIN_NS:
            self._asked_ns = now_ns
            self._client.send(Request(verb="take_lease", text=self.lease))
        return True

    async def leave(self, last: OperatorCommand) -> None:
        """Say that nobody is there any more, give the lease back, close."""
        try:
            if self._commands is not None:
                for _ in range(_FAREWELLS):
                    last.t_ns = self._clock.now_ns()
                    self._commands.send(last)
                    await asyncio.sleep(1 / streams.OPERATOR.rate_hz)
                await self._ask("release_lease")
        except DeviceTimeoutError:
            pass  # whoever does not answer has already let go of us
        finally:
            self._bus.close()

    async def _ask(self, verb: Verb) -> Reply:
        self._client.send(Request(verb=verb, text=self.lease))
        await self._client.arrived(_ANSWER_S)
        reply = self._client.poll()
        if reply is None:
            raise DeviceTimeoutError("the executor does not answer; see tandem status")
        return reply
