"""System 1's loop with a small policy: when it plans, from what, and what it refuses."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime import streams
from tandem.runtime.bus import LocalBus, ZmqBus, prepare_runtime_dir
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock, VirtualClock
from tandem.runtime.errors import ConfigError, DeviceError, WeightsError
from tandem.runtime.images import FrameBox
from tandem.runtime.interfaces import ActionSpec, CameraSpec, Observation, S1Spec
from tandem.runtime.messages import ActionChunk, Conditioning, RobotState, Task
from tandem.runtime.replan import still_to_run, why_plan
from tandem.runtime.s1 import S1Loop

DT_NS = 50 * NS_PER_MS
H, D = 16, 8
MAX_AGE_MS = 600.0


class SmallPolicy:
    """Counts up from where the arm is, one thousandth a step."""

    def __init__(self, **changes: Any) -> None:
        names = tuple(f"joint{k}" for k in range(D))
        fields = {"latent_id": "small", "max_age_ms": MAX_AGE_MS} | changes
        self.spec = S1Spec(ActionSpec(names), H, DT_NS, **fields)
        self.instructions: list[str] = []
        self.asked: list[tuple[Observation, Conditioning | None, np.ndarray]] = []
        self.fault: Exception | None = None
        self.actions: np.ndarray | None = None
        self.threads: set[str] = set()

    def reset(self, instruction: str) -> None:
        self.instructions.append(instruction)

    def step(
        self, obs: Observation, conditioning: Conditioning | None, committed: np.ndarray
    ) -> np.ndarray:
        self.threads.add(threading.current_thread().name)
        self.asked.append((obs, conditioning, committed))
        if self.fault:
            raise self.fault
        if self.actions is not None:
            return self.actions
        assert obs.state is not None
        start = np.append(obs.state.q_cmd, obs.state.gripper_cmd)
        return start + 0.001 * np.arange(1, H + 1)[:, None]


def state_at(t_ns: int, **changes: Any) -> RobotState:
    zero = np.zeros(D - 1)
    fields: dict[str, Any] = {"mode": "policy", "epoch": 1, "gripper_cmd": 1.0, "width_m": 0.08}
    fields |= dict.fromkeys(("q", "dq", "tau", "q_cmd", "dq_cmd", "ddq_cmd"), zero)
    return RobotState(t_ns=t_ns, valid=True, **(fields | changes))


def chunk_at(t0_ns: int, **changes: Any) -> ActionChunk:
    ramp = np.arange(1.0, H + 1)[:, None] * np.ones(D)
    fields = {"actions": ramp, "dt_ns": DT_NS, "epoch": 1, "instruction_id": 1}
    return ActionChunk(t0_ns=t0_ns, **(fields | changes))


def conditioning_at(now_ns: int, instruction_id: int, **changes: Any) -> Conditioning:
    fields: dict[str, Any] = {
        "latent": np.zeros((2, 3), np.float16),
        "latent_id": "small",
        "instruction_id": instruction_id,
        "t_capture_ns": now_ns - 60 * NS_PER_MS,
        "frame_seq": 5,
        "version": [],
        "age_frames": [],
        "gate": [],
        "refreshed": [],
    }
    return Conditioning(t_ns=now_ns, valid=True, **(fields | changes))


class Bench:
    """States at 100 Hz; conditioning when told; time in steps of a millisecond."""

    def __init__(
        self, delay_ns: int = 0, cameras: tuple[str, ...] = (), clock: Any = None, **changes: Any
    ) -> None:
        self.clock = clock or VirtualClock()
        self.policy = SmallPolicy(cameras=cameras, **changes)
        self.boxes = {c: FrameBox(CameraSpec(c, 2, 2, 30.0, 0)) for c in cameras}
        hub = LocalBus("s1")
        self.loop = S1Loop(self.policy, self.boxes, hub, self.clock, 4, delay_ns)
        self.tasks = hub.named("supervisor").publisher(streams.TASK)
        self.states = hub.named("executor").publisher(streams.STATE)
        self.minds = hub.named("s2").publisher(streams.CONDITIONING)
        self.chunks = hub.subscriber(streams.CHUNK, "s1", conflate=False)
        self.events = hub.subscriber(streams.EVENT, "s1")
        self.ticks = hub.subscriber(streams.TICK, "s1")
        self.state: dict[str, Any] | None = {}
        self.state_ns = self.said_ns = 0
        self.said_every_ns = 0  # 0: only when told
        self.instruction_id = 0

    def task(self, number: int, instruction: str = "pick") -> None:
        self.instruction_id = number
        self.tasks.send(Task(instruction=instruction, instruction_id=number, epoch=0, valid=True))

    def say(self, **changes: Any) -> None:
        now_ns = self.clock.now_ns()
        self.minds.send(
            conditioning_at(now_ns, **({"instruction_id": self.instruction_id} | changes))
        )

    def feed(self) -> None:
        now_ns = self.clock.now_ns()
        if self.state is not None and now_ns - self.state_ns >= 10 * NS_PER_MS:
            self.state_ns = now_ns
            self.states.send(state_at(now_ns, **self.state))
        if self.said_every_ns and now_ns - self.said_ns >= self.said_every_ns:
            self.said_ns = now_ns
            self.say()

    def run(self, seconds: float) -> list[ActionChunk]:
        end_ns = self.clock.now_ns() + round(seconds * NS_PER_S)
        while self.clock.now_ns() < end_ns:
            self.feed()
            self.loop.tick(self.clock.now_ns())
            self.clock.sleep_until(self.clock.now_ns() + NS_PER_MS)
        return self.chunks.poll()

    def kinds(self) -> list[str]:
        return [f"{e.level} {e.kind}" for e in self.events.poll()]


def engaged(**options: Any) -> Bench:
    bench = Bench(**options)
    bench.task(1)
    bench.say()
    return bench


def test_a_plan_needs_a_task_a_state_and_a_conditioning_of_that_task() -> None:
    bench = Bench()
    assert bench.run(0.1) == []
    bench.task(1)
    assert bench.run(0.1) == []
    bench.say(instruction_id=7)
    assert bench.run(0.1) == []
    bench.say()
    assert len(bench.run(0.1)) == 1
    assert bench.policy.instructions == ["pick"]
    assert bench.kinds() == []  # waiting for a peer is no fault

    silent = engaged()
    silent.state = None
    assert silent.run(0.1) == []


def test_a_chunk_carries_its_lineage() -> None:
    bench = engaged()
    bench.state = {"epoch": 9}
    chunk = bench.run(0.05)[0]
    obs, conditioning, _ = bench.policy.asked[0]
    assert obs.state is not None
    assert conditioning is not None
    assert chunk.t0_ns == obs.state.t_ns
    assert (chunk.dt_ns, chunk.epoch, chunk.instruction_id) == (DT_NS, 9, 1)
    assert chunk.conditioning_seq == conditioning.seq
    assert chunk.t_capture_ns == conditioning.t_capture_ns
    assert chunk.t_conditioning_ns == conditioning.t_ns
    assert chunk.actions.shape == (H, D)
    assert chunk.valid


def test_it_plans_again_every_four_steps() -> None:
    bench = engaged(max_age_ms=1e9)
    chunks = bench.run(2.0)
    spacing = np.diff([c.t0_ns for c in chunks])
    assert len(chunks) == 10
    assert np.all(spacing == 4 * DT_NS)


def test_it_plans_again_when_more_is_understood() -> None:
    bench = engaged()
    bench.said_every_ns = 100 * NS_PER_MS
    chunks = bench.run(2.0)
    assert 19 <= len(chunks) <= 21
    assert len({c.conditioning_seq for c in chunks}) == len(chunks)


def test_it_plans_again_at_once_in_a_new_epoch() -> None:
    bench = engaged(max_age_ms=1e9)
    bench.run(0.05)
    bench.state = {"epoch": 2}
    (chunk,) = bench.run(0.05)
    assert chunk.epoch == 2


def test_a_new_instruction_waits_for_its_own_conditioning() -> None:
    bench = engaged(max_age_ms=1e9)
    bench.run(0.05)
    bench.task(2, "put")
    assert bench.run(1.0) == []
    bench.say()
    (chunk,) = bench.run(0.05)
    assert chunk.instruction_id == 2
    assert bench.policy.instructions == ["pick", "put"]


def test_old_conditioning_ends_planning_and_is_said() -> None:
    bench = engaged()
    chunks = bench.run(3.0)
    horizon_ns = round(MAX_AGE_MS * NS_PER_MS)
    assert chunks
    assert all(c.t_ns - c.t_capture_ns <= horizon_ns for c in chunks)
    assert 2 <= bench.kinds().count("warn conditioning") <= 3
    bench.say()
    assert len(bench.run(0.05)) == 1
    assert "info conditioning" in bench.kinds()


def test_an_old_state_is_not_planned_from() -> None:
    bench = engaged(max_age_ms=1e9)
    bench.run(0.05)
    bench.state = None
    assert bench.run(1.0) == []


def test_another_system_2_stops_it() -> None:
    bench = engaged()
    bench.say(latent_id="other")
    with pytest.raises(WeightsError, match="trained on latents small, S2 sends other"):
        bench.run(0.05)
    with pytest.raises(WeightsError):
        S1Loop(SmallPolicy(), {}, LocalBus("s1"), VirtualClock(), 4, latent_id="other")


def test_in_lockstep_a_plan_takes_its_time_and_the_prediction_learns_it() -> None:
    bench = engaged(delay_ns=70 * NS_PER_MS, max_age_ms=1e9)
    assert bench.loop.predicted_delay_ns == DT_NS
    chunks = bench.run(3.0)
    assert all(70 <= (c.t_ns - c.t0_ns) / NS_PER_MS <= 80 for c in chunks)
    assert all(c.timings_ns["infer"] == 70 * NS_PER_MS for c in chunks)
    assert 70 <= bench.loop.predicted_delay_ns / NS_PER_MS <= 80


def test_what_is_committed_is_what_the_running_chunk_still_does() -> None:
    bench = engaged(delay_ns=70 * NS_PER_MS, max_age_ms=1e9)
    first = bench.run(0.1)[0]
    assert bench.policy.asked[0][2].shape == (0, D)
    bench.state = {"chunk_seq": first.seq}
    bench.run(0.3)
    obs, _, committed = bench.policy.asked[1]
    assert obs.state is not None
    assert committed.shape == (2, D)  # 70 to 80 ms: two steps
    passed = (obs.state.t_ns - first.t0_ns) / DT_NS
    expected = 0.001 * (passed + np.array([1.0, 2.0]))
    assert np.allclose(committed[:, 0], expected)


@pytest.mark.parametrize("state", [{"mode": "hold"}, {"chunk_seq": -1}, {"epoch": 2}])
def test_nothing_is_committed_where_nothing_runs(state: dict[str, Any]) -> None:
    bench = engaged(max_age_ms=1e9)
    bench.run(0.1)
    bench.state = {"chunk_seq": 0} | state
    bench.run(0.3)
    assert bench.policy.asked[-1][2].shape == (0, D)


def test_a_plan_of_an_epoch_that_is_over_is_not_sent() -> None:
    bench = engaged(delay_ns=70 * NS_PER_MS, max_age_ms=1e9)
    bench.run(0.03)
    bench.state = {"epoch": 2}
    chunks = bench.run(0.3)
    assert {c.epoch for c in chunks} == {2}
    bench.run(0.2)
    assert bench.ticks.poll()[-1].counters["outdated"] == 1


@pytest.mark.parametrize("fault", [DeviceError("the server is gone"), KeyError("a bug")])
def test_a_policy_that_fails_is_reported_and_recovers(
    fault: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = engaged(max_age_ms=1e9)
    bench.policy.fault = fault
    assert bench.run(2.5) == []
    assert 20 <= len(bench.policy.asked) <= 30  # it does not hammer what is broken
    assert 2 <= bench.kinds().count("error policy") <= 4
    assert ("Traceback" in capsys.readouterr().err) == isinstance(fault, KeyError)
    bench.policy.fault = None
    assert bench.run(0.2) != []
    assert "info policy" in bench.kinds()


@pytest.mark.parametrize("actions", [np.zeros((H, D - 1)), np.full((H, D), np.inf), [1, 2]])
def test_a_chunk_that_breaks_its_promise_is_not_sent(actions: Any) -> None:
    bench = engaged()
    bench.policy.actions = actions
    assert bench.run(0.3) == []
    assert "error policy" in bench.kinds()


def test_a_policy_without_a_system_2_plans_without_one() -> None:
    bench = Bench(latent_id=None)
    bench.task(1)
    chunks = bench.run(1.0)
    assert len(chunks) == 5
    assert (chunks[0].conditioning_seq, chunks[0].t_capture_ns) == (-1, 0)
    assert bench.policy.asked[0][1] is None


def test_a_policy_with_eyes_gets_fresh_frames() -> None:
    bench = engaged(cameras=("wrist",), max_age_ms=1e9)
    assert bench.run(0.1) == []
    assert bench.kinds() == ["warn camera"]
    captured_ns = bench.clock.now_ns() - NS_PER_MS
    bench.boxes["wrist"].put(np.full((2, 2, 3), 9, np.uint8), captured_ns)
    chunk = bench.run(0.05)[0]
    assert chunk.t_capture_ns == captured_ns
    assert bench.policy.asked[0][0].images["wrist"].image.max() == 9
    with pytest.raises(ConfigError, match="wrist"):
        S1Loop(bench.policy, {}, LocalBus("s1"), VirtualClock(), 4)


def test_peers_may_restart() -> None:
    bench = engaged(max_age_ms=1e9)
    bench.run(0.3)
    for stream in (bench.states, bench.minds):
        stream._outbox._seq = 0  # a new process counts from 0
    bench.state = {"epoch": 0}
    bench.say()
    chunks = bench.run(0.3)
    assert chunks
    assert chunks[-1].epoch == 0


def test_telemetry_tells_latencies_and_reasons() -> None:
    bench = engaged(delay_ns=30 * NS_PER_MS, max_age_ms=1e9)
    bench.run(1.0)
    ticks = bench.ticks.poll()
    infer = np.concatenate([t.samples_ns["infer"] for t in ticks if t.samples_ns])
    assert np.all(infer == 30 * NS_PER_MS)
    counters = ticks[-1].counters
    assert (counters["plan: epoch"], counters["plan: steps"]) == (1, 4)


# The pure parts.


def why(chunk: ActionChunk | None, t_ns: int, heard: bool = False, **changes: Any) -> str | None:
    task = Task(instruction="pick", instruction_id=1, epoch=0)
    return why_plan(chunk, state_at(t_ns, **changes), task, heard, 4 * DT_NS, DT_NS)


def test_why_to_plan() -> None:
    chunk = chunk_at(0)
    assert why(None, 0) == "epoch"
    assert why(chunk, 0, epoch=2) == "epoch"
    assert why(chunk_at(0, instruction_id=2), 0) == "instruction"
    assert why(chunk, 0, heard=True) == "conditioning"
    assert why(chunk, 0) is None
    assert why(chunk, 4 * DT_NS - 1) is None
    assert why(chunk, 4 * DT_NS) == "steps"
    short = chunk_at(0, actions=np.zeros((6, D)))
    assert why(short, DT_NS - 1) is None
    assert why(short, DT_NS) == "ending"


@given(st.integers(0, H * DT_NS), st.integers(0, 5 * DT_NS))
def test_still_to_run_lies_on_the_old_chunk(t_ns: int, delay_ns: int) -> None:
    committed = still_to_run(chunk_at(0), t_ns, delay_ns)
    assert committed.shape[1] == D
    assert len(committed) <= -(-delay_ns // DT_NS)
    times = (t_ns + DT_NS * np.arange(1, len(committed) + 1)) / DT_NS
    assert np.all(times <= H)
    assert np.allclose(committed[:, 0], np.maximum(times, 1))


def test_on_a_real_event_loop_the_policy_thinks_in_its_own_thread() -> None:
    bench = Bench(clock=MonotonicClock(), max_age_ms=1e9)
    bench.task(1)
    bench.say()

    async def story() -> None:
        stopping = asyncio.Event()
        serving = asyncio.create_task(bench.loop.serve(stopping))
        chunks: list[ActionChunk] = []
        while len(chunks) < 3:
            bench.feed()
            await asyncio.sleep(0.002)
            chunks += bench.chunks.poll()
        stopping.set()
        await asyncio.wait_for(serving, 5)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(story(), 30))
    assert bench.policy.threads == {"s1-policy"}


CHILD = """
import asyncio, sys
from pathlib import Path
import numpy as np
import uvloop
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import MonotonicClock
from tandem.runtime.interfaces import ActionSpec, S1Spec
from tandem.runtime.s1 import S1Loop

