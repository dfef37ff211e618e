"""A recorder process of its own, and the sockets and rings of a daemon for it to hear and see."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zmq
from tandem.runtime import config, streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.images import ImageRing
from tandem.runtime.interfaces import CameraSpec
from tandem.runtime.messages import ActionChunk, Conditioning, Message, RobotState, Task

SIZE = (64, 48)
D = 7


class Rig:
    """`say(stream, message)` as its sender would; `close()` leaves nothing behind."""

    def __init__(self, tmp_path: Path, *overrides: str, file_limit: int | None = None) -> None:
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="tandem-rec-", dir="/dev/shm"))
        camera = f"cameras={{front: {{driver: 'none:none', size: {list(SIZE)}}}}}"
        here = f"runtime_dir={self.runtime_dir}"
        settings = config.load("fake", [camera, here, *overrides])
        config.save(settings, self.runtime_dir / "config.yaml")
        self.folder = tmp_path / "recording"
        senders = {
            streams.STATE: "executor",
            streams.CHUNK: "s1",
            streams.CONDITIONING: "s2",
            streams.TASK: "supervisor",
        }
        self._buses = {name: ZmqBus(self.runtime_dir, name) for name in senders.values()}
        self._out = {s: self._buses[name].publisher(s) for s, name in senders.items()}
        self.events = self._buses["supervisor"].subscriber(streams.EVENT, "recorder")
        self.ticks = self._buses["supervisor"].subscriber(streams.TICK, "recorder")
        spec = CameraSpec("front", SIZE[1], SIZE[0], 30.0, 0)
        self.ring = ImageRing.of(self.runtime_dir, spec).writer()
        ports = (*self._out.values(), self.events, self.ticks)
        found = zmq.EVENT_HANDSHAKE_SUCCEEDED
        lines = [port._socket.get_monitor_socket(found) for port in ports]
        argv = ["-m", "tandem.tools.record.main", str(self.runtime_dir / "config.yaml")]
        self.process = subprocess.Popen(
            [sys.executable, *argv, str(self.folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=_limited(file_limit),
        )
        self.until(self._hears)
        self.until(lambda: all(line.poll(0) for line in lines))  # what is said now is heard
        self.counters: dict[str, int] = {}

    def say(self, stream: streams.Stream, message: Message) -> int:
        return self._out[stream].send(message)

    def until(self, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        deadline_s = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline_s
            assert self.process.poll() is None, self.process.stderr.read().decode()
            time.sleep(0.02)

    def recorded(self, name: str) -> int:
        """What the recorder says of itself."""
        for tick in self.ticks.poll():
            self.counters = tick.counters
        return self.counters.get(name, 0)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        for bus in self._buses.values():
            bus.close()
        shutil.rmtree(self.runtime_dir)

    def _hears(self) -> bool:
        """States are the one stream whose beginning may be missed."""
        self.say(streams.STATE, state())
        return any(tick.counters.get("recorded_state", 0) for tick in self.ticks.poll())


def _limited(file_bytes: int | None) -> Callable[[], None] | None:
    if file_bytes is None:
        return None
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def state(**fields: object) -> RobotState:
    zero = np.zeros(D)
    known = {"q": zero, "dq": zero, "tau": zero, "q_cmd": zero, "dq_cmd": zero, "ddq_cmd": zero}
    known |= {"gripper_cmd": 1.0, "width_m": 0.08, "mode": "hold", "epoch": 1}
    known |= {"t_ns": time.monotonic_ns(), "valid": True}
    return RobotState(**(known | fields))


def chunk(**fields: object) -> ActionChunk:
    now_ns = time.monotonic_ns()
    known = {"actions": np.zeros((16, D + 1)), "t0_ns": now_ns, "dt_ns": 50_000_000, "epoch": 1}
    known |= {"instruction_id": 1, "t_ns": now_ns, "valid": True}
    return ActionChunk(**(known | fields))


def conditioning(latent: np.ndarray | None = None) -> Conditioning:
    latent = np.zeros((4, 8), np.float16) if latent is None else latent
    now_ns = time.monotonic_ns()
    about = {"version": [1], "age_frames": [0], "gate": [0.1], "refreshed": [False]}
    return Conditioning(
        latent=latent,
        latent_id="x",
        instruction_id=1,
        t_capture_ns=now_ns,
        frame_seq=0,
        t_ns=now_ns,
        valid=True,
        **about,
    )


def task() -> Task:
    now_ns = time.monotonic_ns()
    return Task(instruction="move", instruction_id=1, epoch=0, t_ns=now_ns, valid=True)


def noise(n_bytes: int) -> np.ndarray:
    """[1, n] float16 that no compressor makes smaller."""
    return np.frombuffer(os.urandom(n_bytes), np.float16).reshape(1, -1)
