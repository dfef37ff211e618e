"""System 2's loop: newest frames → policy → Conditioning, on a grid of a few hertz.

A policy that wants the robot's state is given the newest with them; no other ever listens to it.

Nothing is published from an old frame, and nothing twice from the same one: silence is what tells
System 1 and the executor that understanding has stopped.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import msgspec
from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Beat, Clock
from tandem.runtime.images import FrameSource, chosen, fresh_frames
from tandem.runtime.interfaces import Frame, Observation, S2Policy
from tandem.runtime.messages import Conditioning, RobotState, Task
from tandem.runtime.mind import Lockstep, Metronome, Worker, conclude, think
from tandem.runtime.ports import Bus, Subscriber
from tandem.runtime.promises import check_latent
from tandem.runtime.telemetry import EventLog, Tap

_LOOK_UP_S = 0.1


@dataclass(frozen=True)
class _Thought:
    """What the policy said, and what it was said of."""

    conditioning: Conditioning
    task: Task
    frame: Frame  # the newest one seen
    state: RobotState | None
    began_ns: int


class S2Loop:
    """`cameras` must hold every camera of the policy. `delay_ns` is for lockstep only.

    Raises:
        ConfigError: a camera that the policy needs is not there.
    """

    def __init__(
        self,
        policy: S2Policy,
        cameras: Mapping[str, FrameSource],
        bus: Bus,
        clock: Clock,
        rate_hz: float,
        delay_ns: int = 0,
    ) -> None:
        self._policy = policy
        self._cameras = chosen(cameras, policy.spec.cameras)
        self._clock = clock
        self._tasks: Subscriber[Task] = bus.subscriber(streams.TASK, "supervisor")
        self._states: Subscriber[RobotState] | None = None
        if policy.spec.wants_state:
            self._states = bus.subscriber(streams.STATE, "executor")
        self._out = bus.publisher(streams.CONDITIONING)
        self._log = EventLog(bus.source, bus.publisher(streams.EVENT))
        self._tap = Tap(bus.source, rate_hz, bus.publisher(streams.TICK))
        self._metronome = Metronome(rate_hz, clock.now_ns())
        self._beat: Beat | None = None
        self._reset_for = -1  # instruction that the policy was reset for
        self._seen: tuple[int, ...] = ()
        self.lockstep: Lockstep[_Thought] = Lockstep(self.begin, self.finish, delay_ns)

    def tick(self, now_ns: int) -> None:
        """One look in lockstep; call it at least as often as the grid."""
        self.lockstep.tick(now_ns)
        self._tap.flush(now_ns)

    async def serve(self, stopping: asyncio.Event) -> None:
        """Run until told to stop.

        Raises:
            DeviceTimeoutError: the policy hangs.
        """
        worker = Worker("s2-policy")
        while not stopping.is_set():
            wait_s = (self._metronome.due_ns - self._clock.now_ns()) / NS_PER_S
            if wait_s > 0:
                await asyncio.sleep(min(wait_s, _LOOK_UP_S))
            work = self.begin(self._clock.now_ns())
            if work is not None:
                outcome = await think(worker, work, self._flush)
                self.finish(self._clock.now_ns(), outcome)
            self._flush()

    # -- the three parts ---------------------------------------------------------------------------

    def begin(self, now_ns: int) -> Callable[[], _Thought] | None:
        """The step that is due, with the newest of everything."""
        self._beat = self._metronome.beat(now_ns)
        if self._beat is None:
            return None
        work = self._due(now_ns)
        if work is None:
            self._tap.tick(self._beat, self._clock.now_ns() - now_ns)
        return work

    def finish(self, now_ns: int, outcome: _Thought | Exception) -> None:
        """Publish what came out, or say why nothing did."""
        if self._beat is not None:
            self._tap.tick(self._beat, now_ns - self._beat.wake_ns)
        task = self._tasks.latest
        if not conclude(self._publish, now_ns, outcome, self._log, "S2", task):
            self._tap.count("failed")

    def _due(self, now_ns: int) -> Callable[[], _Thought] | None:
        self._tasks.poll()
        task = self._tasks.latest
        if task is None or not task.instruction:
            return None
        frames, problem = fresh_frames(self._cameras, now_ns)
        if problem:
            self._tap.count("stale")
            self._log.complain(now_ns, "camera", f"S2 waits: {problem}")
            return None
        self._log.settle(now_ns, "camera", "S2 sees again")
        seen = (task.instruction_id, *(frame.seq for frame in frames.values()))
        if seen == self._seen:
            self._tap.count("same frame")
            return None
        state, problem = self._fresh_state(now_ns)
        if problem:
            self._tap.count("state old")
            self._log.complain(now_ns, "state", f"S2 waits: {problem}")
            return None
        self._log.settle(now_ns, "state", "S2 is told the arm's state again")
        self._seen = seen
        return partial(self._think, task, Observation(now_ns, frames, state))

    def _fresh_state(self, now_ns: int) -> tuple[RobotState | None, str | None]:
        """The newest one, if the policy wants any, and what is wrong with it."""
        if self._states is None:
            return None, None
        self._states.poll()
        state = self._states.latest
        if state is None:
            return None, "its policy needs the arm's state, and none has come; look at the executor"
        age_ns, limit_ns = now_ns - state.t_ns, streams.STATE.max_age_ns
        if age_ns > limit_ns:
            return None, (
                f"the newest state of the arm is {age_ns // NS_PER_MS} ms old, at most "
                f"{limit_ns // NS_PER_MS} ms are accepted; look at the executor"
            )
        return state, None

    def _think(self, task: Task, obs: Observation) -> _Thought:
        """In the policy's thread."""
        if self._reset_for != task.instruction_id:
            self._policy.reset(task.instruction)
            self._reset_for = task.instruction_id
        newest = max(obs.images.values(), key=lambda frame: frame.t_capture_ns)
        return _Thought(self._policy.step(obs), task, newest, obs.state, obs.t_ns)

    def _publish(self, now_ns: int, thought: _Thought) -> None:
        said, frame = thought.conditioning, thought.frame
        check_latent(said, self._policy.spec)
        spent = {
            "wait": thought.began_ns - frame.t_capture_ns,
            "step": now_ns - thought.began_ns,
        }
        message = msgspec.structs.replace(
            said,
            t_ns=now_ns,
            valid=True,
            latent_id=self._policy.spec.latent_id,
            instruction_id=thought.task.instruction_id,
            t_capture_ns=frame.t_capture_ns,
            frame_seq=frame.seq,
            t_state_ns=thought.state.t_ns if thought.state else 0,
            timings_ns={**said.timings_ns, **spent},
        )
        self._out.send(message)
        self._tap.sample("capture_to_conditioning", now_ns - frame.t_capture_ns)
        for stage, spent_ns in message.timings_ns.items():
            self._tap.sample(stage, spent_ns)
        self._say_refreshes(now_ns, message)

    def _say_refreshes(self, now_ns: int, message: Conditioning) -> None:
        levels = [level for level, done in enumerate(message.refreshed, 1) if done]
        for level in levels:
            self._tap.count(f"refresh L{level}")
        if levels:
            names = ", ".join(f"L{level}" for level in levels)
            data = {"levels": levels, "gate": message.gate, "version": message.version}
            self._log.say(now_ns, "info", "refresh", f"cache refreshed: {names}", data)

    def _flush(self) -> None:
        self._tap.flush(self._clock.now_ns())
