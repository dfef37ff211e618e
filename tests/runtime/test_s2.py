"""System 2's loop with a small policy: in lockstep with invented time, and on a real event loop."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import uvloop
from tandem.runtime import streams
from tandem.runtime.bus import LocalBus
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock, VirtualClock
from tandem.runtime.errors import ConfigError, DeviceError, RefusedError
from tandem.runtime.images import FrameBox
from tandem.runtime.interfaces import CameraSpec, Observation, S2Spec
from tandem.runtime.messages import Conditioning, RobotState, Task
from tandem.runtime.s2 import S2Loop

FRONT = CameraSpec("front", 4, 4, 30.0, 10 * NS_PER_MS)


class SmallPolicy:
    """Says the brightness of what it sees; refreshes L2 every third frame; fails on demand."""

    def __init__(self, wants_state: bool = False) -> None:
        self.spec = S2Spec("small", (2, 3), ("front",), wants_state)
        self.instructions: list[str] = []
        self.frames = 0
        self.fault: Exception | None = None
        self.latent: np.ndarray | None = None
        self.states: list[RobotState | None] = []
        self.threads: set[str] = set()
        self.gate: Callable[[], Any] = lambda: None

    def reset(self, instruction: str) -> None:
        if instruction == "nonsense":
            raise RefusedError("that is not an instruction")
        self.instructions.append(instruction)

    def step(self, obs: Observation) -> Conditioning:
        self.threads.add(threading.current_thread().name)
        self.gate()
        if self.fault:
            raise self.fault
        self.frames += 1
        self.states.append(obs.state)
        bright = np.full((2, 3), obs.images["front"].image.mean(), np.float16)
        return Conditioning(
            latent=bright if self.latent is None else self.latent,
            latent_id="whatever",
            instruction_id=0,
            t_capture_ns=0,
            frame_seq=0,
            version=[0, self.frames // 3],
            age_frames=[self.frames, self.frames % 3],
            gate=[0.1, 0.2],
            refreshed=[False, self.frames % 3 == 0],
            timings_ns={"vision": 1000},
        )


def arm_state(t_ns: int) -> RobotState:
    """Its first joint is where its stamp is."""
    still = np.zeros(7)
    q = np.full(7, float(t_ns))
    return RobotState(
        t_ns=t_ns, valid=True, q=q, dq=still, tau=still, q_cmd=q, dq_cmd=still, ddq_cmd=still,
        gripper_cmd=1.0, width_m=0.08, mode="hold", epoch=0,
    )  # fmt: skip


class Bench:
    """Frames at 30 Hz with 15 ms latency, the loop at 10 Hz, time in steps of a millisecond."""

    def __init__(self, delay_ns: int = 0, clock: Any = None, wants_state: bool = False) -> None:
        self.clock = clock or VirtualClock()
        self.policy = SmallPolicy(wants_state)
        self.box = FrameBox(FRONT)
        hub = LocalBus("s2")
        self.loop = S2Loop(self.policy, {"front": self.box}, hub, self.clock, 10.0, delay_ns)
        self.tasks = hub.named("supervisor").publisher(streams.TASK)
        self.states = hub.named("executor").publisher(streams.STATE)
        self.telling = False
        self.said = hub.subscriber(streams.CONDITIONING, "s2", conflate=False)
        self.events = hub.subscriber(streams.EVENT, "s2")
        self.ticks = hub.subscriber(streams.TICK, "s2")
        self.filming = True
        self.frame_ns = 0

    def task(self, number: int, instruction: str = "pick") -> None:
        self.tasks.send(
            Task(instruction=instruction, instruction_id=number, epoch=0, t_ns=1, valid=True)
        )

    def film(self) -> None:
        now_ns = self.clock.now_ns()
        if self.filming and now_ns - self.frame_ns >= NS_PER_S // 30:
            self.frame_ns = now_ns
            image = np.full((4, 4, 3), 7, np.uint8)
            self.box.put(image, now_ns - 15 * NS_PER_MS)

    def run(self, seconds: float) -> list[Conditioning]:
        end_ns = self.clock.now_ns() + round(seconds * NS_PER_S)
        while self.clock.now_ns() < end_ns:
            self.film()
            if self.telling:
                self.states.send(arm_state(self.clock.now_ns() - 2 * NS_PER_MS))
            self.loop.tick(self.clock.now_ns())
            self.clock.sleep_until(self.clock.now_ns() + NS_PER_MS)
        return self.said.poll()

    def kinds(self) -> list[str]:
        return [f"{e.level} {e.kind}" for e in self.events.poll()]


def test_nothing_is_said_before_there_is_something_to_do() -> None:
    bench = Bench()
    assert bench.run(0.5) == []
    bench.task(0, "")
    assert bench.run(0.5) == []
    assert bench.policy.frames == 0
    assert bench.kinds() == []


def test_conditioning_on_the_grid_with_its_lineage() -> None:
    bench = Bench()
    bench.task(3)
    said = bench.run(1.0)
    assert 10 <= len(said) <= 11
    assert np.all(np.diff([c.t_ns for c in said]) == 100 * NS_PER_MS)
    assert [c.seq for c in said] == list(range(len(said)))
    for c in said:
        assert (c.valid, c.instruction_id, c.latent_id) == (True, 3, "small")
        assert 15 * NS_PER_MS <= c.t_ns - c.t_capture_ns <= 50 * NS_PER_MS
        assert c.timings_ns["wait"] == c.t_ns - c.t_capture_ns
        assert c.timings_ns["vision"] == 1000
        assert np.all(c.latent == 7)
    assert np.all(np.abs(np.diff([c.frame_seq for c in said]) - 3) <= 1)
    assert bench.policy.instructions == ["pick"]


def test_in_lockstep_a_thought_takes_its_time() -> None:
    bench = Bench(delay_ns=40 * NS_PER_MS)
    bench.task(1)
    said = bench.run(1.0)
    assert len(said) == 10
    assert all(c.timings_ns["step"] == 40 * NS_PER_MS for c in said)
    assert all(c.t_ns - c.t_capture_ns >= 55 * NS_PER_MS for c in said)


def test_a_thought_longer_than_the_period_skips_ticks_and_counts_them() -> None:
    bench = Bench(delay_ns=250 * NS_PER_MS)
    bench.task(1)
    said = bench.run(3.0)
    assert 9 <= len(said) <= 11
    bench.run(0.2)
    assert bench.ticks.poll()[-1].missed >= 14


def test_a_new_instruction_resets_the_policy_and_an_old_one_does_not() -> None:
    bench = Bench()
    bench.task(1)
    bench.run(0.3)
    bench.task(1)  # latched: said again
    bench.run(0.3)
    bench.task(2, "put")
    said = bench.run(0.3)
    assert bench.policy.instructions == ["pick", "put"]
    assert {c.instruction_id for c in said} == {2}


def test_the_same_words_again_are_a_new_instruction() -> None:
    bench = Bench()
    bench.task(1)
    bench.run(0.2)
    bench.task(2)
    bench.run(0.2)
    assert bench.policy.instructions == ["pick", "pick"]


def test_old_frames_say_nothing_but_an_event() -> None:
    bench = Bench()
    bench.task(1)
    bench.run(0.5)
    bench.kinds()
    bench.filming = False
    bench.run(0.3)
    assert bench.run(1.9) == []
    kinds = bench.kinds()
    assert 2 <= kinds.count("warn camera") <= 3
    bench.filming = True
    assert len(bench.run(0.5)) >= 4
    assert "info camera" in bench.kinds()


def test_who_wants_the_state_is_told_the_newest_and_waits_without() -> None:
    bench = Bench(wants_state=True)
    bench.task(1)
    assert bench.run(1.5) == []  # pictures alone are not enough
    complaints = [e.text for e in bench.events.poll()]
    assert len(complaints) == 2
    assert "S2 waits: its policy needs the arm's state" in complaints[0]
    bench.telling = True
    said = bench.run(1.0)
    assert len(said) >= 9
    assert [c.t_state_ns for c in said] == [c.t_ns - 2 * NS_PER_MS for c in said]
    told = [state for state in bench.policy.states if state is not None]
    assert [state.q[0] for state in told] == [c.t_state_ns for c in said]
    assert bench.kinds()[0] == "info state"
    bench.telling = False
    bench.run(0.2)
    assert bench.run(1.9) == []
    texts = [e.text for e in bench.events.poll() if e.level == "warn"]
    assert texts
    assert all("at most 50 ms are accepted" in text for text in texts)
    bench.telling = True
    assert len(bench.run(0.5)) >= 4


def test_who_does_not_want_the_state_never_sees_one() -> None:
    bench = Bench()
    bench.task(1)
    bench.telling = True
    said = bench.run(0.5)
    assert said
    assert {c.t_state_ns for c in said} == {0}
    assert set(bench.policy.states) == {None}


def test_no_frame_at_all_is_said_too() -> None:
    bench = Bench()
    bench.filming = False
    bench.task(1)
    bench.run(0.2)
    assert bench.kinds() == ["warn camera"]


def test_no_frame_is_thought_about_twice() -> None:
    bench = Bench()
    bench.task(1)
    bench.run(0.2)
    bench.filming = False
    frames = bench.policy.frames
    bench.run(0.1)  # the last frame is still young
    assert bench.policy.frames <= frames + 1


@pytest.mark.parametrize("fault", [DeviceError("the GPU is gone"), ZeroDivisionError("a bug")])
def test_a_policy_that_fails_is_reported_and_recovers(
    fault: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench()
    bench.task(1)
    bench.run(0.3)
    bench.kinds()
    bench.policy.fault = fault
    assert bench.run(2.5) == []
    kinds = bench.kinds()
    assert 2 <= kinds.count("error policy") <= 4
    assert ("Traceback" in capsys.readouterr().err) == isinstance(fault, ZeroDivisionError)
    bench.policy.fault = None
    assert len(bench.run(0.5)) >= 4
    assert bench.kinds()[0] == "info policy"


def test_an_instruction_that_is_refused_is_said() -> None:
    bench = Bench()
    bench.task(1, "nonsense")
    assert bench.run(0.5) == []
    assert bench.kinds() == ["error refused"]
    bench.task(2, "pick")
    assert bench.run(0.5) != []
    assert bench.kinds()[0] == "info refused"


@pytest.mark.parametrize(
    "latent",
    [np.zeros((3, 2), np.float16), np.zeros((2, 3)), np.full((2, 3), np.nan, np.float16)],
)
def test_a_latent_that_breaks_its_promise_is_not_sent(latent: np.ndarray) -> None:
    bench = Bench()
    bench.policy.latent = latent
    bench.task(1)
    assert bench.run(0.3) == []
    assert "error policy" in bench.kinds()


def test_refreshes_are_events() -> None:
    bench = Bench()
    bench.task(1)
    bench.run(1.05)
    refreshes = [e for e in bench.events.poll() if e.kind == "refresh"]
    assert [e.data["levels"] for e in refreshes] == [[2]] * 3
    assert [e.data["version"] for e in refreshes] == [[0, 1], [0, 2], [0, 3]]


def test_telemetry_tells_latencies() -> None:
    bench = Bench(delay_ns=20 * NS_PER_MS)
    bench.task(1)
    bench.run(2.0)
    ticks = bench.ticks.poll()
    total = np.concatenate([t.samples_ns["capture_to_conditioning"] for t in ticks if t.samples_ns])
    assert len(total) >= 18
    assert np.all(total >= 35 * NS_PER_MS)
    assert ticks[-1].counters["refresh L2"] >= 5
    assert ticks[-1].rate_hz == 10.0


def test_a_camera_that_does_not_exist_stops_the_start() -> None:
    box = FrameBox(CameraSpec("side", 4, 4, 30.0, 0))
    with pytest.raises(ConfigError, match=r"front.*configured are side"):
        S2Loop(SmallPolicy(), {"side": box}, LocalBus("s2"), VirtualClock(), 10.0)


def test_on_a_real_event_loop_the_policy_thinks_in_its_own_thread() -> None:
    bench = Bench(clock=MonotonicClock())
    entered, release = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        assert release.wait(10)

    bench.policy.gate = wait
    bench.task(1)

    async def story() -> None:
        stopping = asyncio.Event()
        serving = asyncio.create_task(bench.loop.serve(stopping))
        while not entered.is_set():
            bench.film()
            await asyncio.sleep(0.005)
        beats = 0
        while beats < 5:  # the policy is busy, the loop is not: telemetry goes on
            await asyncio.sleep(0.02)
            beats += len(bench.ticks.poll())
        assert bench.said.poll() == []
        release.set()
        said = []
        while len(said) < 3:
            bench.film()
            await asyncio.sleep(0.005)
            said += bench.said.poll()
        assert [c.instruction_id for c in said[:3]] == [1, 1, 1]
        stopping.set()
        await asyncio.wait_for(serving, 5)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(story(), 30))
    assert bench.policy.threads == {"s2-policy"}
