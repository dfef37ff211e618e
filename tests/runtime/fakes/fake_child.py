"""A child process with manners on demand: `python fake_child.py FOLDER ROLE BEHAVIOUR`.

Behaviours: good, late (never ready), failing (says why), crashing (dies before it is ready),
deaf (ignores SIGTERM). An `executor` also publishes states and answers requests, over the real bus.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.lifeline import Lifeline
from tandem.runtime.messages import Reply, RobotState

_ALONE_NS = 30_000_000_000  # a supervisor that is starved for a while is no reason to leave


def state(mode: str, epoch: int) -> RobotState:
    seven = np.zeros(7)
    return RobotState(
        q=seven,
        dq=seven,
        tau=seven,
        q_cmd=seven,
        dq_cmd=seven,
        ddq_cmd=seven,
        gripper_cmd=0.0,
        width_m=0.0,
        mode=mode,
        epoch=epoch,
        t_ns=time.monotonic_ns(),
        valid=True,
    )


def executor(folder: Path, line: Lifeline, ending: list[int], mute: bool) -> None:
    """Publishes its mode at 100 Hz: hold, after go policy, after stop stopping, then idle."""
    bus = ZmqBus(folder, "executor")
    states, server = bus.publisher(streams.STATE), bus.server("executor")
    stopper = bus.server("executor-stop")
    mode, epoch, rest_s = "hold", 0, float("inf")
    line.ready({"granted": "nothing, this is a fake"})
    while not ending and line.silence_ns(time.monotonic_ns()) < _ALONE_NS:
        question = server.poll()
        if question is not None:
            epoch += 1
            mode = {"go": "policy", "hold": "hold"}.get(question.verb, mode)
            server.reply(Reply(ok=True, text=f"{question.verb} it is", valid=True))
        if time.monotonic() > rest_s:
            mode = "idle"
        if stopper.poll() is not None:
            stopper.reply(Reply(ok=True, valid=True))
            mode, rest_s = "stopping", time.monotonic() + 0.3
        if not mute:
            states.send(state(mode, epoch))
        time.sleep(0.01)
    bus.close()


def main() -> int:
    folder, role, behaviour = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    ending: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM,
        signal.SIG_IGN if behaviour == "deaf" else lambda number, _: ending.append(number),
    )
    line = Lifeline.from_environment()
    print(f"{role} {behaviour}", flush=True)
    if behaviour == "late":
        time.sleep(60)
    if behaviour == "failing":
        line.failed("no such weights; train them")
        return 1
    if behaviour == "crashing":
        os.abort()
    if role == "executor":
        executor(folder, line, ending, behaviour == "mute")
        return 0
    line.ready({})
    while not ending and line.silence_ns(time.monotonic_ns()) < _ALONE_NS:
        time.sleep(0.01)
    return 0


if __name__ == "__main__":
    sys.exit(main())
