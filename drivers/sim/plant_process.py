"""The plant in a process of its own: 1 kHz on the machine's clock, shared rings to arm and cameras.

Simulated time is wall time. After a stall of its own the plant runs the missed steps one by one,
each with the knots that had been sent by then, so that the past comes out as it would have been,
and no set-point is ever followed ahead of time.
"""

import gc
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tandem.drivers.sim import wire
from tandem.drivers.sim.blackbox import BlackBox
from tandem.drivers.sim.plant import Plant
from tandem.drivers.sim.requests import answer
from tandem.drivers.sim.world import World
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock
from tandem.runtime.images import Record
from tandem.runtime.messages import Reply, Request

_CATCH_UP_NS = 2 * NS_PER_S  # longer than any braking; beyond it a still arm's time is skipped
_STALL_NS = 5 * NS_PER_MS
_SCENE_EVERY = 4  # steps; cameras need no more than 250 Hz
_REQUESTS_EVERY = 5  # steps


class Server(Protocol):
    """A request server of the bus."""

    def poll(self) -> Request | None: ...
    def reply(self, reply: Reply) -> None: ...


@dataclass
class LoopReport:
    """How the loop has fared, since start."""

    steps: int = 0
    stalls: int = 0  # woke more than 5 ms late
    longest_stall_ns: int = 0
    skipped_ns: int = 0
    realtime: str = ""  # what the scheduler granted


class PlantLoop:
    """Steps a plant up to the clock and serves its rings; `tick()` whenever a step is due."""

    def __init__(
        self, runtime_dir: Path, plant: Plant, server: Server | None, clock: Clock
    ) -> None:
        self.plant = plant
        self.report = LoopReport()
        plant.loop_counters = vars(self.report)
        self._clock, self._server = clock, server
        self._knots = wire.knot_ring(runtime_dir).reader()
        self._seen = self._knots.count - 1  # knots from before our time are nobody's
        self._sender = self._knots.generation
        self._sent: deque[Record] = deque()
        self._state = wire.state_ring(runtime_dir).writer()
        self._scene = wire.scene_ring(runtime_dir, plant.world.model.nq).writer()
        self._publish()
        self._publish_scene()

    def tick(self) -> None:
        """Bring the plant up to now and publish where it is."""
        now_ns, plant = self._clock.now_ns(), self.plant
        behind_ns = now_ns - plant.t_ns - plant.step_ns
        self._notice_stall(behind_ns)
        self._read_knots()
        caught_up_ns = plant.t_ns + _CATCH_UP_NS
        while plant.t_ns + plant.step_ns <= now_ns:
            self._take_knots(plant.t_ns + plant.step_ns)
            if plant.t_ns > caught_up_ns and plant.standing:
                self.report.skipped_ns += now_ns - plant.t_ns
                plant.skip_to(now_ns)
                break
            plant.step()
            self.report.steps += 1
            if self.report.steps % _REQUESTS_EVERY == 0:
                self._serve()
            if self.report.steps % _SCENE_EVERY == 0:
                self._publish_scene()
        self._publish()

    def _notice_stall(self, behind_ns: int) -> None:
        if behind_ns > _STALL_NS:
            self.report.stalls += 1
            self.report.longest_stall_ns = max(self.report.longest_stall_ns, behind_ns)

    def _read_knots(self) -> None:
        new = self._knots.since(self._seen)
        if self._knots.generation != self._sender:
            # Another executor has taken over: what the one before planned is void.
            self._sender = self._knots.generation
            self._sent.clear()
            self.plant.brake()
        if new:
            self._seen = new[-1].seq
            self._sent.extend(new)

    def _take_knots(self, until_ns: int) -> None:
        """Hand the plant what had been sent by `until_ns`."""
        while self._sent and self._sent[0].t_ns <= until_ns:
            sent = self._sent.popleft()
            match wire.unpack_knot(sent.payload):
                case wire.Wish.RECOVER:
                    self.plant.recover_from_reflex()
                case wire.Wish():
                    self.plant.brake()
                case knot:
                    self.plant.offer(knot, sent.t_ns)

    def _serve(self) -> None:
        if self._server is None:
            return
        request = self._server.poll()
        if request is not None:
            self._server.reply(answer(self.plant, request))

    def _publish(self) -> None:
        wire.pack_state(self._state.slot(), self.plant.state())
        self._state.commit(self.plant.t_ns)

    def _publish_scene(self) -> None:
        slot = self._scene.slot()
        slot["qpos"] = self.plant.world.data.qpos
        slot["light"] = self.plant.world.light
        self._scene.commit(self.plant.t_ns)


def run_plant(
    runtime_dir: Path,
    server: Server | None,
    seed: int = 0,
    cubes: int = 4,
    priority: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> LoopReport:
    """The body of the simulator's process: runs until `should_stop()`.

    `priority`: SCHED_FIFO, to be below the executor's; None asks for nothing.
    """
    clock = clock or MonotonicClock()
    world = World(seed, cubes)
    box = BlackBox(wire.black_box(runtime_dir), NS_PER_MS)
    loop = PlantLoop(runtime_dir, Plant(world, clock.now_ns(), box), server, clock)
    loop.report.realtime = _ask_fifo(priority)
    gc.collect()
    gc.freeze()  # the model is for ever; do not walk through it in the loop
    while not should_stop():
        clock.sleep_until(loop.plant.t_ns + loop.plant.step_ns)
        loop.tick()
    return loop.report


def _ask_fifo(priority: int | None) -> str:
    """What was granted, with the command that would fix a refusal."""
    if priority is None:
        return "normal scheduling, as asked"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (PermissionError, OSError) as error:
        return f"no SCHED_FIFO {priority} ({error}); `ulimit -r {priority}` would allow it"
    return f"SCHED_FIFO {priority}"
