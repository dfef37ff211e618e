"""The processes of a daemon, one function a role: build the parts, say ready, run the loop."""

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from tandem.runtime import config
from tandem.runtime.app import build
from tandem.runtime.app.process import Process
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_MS, MonotonicClock
from tandem.runtime.config import Config
from tandem.runtime.config_cameras import moves
from tandem.runtime.errors import ConfigError, TandemError
from tandem.runtime.images import ImageReader, ImageRing

_STOP_POLL_S = 0.1
_SPIN_NS = 50_000  # a sleep wakes late, by 10 to 20 µs as measured; so much is spun
_BELOW_EXECUTOR = 10  # the plant's priority under the executor's
_PLANT_LINGER_NS = 3000 * NS_PER_MS  # after the supervisor's death the executor still brakes


def main(role: str = "", config_file: str = "") -> int:
    """Returns the exit status; why a process cannot start is told to the supervisor."""
    process = Process()
    try:
        roles = {"sim": sim, "camera": camera, "s2": s2, "s1": s1, "executor": executor}
        if role not in roles:
            raise ConfigError(f"no role is called {role!r}; there are {', '.join(roles)}")
        roles[role](config.load(Path(config_file)), process)
    except TandemError as error:
        print(f"{role}: {error}", file=sys.stderr)
        process.line.failed(str(error))
        return 1
    except Exception as error:
        traceback.print_exc()
        process.line.failed(f"{type(error).__name__}: {error}")
        return 1
    return 0


def sim(settings: Config, process: Process) -> None:
    """The plant. It outlives a dead supervisor for as long as the executor may need to brake."""
    from tandem.drivers.sim import wire
    from tandem.drivers.sim.plant_process import run_plant

    bus = ZmqBus(settings.folder, "sim")
    clock = MonotonicClock()
    told = gone_ns = 0

    def should_stop() -> bool:
        nonlocal told, gone_ns
        if not told:
            told = 1
            process.ready({"scheduling": _scheduling()})
        if not process.supervisor_gone():
            gone_ns = clock.now_ns()
        return process.asked_to_end or clock.now_ns() - gone_ns > _PLANT_LINGER_NS

    run_plant(
        settings.folder,
        bus.server(wire.SERVER),
        settings.sim.seed,
        settings.sim.cubes,
        max(settings.executor.priority - _BELOW_EXECUTOR, 1),
        should_stop,
    )
    bus.close()


def camera(settings: Config, process: Process) -> None:
    """All cameras."""
    from tandem.runtime.camera import CameraLoop

    process.die_with_supervisor()
    bus = ZmqBus(settings.folder, "camera")
    simulated = all(camera.driver == "sim" for camera in settings.cameras.values())
    films = [name for name, given in settings.cameras.items() if not moves(given)]
    loop = CameraLoop(
        build.cameras(settings),
        settings.folder,
        bus,
        MonotonicClock(),
        device_paced=not simulated,
        frozen_after_ns=None if simulated else 1000 * NS_PER_MS,
        still=films,
    )
    process.ready({"cameras": ", ".join(settings.cameras)})
    loop.run(process.stopping)
    bus.close()


def s2(settings: Config, process: Process) -> None:
    """System 2. Torch is imported here and nowhere else."""
    from tandem.runtime.s2 import S2Loop

    process.die_with_supervisor()
    if settings.s2 is None:
        raise ConfigError("this configuration has no s2")
    given = settings.s2
    policy = build.s2_policy(given, build.arm_model(settings).spec)

    async def serve(bus: ZmqBus, stopping: asyncio.Event) -> None:
        loop = S2Loop(policy, readers(settings), bus, MonotonicClock(), given.rate_hz)
        process.ready({"policy": given.policy, "latents": policy.spec.latent_id})
        await loop.serve(stopping)

    _run_async("s2", settings, process, serve)


def s1(settings: Config, process: Process) -> None:
    """System 1."""
    from tandem.runtime.action_space import space_of
    from tandem.runtime.s1 import S1Loop

    process.die_with_supervisor()
    if settings.s1 is None:
        raise ConfigError("this configuration has no s1")
    given = settings.s1
    spec = build.arm_model(settings).spec
    policy = build.s1_policy(given, spec)
    space = space_of(policy.spec.action, spec)

    async def serve(bus: ZmqBus, stopping: asyncio.Event) -> None:
        clock, every = MonotonicClock(), given.replan_every
        loop = S1Loop(policy, readers(settings), bus, clock, every, space=space)
        process.ready({"policy": given.policy, "runs on": getattr(policy, "provider", "")})
        await loop.serve(stopping)

    _run_async("s1", settings, process, serve)


def executor(settings: Config, process: Process) -> None:
    """The one that commands the arm. It outlives a dead supervisor until it has braked."""
    from tandem.runtime.app.motion import executor_settings
    from tandem.runtime.executor import Executor
    from tandem.runtime.realtime import freeze_garbage, real_time

    bus = ZmqBus(settings.folder, "executor")  # before real time: its thread must stay ordinary
    arm = build.arm(settings)
    arm.connect()
    clock = MonotonicClock(spin_ns=_SPIN_NS)
    values = executor_settings(settings, arm.spec)
    loop = Executor(arm, bus, clock, values, process.line.silence_ns)
    granted = real_time(settings.executor.priority, settings.executor.cpu)
    freeze_garbage()
    process.ready(dict(granted.lines()))
    loop.run()
    bus.close()


def readers(settings: Config) -> dict[str, ImageReader]:
    """Every camera's ring; it may not have been made yet."""
    return {
        name: ImageRing.of(settings.folder, build.camera_spec(name, given)).reader()
        for name, given in settings.cameras.items()
    }


def _run_async(
    source: str,
    settings: Config,
    process: Process,
    serve: Callable[[ZmqBus, asyncio.Event], Awaitable[None]],
) -> None:
    """One bus, one event loop, until the process is to end."""

    async def body() -> None:
        stopping = asyncio.Event()
        watching = asyncio.create_task(_watch(process, stopping))
        try:
            await serve(bus, stopping)
        finally:
            watching.cancel()

    bus = ZmqBus(settings.folder, source)
    try:
        uvloop.run(body())
    finally:
        bus.close()


async def _watch(process: Process, stopping: asyncio.Event) -> None:
    while not process.stopping():
        await asyncio.sleep(_STOP_POLL_S)
    stopping.set()


def _scheduling() -> str:
    names = {os.SCHED_FIFO: "FIFO", os.SCHED_OTHER: "normal"}
    policy = os.sched_getscheduler(0)
    name = names.get(policy, str(policy))
    return f"{name} {os.sched_getparam(0).sched_priority}" if policy == os.SCHED_FIFO else name
