"""What both systems' loops share: a policy thinks in a thread of its own, or in lockstep.

A loop is three parts: `begin(now_ns)` looks at what has arrived and gives the work to be done, if
any; the work runs the policy and touches nothing else; `finish(now_ns, outcome)` publishes. So the
very same loop runs on the robot (`think`, the work in a thread) and in lockstep (`Lockstep`).
"""

import asyncio
import queue
import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from tandem.runtime.clock import NS_PER_S, Beat
from tandem.runtime.errors import DeviceTimeoutError, RefusedError, TandemError
from tandem.runtime.messages import REFUSED, Task
from tandem.runtime.telemetry import EventLog

R = TypeVar("R")
Begin = Callable[[int], Callable[[], R] | None]
Finish = Callable[[int, R | Exception], None]

_MEANWHILE_S = 0.1
_HUNG_S = 60.0  # the first call may compile


class Metronome:
    """A grid that is asked instead of waited on; what was missed is skipped and counted."""

    def __init__(self, rate_hz: float, t0_ns: int) -> None:
        self.due_ns = t0_ns
        self._period_ns = round(NS_PER_S / rate_hz)
        self._index = 0

    def beat(self, now_ns: int) -> Beat | None:
        """The tick that is due, or None."""
        if now_ns < self.due_ns:
            return None
        skipped = (now_ns - self.due_ns) // self._period_ns
        self._index += 1 + skipped
        beat = Beat(self._index, self.due_ns + skipped * self._period_ns, now_ns, skipped)
        self.due_ns = beat.due_ns + self._period_ns
        return beat


def attempt(work: Callable[[], R]) -> R | Exception:
    """Do the work; what a policy raises is an outcome, not the end of the loop."""
    try:
        return work()
    except Exception as error:
        return error


def conclude(
    publish: Callable[[int, R], None],
    now_ns: int,
    outcome: R | Exception,
    log: EventLog,
    who: str,
    task: Task | None,
) -> bool:
    """Publish what came out, or say why there is nothing; whether there is."""
    try:
        if isinstance(outcome, Exception):
            raise outcome
        publish(now_ns, outcome)
    except Exception as error:
        _report(log, now_ns, who, error, task)
        return False
    for kind in ("policy", REFUSED):
        log.settle(now_ns, kind, f"{who}'s policy works again")
    return True


def _report(log: EventLog, now_ns: int, who: str, error: Exception, task: Task | None) -> None:
    """One complaint a second, with a traceback on stderr if it was not raised on purpose.

    A policy that refuses its task, for good, is told apart: whoever gave it need not wait.
    """
    if isinstance(error, RefusedError) and task is not None:
        told = f"{who}'s policy refuses: {error}"
        log.complain(now_ns, REFUSED, told, "error", instruction_id=task.instruction_id)
        return
    known = isinstance(error, TandemError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    if log.complain(now_ns, "policy", f"{who}'s policy failed: {reason}", "error") and not known:
        traceback.print_exception(error)


class Lockstep(Generic[R]):
    """Runs a loop on somebody else's clock: what was begun at t comes out at t + `delay_ns`.

    The work itself takes no time on that clock, so the delay stands for it.
    """

    def __init__(self, begin: Begin[R], finish: Finish[R], delay_ns: int) -> None:
        self.delay_ns = delay_ns
        self._begin = begin
        self._finish = finish
        self._pending: tuple[int, R | Exception] | None = None

    def tick(self, now_ns: int) -> None:
        if self._pending is None:
            work = self._begin(now_ns)
            if work is None:
                return
            self._pending = (now_ns + self.delay_ns, attempt(work))
        due_ns, outcome = self._pending
        if now_ns >= due_ns:
            self._pending = None
            self._finish(now_ns, outcome)


class Worker:
    """One thread for a policy. A daemon: hung in a driver, it must not keep the process alive."""

    def __init__(self, name: str) -> None:
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, work: Callable[[], R]) -> "asyncio.Future[R | Exception]":
        """Give it work; the future belongs to the running loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R | Exception] = loop.create_future()

        def hand_over(outcome: R | Exception) -> None:
            if not future.done():
                future.set_result(outcome)

        def order() -> None:
            outcome = attempt(work)
            if not loop.is_closed():
                loop.call_soon_threadsafe(hand_over, outcome)

        self._orders.put(order)
        return future

    def _work(self) -> None:
        while True:
            self._orders.get()()


async def think(
    worker: Worker, work: Callable[[], R], meanwhile: Callable[[], None]
) -> R | Exception:
    """Wait for the work; `meanwhile` is called ten times a second.

    Raises:
        DeviceTimeoutError: the policy hangs; only a new process helps.
    """
    future = worker.submit(work)
    begun_s = asyncio.get_running_loop().time()
    while True:
        await asyncio.wait({future}, timeout=_MEANWHILE_S)
        if future.done():
            return future.result()
        meanwhile()
        if asyncio.get_running_loop().time() - begun_s > _HUNG_S:
            raise DeviceTimeoutError(
                f"the policy did not come back within {_HUNG_S:g} s; this process ends and is "
                "started again. If it recurs, look at the device that the policy runs on"
            )
