"""Episodes in simulated time: the whole daemon in lockstep, one fresh one an episode.

Nothing is carried from one episode to the next but the weights, so an episode's result depends on
its number alone: not on the order, nor on how many processes share the work.
"""

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing
from copy import copy
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from tandem.drivers.sim import blackbox
from tandem.runtime import streams
from tandem.runtime.app import build
from tandem.runtime.app.lockstep import Lockstep
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.config import Config
from tandem.runtime.errors import TandemError
from tandem.runtime.realtime import end_with_parent
from tandem.tools.evaluate.attempt import Attempt, Counted
from tandem.tools.evaluate.plant import Extremes, plant_spec, recorded
from tandem.tools.evaluate.played import Played
from tandem.tools.evaluate.scenario import Scenario
from tandem.tools.evaluate.truth import sample
from tandem.tools.evaluate.visibility import Eye
from tandem.tools.fci_emulator import lockstep

_LOOK_NS = 5 * NS_PER_MS
_LEAD_IN_S = 0.2  # cameras and loops get going
_CAMERA = "front"


class Stage:
    """Policies and camera of one worker process, made once; and its robot, if one is emulated."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.robot = lockstep.Robot(config.robot.arm.driver) if config.emulated else None
        arm = build.arm_model(config).spec
        self.s2 = build.s2_policy(config.s2, arm) if config.s2 else None
        self.s1 = build.s1_policy(config.s1, arm) if config.s1 else None
        self.eye = Eye(config.s2.cameras if config.s2 else ())

    def beside(self, config: Config) -> "Stage":
        """The same robot, System 1 and eye with the System 2 of another configuration."""
        other = copy(self)
        other.config = config
        arm = build.arm_model(config).spec
        other.s2 = build.s2_policy(config.s2, arm) if config.s2 else None
        return other

    def play(self, scenario: Scenario, said: str) -> Played:
        """Play one episode; the policy is told `said`, scored is what the scenario names."""
        if hasattr(self.s2, "forget"):
            self.s2.forget()
        with tempfile.TemporaryDirectory(prefix="tandem-eval-") as folder:
            box = Path(folder) / "blackbox"
            with closing(self._cell(scenario.seed, box)) as cell:
                return _play(cell, scenario, said, self.eye, box)

    def _cell(self, seed: int, box: Path) -> Lockstep:
        if self.robot is None:
            return Lockstep(self.config, seed, s1=self.s1, s2=self.s2, black_box=box)
        return lockstep.EmulatedLockstep(self.config, self.robot, seed, s1=self.s1, s2=self.s2)


def _play(cell: Lockstep, scenario: Scenario, said: str, eye: Eye, box: Path) -> Played:
    conditionings = cell.bus.named("eval").subscriber(streams.CONDITIONING, "s2", conflate=False)
    cell.advance(_LEAD_IN_S)
    counted, underruns = Counted(cell.summary()), _underruns(cell)
    attempt = Attempt(scenario, cell.clock.now_ns(), eye.look)
    error = None
    try:
        cell.go(said)
        _drive(cell, attempt, conditionings)
    except TandemError as refusal:
        error = str(refusal)
    episode = attempt.record(_extremes(box, cell))
    counted.fill(episode, cell.summary(), _underruns(cell) - underruns)
    episode.error = error
    failed = None if episode.success else cell.world.render(_CAMERA).copy()
    return Played(episode, failed, attempt.step_ms)


def _drive(cell: Lockstep, attempt: Attempt, conditionings: Any) -> None:
    """From `go` until success, a wrong object or the time limit."""
    scenario, begin_ns = attempt.scenario, cell.clock.now_ns()
    pending, look_ns = scenario.disturbance, begin_ns
    while not attempt.decided:
        t_s = (cell.clock.now_ns() - begin_ns) / NS_PER_S
        if t_s >= scenario.time_limit_s:
            return
        if pending is not None and t_s >= pending.t_s:
            cell.sim("disturb", kind=pending.kind, **pending.arguments)
            pending = None
        record, now_ns = cell.step(), cell.clock.now_ns()
        if now_ns >= look_ns:
            look_ns = now_ns + _LOOK_NS
            attempt.see(sample(now_ns, cell.world.truth(), cell.world.q))
        for conditioning in conditionings.poll():
            attempt.understand(conditioning)
        if record.fault:
            attempt.complain(record.fault)
        if record.mode != "policy":
            attempt.left_policy(record.holding_for or record.mode, ticks=1)


def _underruns(cell: Lockstep) -> int:
    return int(cell.sim("counters")["underruns"])


def _extremes(box: Path, cell: Lockstep) -> Extremes | None:
    emulated = isinstance(cell, lockstep.EmulatedLockstep)
    try:
        record = cell.record() if emulated else blackbox.read(box)
        return recorded(record, plant_spec(cell.config))
    except (TandemError, ValueError):
        return None


# -- many ------------------------------------------------------------------------------------------

_stages: list[Stage] = []


def _set_up(configs: Sequence[Config]) -> None:
    """In each worker, once."""
    if not (end_with_parent() and parent_process().is_alive()):
        os.kill(os.getpid(), signal.SIGTERM)  # nobody wants our results any more
    import torch

    torch.set_num_threads(1)  # the workers share the cores; threads would wait for each other
    first = Stage(configs[0])
    _stages[:] = [first, *(first.beside(config) for config in configs[1:])]


def _one(stage: int, scenario: Scenario, said: str) -> Played:
    return _stages[stage].play(scenario, said)


def play_each(
    configs: Sequence[Config], scenarios: list[tuple[Scenario, str]], jobs: int
) -> Iterator[tuple[int, Played]]:
    """Every episode under every configuration, which may differ in System 2: (which, what).

    A scene is played under all of them before the next one is begun, so that whatever else the
    machine does meanwhile slows all alike. Results come as they are done.
    """
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_set_up, initargs=(configs,)) as pool:
        waiting: dict[Future[Played], int] = {
            pool.submit(_one, i, scenario, said): i
            for scenario, said in scenarios
            for i in range(len(configs))
        }
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)
