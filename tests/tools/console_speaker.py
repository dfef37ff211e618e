"""A daemon's voice without its body: holds the robot's folder and says what a known run would say.

Run as a process: `python console_speaker.py FOLDER NAME`; speaks until it is killed.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_MS, NS_PER_US
from tandem.runtime.folder import RuntimeFolder
from tandem.runtime.messages import ActionChunk, Conditioning, Event, RobotState, Task, Tick

RATE_HZ = 1000.0
BATCH = 100  # ticks in a tenth of a second
# Every batch is the same, so that every window of it has the same quantiles.
LATENESS_NS = np.arange(1, BATCH + 1) * 3 * NS_PER_US
WORK_NS = np.arange(1, BATCH + 1)[::-1] * 2 * NS_PER_US
PIECES_NS = {"camera_s2": 90, "s2_s1": 4, "s1": 6, "s1_executor": 3, "camera_command": 104}
GATE = [0.25, 0.75]


def tick(number: int, t_ns: int) -> Tick:
    """The executor's batch `number`."""
    one = np.ones(1, np.int64) * NS_PER_MS
    return Tick(
        seq=number,
        t_ns=t_ns,
        valid=True,
        source="executor",
        rate_hz=RATE_HZ,
        lateness_ns=LATENESS_NS.copy(),
        work_ns=WORK_NS.copy(),
        missed=number // 10,
        counters={"chunks_joined": number, "chunks_late": 3, "chunks_dead": 0},
        gauges={"seam_sent_q_rad": 0.002, "seam_sent_dq_rad_s": 0.01, "seam_sent_ddq_rad_s2": 1.0},
        samples_ns={name: one * ms for name, ms in PIECES_NS.items()},
    )


def state(t_ns: int, **changes: object) -> RobotState:
    zero = np.zeros(7)
    fields: dict = {
        "mode": "policy",
        "epoch": 4,
        "pace": 1.0,
        "t_capture_ns": t_ns - 150 * NS_PER_MS,
    }
    rows = dict.fromkeys(("q", "dq", "tau", "q_cmd", "dq_cmd", "ddq_cmd"), zero)
    values = rows | {"gripper_cmd": 1.0, "width_m": 0.08} | fields | changes
    return RobotState(t_ns=t_ns, valid=True, **values)


def conditioning(number: int, t_ns: int) -> Conditioning:
    return Conditioning(
        seq=number,
        t_ns=t_ns,
        valid=True,
        latent=np.zeros((4, 8), np.float16),
        latent_id="x",
        instruction_id=1,
        t_capture_ns=t_ns - 90 * NS_PER_MS,
        frame_seq=number,
        version=[1, 3],
        age_frames=[7, 2],
        gate=GATE,
        refreshed=[False, number % 2 == 0],
        macs=40,
        macs_full=100,
    )


def main(folder: Path, name: str) -> None:
    held = RuntimeFolder(folder, name, "known")
    bus, s2 = ZmqBus(folder, "executor"), ZmqBus(folder, "s2")
    s1, supervisor = ZmqBus(folder, "s1"), ZmqBus(folder, "supervisor")
    ticks, states = bus.publisher(streams.TICK), bus.publisher(streams.STATE)
    events, said = bus.publisher(streams.EVENT), s2.publisher(streams.CONDITIONING)
    chunks, tasks = s1.publisher(streams.CHUNK), supervisor.publisher(streams.TASK)
    held.record({"executor": os.getpid()})
    number = 0
    while True:
        now_ns = time.monotonic_ns()
        ticks.send(tick(number, now_ns))
        states.send(state(now_ns))
        said.send(conditioning(number, now_ns))
        chunks.send(chunk(now_ns))
        tasks.send(Task(t_ns=now_ns, valid=True, instruction="sort", instruction_id=1, epoch=4))
        text = f"number {number}"
        event = Event(t_ns=now_ns, valid=True, source="executor", level="warn", kind="x", text=text)
        events.send(event)
        number += 1
        time.sleep(BATCH / RATE_HZ)


def chunk(t_ns: int) -> ActionChunk:
    times = {"t0_ns": t_ns, "dt_ns": 50 * NS_PER_MS, "timings_ns": {"infer": 6 * NS_PER_MS}}
    return ActionChunk(
        t_ns=t_ns, valid=True, actions=np.zeros((16, 8)), epoch=4, instruction_id=1, **times
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
