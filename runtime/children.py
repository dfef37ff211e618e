"""One child process: started in a session of its own, told apart by its own log, ended for certain.

A session of its own keeps the terminal's Ctrl-C away from the children: only the supervisor decides
in which order a moving robot loses its parts. Output goes to a file, never to a pipe: a pipe that
nobody reads stops its writer, and a writer may be the executor.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tandem.runtime import lifeline
from tandem.runtime.errors import DeviceTimeoutError, TandemError

_TAIL_LINES = 12
_KILL_WAIT_S = 2.0
_READ_BYTES = 1 << 12

State = Literal["absent", "starting", "ready", "dead"]


@dataclass(frozen=True)
class Spec:
    """What to start.

    `takes_along`: roles that hold what a dead one of this role leaves stale. `essential`: without
    it nothing may move; what is not essential is neither waited for nor restarted, but for what is
    to `revive`.
    """

    role: str
    argv: tuple[str, ...]
    ready_timeout_s: float = 30.0
    nice: int = 0
    end_timeout_s: float = 3.0
    takes_along: tuple[str, ...] = ()
    essential: bool = True
    revive: bool = False
    environment: dict[str, str] = field(default_factory=dict)


class Child:
    """One life after another of one role."""

    def __init__(self, spec: Spec, folder: Path, on_death: Callable[["Child"], None]) -> None:
        self.spec = spec
        self.state: State = "absent"
        self.facts: dict[str, Any] = {}
        self.starts = 0
        self.ready_ns = 0  # of this life
        self.returncode: int | None = None
        self._log = folder / f"{spec.role}.log"
        self._on_death = on_death
        self._process: asyncio.subprocess.Process | None = None
        self._line: socket.socket | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def role(self) -> str:
        return self.spec.role

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.state in ("starting", "ready") else None

    async def start(self, on_spawn: Callable[[], None] = lambda: None) -> None:
        """Start it and wait until it says that it is ready; `on_spawn` when it has a pid.

        Raises:
            DeviceTimeoutError: not ready within its time.
            TandemError: it said why it cannot start, or died.
        """
        self.starts += 1
        self.state, self.returncode = "starting", None
        self._drop_line()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._line = ours
        environment = {**os.environ, **self.spec.environment}
        environment[lifeline.FD_VARIABLE] = str(theirs.fileno())
        with theirs, self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
                env=environment,
            )
        if self.spec.nice:
            os.setpriority(os.PRIO_PROCESS, self._process.pid, self.spec.nice)
        self._watch = asyncio.create_task(self._await_death())
        on_spawn()
        await self._await_ready()

    def heartbeat(self) -> None:
        """Tell the child that the supervisor lives. Never waits: a full line is a frozen child."""
        if self._line is not None and self.state in ("starting", "ready"):
            with contextlib.suppress(OSError):  # its death is told by _await_death
                self._line.send(lifeline.HEARTBEAT)

    def spoke(self) -> bool:
        """It has sent a heartbeat since the last call."""
        data = b""
        if self._line is not None and self.state == "ready":
            with contextlib.suppress(OSError):
                data = self._line.recv(_READ_BYTES)
        return bool(data)

    def signal(self, number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self) -> None:
        """SIGTERM, then SIGKILL after its time. Returns when the process is gone."""
        self.signal(signal.SIGTERM)
        if not await self._gone_within(self.spec.end_timeout_s):
            await self.kill()
        self._drop_line()

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self._gone_within(_KILL_WAIT_S)
        self._drop_line()

    def tail(self) -> str:
        """The last lines that it wrote, for people."""
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return "\n".join(f"  {self.role}| {line}" for line in lines[-_TAIL_LINES:])

    async def _await_ready(self) -> None:
        deadline = time.monotonic() + self.spec.ready_timeout_s
        try:
            word = await asyncio.wait_for(self._read_word(), deadline - time.monotonic())
        except TimeoutError:
            self.signal(signal.SIGKILL)
            raise DeviceTimeoutError(
                f"{self.role} was not ready after {self.spec.ready_timeout_s:g} s.\n{self.tail()}"
            ) from None
        if word is None or word.failed:
            await self._gone_within(_KILL_WAIT_S)
            self.signal(signal.SIGKILL)
            raise TandemError(self._why_not(word))
        self.facts = word.facts
        self.ready_ns = time.monotonic_ns()
        self.state = "ready"

    def _why_not(self, word: lifeline.Word | None) -> str:
        if word is not None:
            return f"{self.role} cannot start: {word.failed}"
        return f"{self.role} ended while starting ({self.ending()}).\n{self.tail()}"

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.returncode
        if code is None:
            return "still running"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    async def _read_word(self) -> lifeline.Word | None:
        """The first whole line that is a word; None at the end of the line."""
        assert self._line is not None
        loop, data = asyncio.get_running_loop(), b""
        while True:
            try:
                piece = await loop.sock_recv(self._line, 1 << 16)
            except OSError:
                return None
            if not piece:
                return None
            data += piece
            while b"\n" in data:
                line, _, data = data.partition(b"\n")
                word = lifeline.parse(line)
                if word is not None and (word.ready or word.failed):
                    return word

    async def _await_death(self) -> None:
        process = self._process
        assert process is not None
        self.returncode = await process.wait()
        self.state = "dead"
        self._on_death(self)

    def _drop_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    async def _gone_within(self, seconds: float) -> bool:
        if self._watch is None:
            return True
        done, _ = await asyncio.wait([self._watch], timeout=seconds)
        return bool(done)
