"""One operator at work: ask the hand, tell the executor, show the state, a hundred times a second.

One loop on one grid, and nothing in it waits: requests that take time run beside it. A tick that
comes too late (the process was stopped, the machine stalled) makes the hand let go first.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path

from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import RefusedError, TandemError
from tandem.runtime.messages import OperatorCommand
from tandem.tools import control
from tandem.tools.teleop.chair import Chair
from tandem.tools.teleop.devices import Device
from tandem.tools.teleop.guard import Call, Fingers, Latch
from tandem.tools.teleop.keyboard import VERBS
from tandem.tools.teleop.keys import Key, Reply
from tandem.tools.teleop.screen import Screen, View
from tandem.tools.teleop.terminal import Terminal
from tandem.tools.teleop.wish import Controls, Wish, command

_GAP_NS = 150 * NS_PER_MS  # longer than the executor waits for an operator
_DRAW_NS = 100 * NS_PER_MS
_REST_S = 3.0  # for an arm that an operator has let go of
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Session:
    """`run` returns once the operator leaves, the terminal hangs up or the daemon ends."""

    def __init__(
        self,
        folder: Path,
        lease: str,
        device: Device,
        controls: Controls,
        terminal: Terminal | None,
        rate_hz: float = streams.OPERATOR.rate_hz,
    ) -> None:
        self.ended = ""  # why
        self._folder, self._lease, self._device = folder, lease, device
        self._controls = controls
        self._period_ns = round(NS_PER_S / rate_hz)
        self._terminal = terminal
        self._screen = Screen(terminal) if terminal else None
        self._latch, self._fingers, self._call = Latch(), Fingers(), Call()
        self._yielding = False  # to the policy: no hand counts meanwhile
        self._answer = ""
        self._joints = 1  # until the executor has said it
        self._problem: str | None = None
        self._tick_ns = self._drawn_ns = 0
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Raises RefusedError: somebody else holds the lease."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, partial(self._end, signal.Signals(number).name))
        chair = Chair(self._folder, self._lease)
        try:
            self._joints = len((await chair.sit()).q)
            await chair.greet(self._released())
            await self._work(chair)
        finally:
            await chair.leave(self._released())
            for task in self._asking:
                task.cancel()

    async def _work(self, chair: Chair) -> None:
        due_ns = self._tick_ns = time.monotonic_ns()
        self._latch.close("somebody pressed before anybody was there to see it")
        while not self.ended:
            self._tick(chair, time.monotonic_ns())
            now_ns = time.monotonic_ns()
            due_ns += self._period_ns * max(1, -(-(now_ns - due_ns) // self._period_ns))
            await asyncio.sleep((due_ns - now_ns) / NS_PER_S)

    # -- a tick ------------------------------------------------------------------------------------

    def _tick(self, chair: Chair, now_ns: int) -> None:
        self._notice(chair, now_ns)
        self._read_keys(now_ns)
        for verb in self._device.verbs():
            self._do(verb, now_ns)
        wish = self._wish(now_ns)
        mode = chair.state.mode if chair.state else "idle"
        gripper = self._fingers.value(mode, now_ns)
        chair.send(command(wish, self._controls, self._lease, self._joints, gripper, now_ns))
        for event in chair.listen():
            self._call.hear(event)
        self._show(chair, wish, now_ns)

    def _notice(self, chair: Chair, now_ns: int) -> None:
        """What makes a hand that still presses mean nothing."""
        gap_ns, self._tick_ns = now_ns - self._tick_ns, now_ns
        if gap_ns > _GAP_NS:
            self._device.let_go()
            why = f"this program stood still for {gap_ns // NS_PER_MS} ms"
            self._answer = f"{why}: press again"
            self._latch.close(why)
        if chair.lost(now_ns):
            self._latch.close("the executor was started anew")
        silence_s = chair.silence_s(now_ns)
        self._problem = f"the robot has been silent for {silence_s:.1f} s" if silence_s else None
        if silence_s and not self._folder.exists():
            self._end("the daemon has ended")

    def _wish(self, now_ns: int) -> Wish:
        wish = self._latch.fold(self._device.wish(now_ns, self._controls.frame == "joint"))
        return Wish() if self._yielding else wish

    def _released(self) -> OperatorCommand:
        now_ns = time.monotonic_ns()
        return command(Wish(), self._controls, self._lease, self._joints, None, now_ns)

    # -- what the person asks for ------------------------------------------------------------------

    def _read_keys(self, now_ns: int) -> None:
        if self._terminal is None:
            return
        self._terminal.ping(now_ns)
        while found := self._terminal.read():
            self._device.heard(now_ns)
            for what in found:
                self._on_key(what, now_ns)
        if self._terminal.gone:
            self._end("the terminal is gone")

    def _on_key(self, what: Key | Reply, now_ns: int) -> None:
        if isinstance(what, Reply):
            if what.name == "focus_out":
                self._device.let_go()
            return
        self._call.answer()
        self._device.press(what, now_ns, self._controls.frame == "joint")
        if what.kind == "press" and what.name in VERBS:
            self._do(VERBS[what.name], now_ns)

    def _do(self, verb: str, now_ns: int) -> None:
        controls = self._controls
        match verb:
            case "quit":
                self._end("left")
            case "want":
                self._controls = replace(controls, want=controls.other_want())
            case "frame":
                self._device.let_go()  # what was one axis would be another
                self._controls = replace(controls, frame=controls.next_frame())
            case "faster":
                self._controls = replace(controls, speed=controls.faster())
            case "slower":
                self._controls = replace(controls, speed=controls.slower())
            case "close" | "open":
                self._fingers.ask(float(verb == "open"), now_ns)
            case "go":
                self._beside(self._go())
            case "hold" | "reset":
                ask = partial(control.ask, self._folder, verb, server="executor")
                self._beside(self._told(lambda: ask().text))

    def _beside(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _go(self) -> None:
        """Back to the policy: let go, wait for rest, engage; then be ready to take over again."""
        self._yielding, self._answer = True, "giving the arm to the policy …"
        try:
            await self._told(self._engaged)
        finally:
            self._yielding = False
            self._latch.close("the policy was asked to drive")

    def _engaged(self) -> str:
        deadline_s = time.monotonic() + _REST_S
        while True:
            try:
                instruction = control.go(self._folder)["instruction"]
            except RefusedError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)
            else:
                self._controls = replace(self._controls, want="standby")
                return f"the policy drives: {instruction}"

    async def _told(self, ask: Callable[[], str]) -> None:
        """Ask in a thread, because an answer may take a second; show it."""
        try:
            self._answer = await asyncio.to_thread(ask)
        except TandemError as error:
            self._answer = str(error)

    def _end(self, why: str) -> None:
        self.ended = self.ended or why

    # -- what the person sees ----------------------------------------------------------------------

    def _show(self, chair: Chair, wish: Wish, now_ns: int) -> None:
        state = chair.state
        if self._screen is None or state is None or now_ns - self._drawn_ns < _DRAW_NS:
            return
        self._drawn_ns = now_ns
        latched = f"{self._latch.why}: let go once" if self._latch.why else None
        view = View(
            robot=self._folder.name,
            lease=self._lease,
            device=self._device.name,
            controls=self._controls,
            wish=wish,
            state=state,
            call=self._call.text,
            problem=self._problem or self._device.problem or latched,
            answer=self._answer,
        )
        self._screen.draw(view, bell=self._call.rings(state, now_ns))
