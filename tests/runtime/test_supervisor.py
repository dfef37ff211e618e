"""The supervisor with real children over real sockets: who dies, who comes back, what is left."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus, request
from tandem.runtime.children import Spec
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import DeviceTimeoutError, RefusedError, TandemError
from tandem.runtime.folder import RuntimeFolder, running
from tandem.runtime.lifeline import HEARTBEAT, Lifeline
from tandem.runtime.messages import Reply, Request
from tandem.runtime.supervisor import Supervisor

pytestmark = pytest.mark.process
FAKE = Path(__file__).parent / "fakes" / "fake_child.py"
DAEMON = Path(__file__).parent / "fakes" / "fake_daemon.py"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A short path (sockets), on the same file system as the real ones."""
    path = Path("/dev/shm") / f"tandem-test-{os.getpid()}-{random.randrange(10**6)}"
    yield path / "robot"
    assert not (path / "robot").exists(), "the runtime folder was left behind"
    path.rmdir()


def spec(folder: Path, role: str, behaviour: str = "good", **more: object) -> Spec:
    argv = (sys.executable, str(FAKE), str(folder), role, behaviour)
    return Spec(role, argv, **{"ready_timeout_s": 30.0, "end_timeout_s": 1.0, **more})


class Running:
    """A supervisor in this process's event loop, with what it said.

    `silent_ns`: long, where silence is not what it is about, or a starved child is killed.
    """

    def __init__(self, folder: Path, *stages: list[Spec], silent_ns: int = 30 * NS_PER_S) -> None:
        self.said: list[str] = []
        self.supervisor = Supervisor(
            RuntimeFolder(folder, "robot", "test.yaml"), stages, self.said.append, silent_ns
        )

    async def __aenter__(self) -> "Running":
        self.task = asyncio.create_task(self.supervisor.run())
        ready = asyncio.create_task(self.supervisor.ready.wait())
        await asyncio.wait({self.task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self.task.done():
            self.task.result()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.supervisor.request_stop()
        await asyncio.wait_for(self.task, 30)

    def pid(self, role: str) -> int | None:
        return self.supervisor.processes.by_role[role].pid

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "\n".join(self.said)
            await asyncio.sleep(0.02)

    async def go(self) -> None:
        """Engage, once the executor has been heard."""
        await self.until(lambda: self.supervisor.state is not None)
        reply = await insisted(lambda: self.supervisor.go("pick up the red cube"))
        assert reply.ok, reply.text


async def insisted(ask: Callable[[], Awaitable[Reply]]) -> Reply:
    """The answer; asked again for a while where a starved executor or supervisor was too late."""
    for _ in range(10):
        reply = await ask()
        if "ask again" not in reply.text:
            break
    return reply


def is_alive(pid: int | None) -> bool:
    try:
        return pid is not None and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_starts_in_order_and_ends_all(folder: Path) -> None:
    async def story() -> list[int | None]:
        async with Running(folder, [spec(folder, "sim")], [spec(folder, "executor")]) as it:
            pids = [it.pid("sim"), it.pid("executor")]
            assert all(map(is_alive, pids))
            assert it.said[0].startswith("sim ready")
            assert "nothing, this is a fake" in it.said[1]
            assert {d.holder.pid for d in running(folder.parent)} == {os.getpid()}
        return pids

    assert not any(map(is_alive, asyncio.run(story())))


def test_a_child_that_says_why_it_cannot_start_is_quoted(folder: Path) -> None:
    async def story() -> None:
        async with Running(folder, [spec(folder, "sim"), spec(folder, "s2", "failing")]):
            pass

    with pytest.raises(TandemError, match="s2 cannot start: no such weights; train them"):
        asyncio.run(story())


def test_a_child_that_crashes_while_starting_shows_its_last_words(folder: Path) -> None:
    async def story() -> None:
        async with Running(folder, [spec(folder, "s2", "crashing")]):
            pass

    with pytest.raises(
        TandemError, match=r"(?s)s2 ended while starting.*SIGABRT.*s2\| s2 crashing"
    ):
        asyncio.run(story())


def test_a_child_that_is_never_ready_is_given_up(folder: Path) -> None:
    async def story() -> None:
        async with Running(folder, [spec(folder, "camera", "late", ready_timeout_s=0.7)]):
            pass

    with pytest.raises(DeviceTimeoutError, match=r"camera was not ready after 0\.7 s"):
        asyncio.run(story())


def test_a_dead_child_comes_back(folder: Path) -> None:
    async def story() -> None:
        async with Running(folder, [spec(folder, "s1")]) as it:
            old = it.pid("s1")
            os.kill(old, signal.SIGKILL)
            await it.until(lambda: it.pid("s1") not in (None, old))
            await it.until(lambda: any("runs again" in line for line in it.said))
            assert any("s1 died (signal SIGKILL)" in line for line in it.said)

    asyncio.run(story())


def test_a_dead_plant_takes_along_those_that_hold_its_memory(folder: Path) -> None:
    async def story() -> None:
        stages = ([spec(folder, "sim", takes_along=("executor",))], [spec(folder, "executor")])
        async with Running(folder, *stages) as it:
            old = it.pid("sim"), it.pid("executor")
            os.kill(old[0], signal.SIGKILL)
            await it.until(lambda: any("sim runs again" in line for line in it.said))
            assert is_alive(it.pid("sim"))
            assert is_alive(it.pid("executor"))
            assert it.pid("executor") != old[1]

    asyncio.run(story())


def test_a_silent_executor_is_killed_and_comes_back_in_hold(folder: Path) -> None:
    async def story() -> None:
        async with Running(folder, [spec(folder, "executor")], silent_ns=3 * NS_PER_S) as it:
            await it.go()
            await it.until(lambda: it.supervisor.state.mode == "policy")
            old = it.pid("executor")
            os.kill(old, signal.SIGSTOP)
            await it.until(lambda: any("silent for" in line for line in it.said))
            await it.until(lambda: it.pid("executor") not in (None, old))
            await it.until(lambda: it.supervisor.state.mode == "hold")

    asyncio.run(story())


def test_an_executor_whose_messages_are_late_is_not_taken_for_a_silent_one(folder: Path) -> None:
    """Its loop answers heartbeats, though nothing that it publishes arrives."""

    async def story() -> None:
        mute = spec(folder, "executor", "mute")
        async with Running(folder, [mute], silent_ns=3 * NS_PER_S) as it:
            old = it.pid("executor")
            await asyncio.sleep(6.0)  # longer than a first word and silence may take together
            assert it.pid("executor") == old
            assert not any("silent for" in line for line in it.said)

    asyncio.run(story())


def test_requests_from_another_terminal(folder: Path) -> None:
    def ask(verb: str, text: str = "") -> Awaitable[Reply]:
        def once() -> Awaitable[Reply]:
            question = Request(verb=verb, text=text)
            return asyncio.to_thread(request, folder, "supervisor", question, 10 * NS_PER_S)

        return insisted(once)

    async def story() -> None:
        async with Running(folder, [spec(folder, "executor")]) as it:
            await it.until(lambda: it.supervisor.state is not None)
            refused = await ask("go")
            assert not refused.ok
            assert "nothing to do yet" in refused.text
            reply = await ask("go", "put the blue cube into the bin")
            assert reply.ok
            number = reply.data["instruction_id"]
            assert number >= 1
            await it.until(lambda: it.supervisor.state.mode == "policy")
            status = (await ask("status")).data
            assert status["instruction"] == "put the blue cube into the bin"
            assert status["instruction_id"] == number
            assert status["mode"] == "policy"
            assert status["children"]["executor"]["state"] == "ready"
            assert (await ask("hold")).text == "hold it is"
            assert (await ask("stop")).ok
            await asyncio.wait_for(it.task, 10)

    asyncio.run(story())


def test_go_is_refused_while_a_part_is_missing(folder: Path) -> None:
    async def story() -> None:
        async with Running(folder, [spec(folder, "executor"), spec(folder, "s1")]) as it:
            os.kill(it.pid("s1"), signal.SIGKILL)
            await it.until(lambda: it.pid("s1") is None)
            reply = await it.supervisor.go("pick up the red cube")
            assert not reply.ok
            assert "not running yet: s1" in reply.text

    asyncio.run(story())


def test_a_second_daemon_is_refused_and_names_the_first(folder: Path) -> None:
    first = RuntimeFolder(folder, "cell_a", "a.yaml")
    with pytest.raises(RefusedError, match=f"cell_a already runs as process {os.getpid()}"):
        RuntimeFolder(folder, "cell_a", "a.yaml")
    first.remove()
    RuntimeFolder(folder, "cell_a", "a.yaml").remove()


def test_stopping_brakes_first(folder: Path) -> None:
    """A moving executor is asked to stop and gets to idle before anything is ended."""

    async def story() -> list[str]:
        modes: list[str] = []
        async with Running(folder, [spec(folder, "executor")]) as it:
            with contextlib.closing(ZmqBus(folder, "watcher")) as bus:
                states = bus.subscriber(streams.STATE, "executor", conflate=False)
                await it.go()
                await it.until(states.poll)
                await it.until(lambda: it.supervisor.state.mode == "policy")
                it.supervisor.request_stop()
                while not it.task.done():
                    modes += [state.mode for state in states.poll()]
                    await asyncio.sleep(0.01)
                modes += [state.mode for state in states.poll()]
        return modes

    modes = asyncio.run(story())
    assert "stopping" in modes
    assert modes[-1] == "idle"


def test_what_is_not_essential_is_neither_waited_for_nor_restarted(folder: Path) -> None:
    async def story() -> None:
        stages = (
            [spec(folder, "executor")],
            [spec(folder, "video", essential=False)],
            [spec(folder, "viewer", "failing", essential=False)],
        )
        async with Running(folder, *stages) as it:
            assert any("going on without viewer" in line for line in it.said)
            os.kill(it.pid("video"), signal.SIGKILL)
            await it.until(lambda: any("video died" in line for line in it.said))
            await it.go()
            assert it.supervisor.processes.by_role["video"].starts == 1

    asyncio.run(story())


def test_systemd_hears_when_it_is_ready_alive_and_ending(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real protocol: datagrams to a socket that systemd names in the environment."""
    folder.parent.mkdir(mode=0o700)
    address = folder.parent / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")

        heard: list[tuple[str, float]] = []

        def fed_in_time() -> bool:
            """Three times within half a second, once: a starved supervisor is late."""
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append((systemd.recv(1000).decode(), time.monotonic()))
            fed_s = [t_s for words, t_s in heard if words.startswith("WATCHDOG=1\n")]
            return any(last - first < 0.5 for first, last in zip(fed_s, fed_s[2:], strict=False))

        async def story() -> None:
            async with Running(folder, [spec(folder, "executor")]) as it:
                await it.until(fed_in_time)

        asyncio.run(story())
        fed_in_time()
    address.unlink()
    assert heard[0][0].startswith("READY=1\n")
    assert "STOPPING=1" in [words for words, _ in heard]


def test_a_frozen_supervisor_is_noticed_by_its_silence() -> None:
    """The lifeline counts from the last heartbeat; a cut line is silence without end."""
    ours, theirs = socket.socketpair()
    line = Lifeline(theirs.detach())
    assert line.silence_ns(1_000) == 0  # not counted before the first heartbeat
    ours.send(HEARTBEAT)
    assert line.silence_ns(2_000) == 0
    assert ours.recv(16) == HEARTBEAT  # sent back by whoever asked
    assert line.silence_ns(5_000) == 3_000
    ours.send(HEARTBEAT * 3)
    assert line.silence_ns(6_000) == 0
    ours.close()
    assert line.silence_ns(7_000) > 1 << 60
    line.ready({})  # nobody hears it, and nothing happens
    line.close()
    assert Lifeline(None).silence_ns(1) == 0


def start_daemon(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DAEMON), str(folder), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ours(folder: Path) -> list[int]:
    """Processes with this folder on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in entry.read_bytes() and is_alive(int(entry.parent.name)):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_at_random_moments_leaves_nothing_behind(folder: Path, signals: int) -> None:
    """While children start, while serving, while ending: one Ctrl-C or two."""
    chance = random.Random(signals)
    for latest_s in (0.1, 0.5, 1.5):
        daemon = start_daemon(folder)
        while not ours(folder)[1:]:
            assert daemon.poll() is None
            time.sleep(0.01)
        time.sleep(chance.uniform(0, latest_s))
        for _ in range(signals):
            daemon.send_signal(signal.SIGINT)
            time.sleep(chance.uniform(0, 0.2))
        out, _ = daemon.communicate(timeout=30)
        assert "Traceback" not in out, out
        assert ours(folder) == [], out
        assert not folder.exists(), out


def test_a_killed_daemon_takes_its_children_along_and_the_next_one_starts(folder: Path) -> None:
    daemon = start_daemon(folder)
    deadline = time.monotonic() + 20
    while len(ours(folder)) < 3 or not running(folder.parent):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    daemon.kill()
    daemon.communicate()
    deadline = time.monotonic() + 20
    while ours(folder):
        assert time.monotonic() < deadline, "children outlive their killed supervisor"
        time.sleep(0.05)
    assert folder.exists()  # what kill -9 leaves, the next daemon clears
    assert running(folder.parent) == []
    RuntimeFolder(folder, "robot", "test.yaml").remove()
