"""Starts, watches and ends the processes; owns the latched task. Imports no torch.

The story: take the robot's folder → start the children, each says when it is ready → answer,
send heartbeats, kill an executor that fell silent, restart what died → at the first signal brake,
wait for rest, end the children in the order in which a robot may lose them → leave nothing behind.
Nothing here restarts into motion: a new executor holds, and wants a new `go`.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from tandem.runtime import sd_notify, streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.children import Child, Spec
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.folder import RuntimeFolder
from tandem.runtime.messages import Event, Level, Reply, Request, RobotState
from tandem.runtime.processes import Processes, cancel
from tandem.runtime.sd_notify import Notifier
from tandem.runtime.taskdesk import TaskDesk

_TICK_S = 0.02
_HEARTBEAT_NS = 100 * NS_PER_MS
_REST_TIMEOUT_S = 3.0
_FIRST_WORD_NS = 2000 * NS_PER_MS  # sockets take a while to find each other
_BROKEN_NS = 150 * NS_PER_S  # longer than any process may take to start again
_MOVING_MODES = ("policy", "teleop", "stopping")
_EVENT_TEXT_MAX = 1000

Say = Callable[[str], None]


class Supervisor:
    """`executor` names the role that is watched for silence and told to brake; it may be absent."""

    def __init__(
        self,
        folder: RuntimeFolder,
        stages: Sequence[Sequence[Spec]],
        say: Say = print,
        silent_ns: int = 500 * NS_PER_MS,
        executor: str = "executor",
    ) -> None:
        self.folder = folder
        self.say = say
        self.state: RobotState | None = None
        self.bus = ZmqBus(folder.path, "supervisor")
        self.desk = TaskDesk(self.bus)
        self.processes = Processes(folder, stages, self.event)
        self.stopping = asyncio.Event()
        self.ready = asyncio.Event()
        self._silent_ns = silent_ns
        self._executor = self.processes.by_role.get(executor)
        self._states = self.bus.subscriber(streams.STATE, executor)
        self._ticks = self.bus.subscriber(streams.TICK, executor)
        self._events = self.bus.publisher(streams.EVENT)
        self._server = self.bus.server("supervisor")
        self._stopper = self.bus.client("executor-stop")
        self._notifier = Notifier()
        self._heard_ns = 0
        self._heartbeat_ns = 0
        self._watchdog_ns = 0
        self._whole_ns = 0
        self._status = ""

    # -- the story ---------------------------------------------------------------------------------

    async def run(self, last_look: Callable[[], None] = lambda: None) -> None:
        """Start, serve until told to stop, stop; `last_look` when all have ended, before the end.

        Raises:
            TandemError: a child cannot start; everything that was started is ended again.
        """
        serving = asyncio.create_task(self._serve())
        starting = asyncio.create_task(self.processes.start())
        stop = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._notifier.send(READY=1, STATUS="holding, waiting for a task")
                self.ready.set()
                await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stopping.set()
            self._notifier.send(STOPPING=1)
            await cancel(starting, stop)
            await self._come_to_rest()
            await self.processes.end()
            await cancel(serving)
            last_look()
            self.close()

    def request_stop(self) -> None:
        """First call: brake, then end. Second: end at once."""
        if self.stopping.is_set():
            self.say("forced: ending everything now; the arm stops by its own watchdog")
            self.processes.kill()
        self.stopping.set()

    def close(self) -> None:
        self.bus.close()
        self._notifier.close()
        self.folder.remove()

    async def _come_to_rest(self) -> None:
        executor = self._executor
        if executor is None or executor.state != "ready":
            return
        self._stopper.send(Request(verb="stop", t_ns=time.monotonic_ns(), valid=True))
        deadline_s = time.monotonic() + _REST_TIMEOUT_S
        while executor.state == "ready" and self._is_moving():
            await asyncio.sleep(_TICK_S)
            if time.monotonic() > deadline_s:
                self.say(f"not at rest after {_REST_TIMEOUT_S:g} s; ending all the same")
                break

    def _is_moving(self) -> bool:
        return self.state is not None and self.state.mode in _MOVING_MODES

    # -- serving -----------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while True:
            now_ns = time.monotonic_ns()
            self._look(now_ns)
            self.desk.listen()
            self.desk.refresh(now_ns)
            if now_ns - self._heartbeat_ns >= _HEARTBEAT_NS:
                self._heartbeat_ns = now_ns
                self.processes.heartbeat()
            self._feed_watchdog(now_ns)
            await self._answer()
            await self._server.arrived(_TICK_S)

    def _look(self, now_ns: int) -> None:
        """Read the executor's newest state; kill an executor that has stopped talking."""
        states, ticks = self._states.poll(), self._ticks.poll()
        if states:
            self.state = states[-1]
        executor = self._executor
        if executor is None or executor.state != "ready":
            return
        if executor.spoke() or states or ticks:
            self._heard_ns = now_ns
        spoke = self._heard_ns > executor.ready_ns
        silence_ns = now_ns - (self._heard_ns if spoke else executor.ready_ns + _FIRST_WORD_NS)
        if silence_ns > self._silent_ns:
            self._heard_ns = now_ns  # one kill is enough
            silent_ms = silence_ns // NS_PER_MS
            text = f"executor silent for {silent_ms} ms: killed; the arm brakes by itself"
            self.event("error", "silent", text)
            executor.signal(signal.SIGKILL)

    def _feed_watchdog(self, now_ns: int) -> None:
        """Tell systemd that we live, and how we are.

        A part that is being started again is our own affair; only when that leads nowhere is a
        restart of everything asked for, by silence. It would hold then, too.
        """
        if not self.ready.is_set() or self.stopping.is_set():
            return
        missing = self.processes.missing()
        if not missing:
            self._whole_ns = now_ns
        period_ns = self._notifier.watchdog_period_ns
        hungry = period_ns > 0 and now_ns - self._watchdog_ns >= period_ns
        status = sd_notify.status(self.state, self.desk.instruction, missing)
        if hungry and now_ns - self._whole_ns < _BROKEN_NS:
            self._watchdog_ns = now_ns
            self._notifier.send(WATCHDOG=1, STATUS=status)
        elif status != self._status:
            self._notifier.send(STATUS=status)
        self._status = status

    async def _answer(self) -> None:
        question = self._server.poll()
        if question is None:
            return
        match question.verb:
            case "go":
                reply = await self.go(question.text)
            case "stop":
                reply = Reply(ok=True, text="braking, then ending")
            case "status":
                reply = Reply(ok=True, data=self.status())
            case "ping":
                reply = Reply(ok=True, text="here")
            case _:
                reply = await self.desk.ask(question)
        reply.t_ns, reply.valid = time.monotonic_ns(), True
        self._server.reply(reply)
        if question.verb == "stop" and not self.stopping.is_set():
            self.request_stop()

    async def go(self, instruction: str) -> Reply:
        """Give the instruction to all and engage; refused while a process is missing."""
        missing = self.processes.missing()
        if missing:
            return Reply(ok=False, text=f"not running yet: {', '.join(missing)}; try again")
        return await self.desk.go(instruction)

    async def hold(self) -> Reply:
        """Come to rest and hold."""
        return await self.desk.ask(Request(verb="hold", t_ns=time.monotonic_ns()))

    async def reset(self) -> Reply:
        """Clear a latched fault; refused while its cause stands."""
        return await self.desk.ask(Request(verb="reset", t_ns=time.monotonic_ns()))

    def status(self) -> dict[str, Any]:
        """What `tandem status` shows."""
        state = self.state
        return {
            "pid": os.getpid(),
            "instruction": self.desk.instruction,
            "instruction_id": self.desk.instruction_id,
            "refused": self.desk.refused,
            "mode": state.mode if state else "starting",
            "fault": state.fault if state else None,
            "holding_for": state.holding_for if state else None,
            "operator": state.operator if state else None,
            "children": {c.role: _child_status(c) for c in self.processes},
        }

    def event(self, level: Level, kind: str, text: str) -> None:
        """Tell the person at the terminal and every observer."""
        self.say(text)
        short, now_ns = text[:_EVENT_TEXT_MAX], time.monotonic_ns()
        self._events.send(
            Event(source="supervisor", level=level, kind=kind, text=short, t_ns=now_ns, valid=True)
        )


def install_signals(loop: asyncio.AbstractEventLoop, supervisor: Supervisor) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.request_stop)


def _child_status(child: Child) -> dict[str, Any]:
    return {"state": child.state, "pid": child.pid, "starts": child.starts, "facts": child.facts}