class Policy:
    spec = S1Spec(ActionSpec(("a", "b")), 4, 50_000_000, "small", 1e9)
    def reset(self, instruction): pass
    def step(self, obs, conditioning, committed): return np.zeros((4, 2))

loop = S1Loop(Policy(), {}, ZmqBus(Path(sys.argv[1]), "s1"), MonotonicClock(), 2)
async def main():
    await loop.serve(asyncio.Event())
uvloop.run(main())
"""


@pytest.mark.process
def test_a_real_process_starts_before_its_peers_and_outlives_them(tmp_path: Path) -> None:
    """1. S1 starts alone. 2. Peers come: chunks. 3. All peers die. 4. New ones come: chunks."""
    folder = prepare_runtime_dir(tmp_path / "run")

    def peers_see_chunks(epoch: int) -> None:
        with contextlib.ExitStack() as stack:
            executor, supervisor, s2 = (
                stack.enter_context(contextlib.closing(ZmqBus(folder, name)))
                for name in ("executor", "supervisor", "s2")
            )
            states, tasks = executor.publisher(streams.STATE), supervisor.publisher(streams.TASK)
            minds, chunks = (
                s2.publisher(streams.CONDITIONING),
                executor.subscriber(streams.CHUNK, "s1"),
            )
            end_s = time.monotonic() + 20
            while not any(c.epoch == epoch for c in chunks.poll()):
                assert time.monotonic() < end_s, "no chunk came"
                now_ns = time.monotonic_ns()
                states.send(state_at(now_ns, epoch=epoch))
                tasks.send(Task(instruction="pick", instruction_id=1, epoch=0, valid=True))
                minds.send(conditioning_at(now_ns, 1))
                time.sleep(0.01)

    with subprocess.Popen([sys.executable, "-c", CHILD, str(folder)]) as child:
        try:
            peers_see_chunks(1)
            peers_see_chunks(2)
            assert child.poll() is None
        finally:
            child.kill()
