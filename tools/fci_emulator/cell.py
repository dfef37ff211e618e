"""An emulated Franka inside the simulated cell, as a process of a daemon: `CONFIG`.

The daemon's cameras see what the arm does, and whoever lays out scenes, disturbs or judges asks the
same questions as of the simulated arm (`drivers.sim.requests`).
"""

import contextlib
import gc
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tandem.drivers.sim import panda, wire
from tandem.drivers.sim.blackbox import BlackBox
from tandem.drivers.sim.requests import answer
from tandem.drivers.sim.scene import Layout
from tandem.runtime import config
from tandem.runtime.app.process import Process
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import RefusedError, TandemError
from tandem.runtime.messages import Request
from tandem.tools.fci_emulator.body import OPEN_M, Simulated
from tandem.tools.fci_emulator.dialect import Error
from tandem.tools.fci_emulator.models import MODELS
from tandem.tools.fci_emulator.server import Emulator

_BELOW_EXECUTOR = 10  # in priority
_LINGER_NS = 3000 * NS_PER_MS  # after the supervisor's death the executor still brakes
_SERVE_EVERY = 5  # ticks


class Cell:
    """What `requests.answer` asks of a plant, for an emulated robot."""

    def __init__(self, emulator: Emulator, body: Simulated, box: BlackBox | None = None) -> None:
        self._emulator, self._robot, self._box = emulator, emulator.robot, box
        model = emulator.robot.model
        self.world = body.world
        self.spec = replace(panda.panda_spec(), q_min=model.q_min, q_max=model.q_max)
        self._era = 0
        self._recorded_ns = time.monotonic_ns() // NS_PER_MS * NS_PER_MS

    @property
    def t_ns(self) -> int:
        return time.monotonic_ns()

    def record(self) -> None:
        """Once a millisecond of the robot: what it was commanded."""
        judge = self._robot.judge
        if self._box is None:
            return
        self._recorded_ns += NS_PER_MS
        coasting = not self._robot.commanded
        self._box.add(self._recorded_ns, self._era, coasting, judge.q, judge.dq, judge.ddq)

    def at_the_desk(self, asked: dict[str, Any]) -> dict[str, Any]:
        """`{"do": "cell", "ask": {"do": "reset", …}}`: `requests` without a daemon's sockets.

        Raises:
            RefusedError: the cell will not do that.
        """
        wish = Request(verb="sim", text=json.dumps(asked["ask"]))
        reply = answer(self, wish)  # type: ignore[arg-type]
        if not reply.ok:
            raise RefusedError(reply.text)
        return reply.data

    def scene(self, _: dict[str, Any]) -> dict[str, Any]:
        """Everything that a picture, or a judge, needs of this moment."""
        world = self.world
        return {
            "qpos": world.data.qpos.tolist(),
            "light": world.light.tolist(),
            "q": world.q.tolist(),
            "truth": world.truth(),
        }

    def reset(self, seed: int, cubes: int | None = None) -> Layout:
        layout = self.world.reset(seed, cubes)
        self._put(layout.q_rad)
        return layout

    def lay_out(self, layout: Layout) -> None:
        self.world.lay_out(layout)
        self._put(layout.q_rad)

    def teleport(self, q: np.ndarray, opening: float = 1.0) -> None:
        self.world.place_arm(q, opening)
        self._put(q, opening)

    def interrupt(self, status: str, error: str) -> None:
        if status == "user_stop":
            self._robot.user_stop(True)
        else:
            self._robot.reflex(Error.JOINT_REFLEX)

    def recover(self) -> None:
        """The cause is gone; a reflex waits for the robot's own recovery."""
        self._robot.user_stop(False)

    def counters(self) -> dict[str, Any]:
        tally = self._robot.judge.tally
        return {
            "underruns": tally.lost,
            "late_knots": self._emulator.late_ticks,
            "refused_knots": sum(tally.violations.values()),
            "generation": tally.motions,
            "era": self._era,
        }

    def _put(self, q: np.ndarray, opening: float = 1.0) -> None:
        self._era += 1
        self._emulator.hand.wanted_m = opening * OPEN_M
        self._robot.place(q)


def main(config_file: str) -> int:
    """Returns the exit status; why it cannot start is told to the supervisor."""
    process = Process()
    try:
        _run(config.load(Path(config_file)), process)
    except TandemError as error:
        print(f"sim: {error}", file=sys.stderr)
        process.line.failed(str(error))
        return 1
    return 0


def _run(settings: config.Config, process: Process) -> None:
    model = MODELS[settings.robot.arm.driver.removeprefix("franka_")]
    bus = ZmqBus(settings.folder, "sim")
    server = bus.server(wire.SERVER)
    body = Simulated(settings.sim.seed, settings.sim.cubes, settings.folder)
    emulator = Emulator(model, body, settings.robot.arm.host)
    cell = Cell(emulator, body, BlackBox(wire.black_box(settings.folder), NS_PER_MS))
    granted = _fifo(max(settings.executor.priority - _BELOW_EXECUTOR, 1))
    gc.collect()
    gc.freeze()
    process.ready({"robot": model.name, "at": settings.robot.arm.host, "scheduling": granted})
    ticks = gone_ns = 0

    def besides() -> None:
        nonlocal ticks, gone_ns
        ticks += 1
        cell.record()
        if ticks % _SERVE_EVERY:
            return
        request = server.poll()
        if request is not None:
            server.reply(answer(cell, request))  # type: ignore[arg-type]
        now_ns = time.monotonic_ns()
        gone_ns = gone_ns if process.supervisor_gone() else now_ns
        emulator.stopping = process.asked_to_end or now_ns - gone_ns > _LINGER_NS

    with contextlib.closing(emulator):
        emulator.run(besides)
    bus.close()


def _fifo(priority: int) -> str:
    try:
        parameters = os.sched_param(priority)
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, parameters)
    except OSError as error:
        return f"no SCHED_FIFO {priority} ({error.strerror}); `ulimit -r {priority}` allows it"
    return f"FIFO {priority}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
