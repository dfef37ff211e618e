"""System 1's loop: newest state and newest conditioning → policy → ActionChunk.

A chunk is anchored at the stamp of the state that it was planned from, so that whoever executes it
can cut off exactly what is past. When to plan again is a pure function of what is known.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from tandem.runtime import streams
from tandem.runtime.action_space import ActionSpace
from tandem.runtime.clock import NS_PER_MS, Clock
from tandem.runtime.images import FrameSource, chosen, fresh_frames
from tandem.runtime.interfaces import Array, Frame, Observation, S1Policy
from tandem.runtime.messages import ActionChunk, Conditioning, RobotState, Task
from tandem.runtime.mind import Lockstep, Worker, conclude, think
from tandem.runtime.ports import Bus, Subscriber
from tandem.runtime.promises import check_partner, checked_actions
from tandem.runtime.replan import still_to_run, why_plan
from tandem.runtime.telemetry import EventLog, Tap

_LOOK_UP_S = 0.05
_RETRY_NS = 100 * NS_PER_MS  # after a failure: not with every state
_DELAYS = 50
_QUANTILE = 0.95
_REMEMBERED = 16  # chunks that the executor may still be running


@dataclass(frozen=True)
class _Situation:
    """Everything that one plan is made from."""

    task: Task
    state: RobotState
    conditioning: Conditioning | None
    images: dict[str, Frame]
    began_ns: int
    expected_ns: int  # the delay that was counted on

    @property
    def t_capture_ns(self) -> int:
        """The newest image behind the plan, 0 if there is none."""
        stamps = [frame.t_capture_ns for frame in self.images.values()]
        return max([*stamps, self.conditioning.t_capture_ns if self.conditioning else 0])


@dataclass(frozen=True)
class _Plan:
    actions: Array  # [h, D], joint positions
    situation: _Situation
    short: str | None = None  # why it has fewer steps than the policy gave


class S1Loop:
    """`latent_id`: of the configured System 2, if known. `delay_ns` is for lockstep only.

    `space` makes joint positions of what the policy says; None: they are that already.

    Raises:
        ConfigError: a camera that the policy needs is not there.
        WeightsError: it was trained with another System 2.
    """

    def __init__(
        self,
        policy: S1Policy,
        cameras: Mapping[str, FrameSource],
        bus: Bus,
        clock: Clock,
        replan_every: int,
        delay_ns: int = 0,
        latent_id: str | None = None,
        space: ActionSpace | None = None,
    ) -> None:
        if latent_id is not None:
            check_partner(policy.spec, latent_id)
        self._policy, self._space = policy, space
        self._cameras = chosen(cameras, policy.spec.cameras)
        self._clock = clock
        self._horizon_ns = replan_every * policy.spec.dt_ns
        self._states: Subscriber[RobotState] = bus.subscriber(streams.STATE, "executor")
        self._tasks: Subscriber[Task] = bus.subscriber(streams.TASK, "supervisor")
        self._said: Subscriber[Conditioning] = bus.subscriber(streams.CONDITIONING, "s2")
        self._out = bus.publisher(streams.CHUNK)
        self._log = EventLog(bus.source, bus.publisher(streams.EVENT))
        self._tap = Tap(bus.source, 0.0, bus.publisher(streams.TICK))
        self._delays_ns: deque[int] = deque(maxlen=_DELAYS)
        # From a state to its chunk, in 19 of 20 cases lately; one step while nothing is known.
        self.predicted_delay_ns = policy.spec.dt_ns
        self._sent: deque[ActionChunk] = deque(maxlen=_REMEMBERED)
        self._planned: _Situation | None = None
        self._reset_for = -1  # instruction that the policy was reset for
        self._retry_ns = 0
        self.lockstep: Lockstep[_Plan] = Lockstep(self.begin, self.finish, delay_ns)

    def tick(self, now_ns: int) -> None:
        """One look in lockstep; call it at least as often as states come."""
        self.lockstep.tick(now_ns)
        self._tap.flush(now_ns)

    async def serve(self, stopping: asyncio.Event) -> None:
        """Run until told to stop.

        Raises:
            DeviceTimeoutError: the policy hangs.
            WeightsError: System 2 is not the one that this policy was trained with.
        """
        worker = Worker("s1-policy")
        while not stopping.is_set():
            await self._states.arrived(_LOOK_UP_S)
            work = self.begin(self._clock.now_ns())
            if work is not None:
                outcome = await think(worker, work, self._flush)
                self.finish(self._clock.now_ns(), outcome)
            self._flush()

    # -- the three parts ---------------------------------------------------------------------------

    def begin(self, now_ns: int) -> Callable[[], _Plan] | None:
        """The plan that is due, made from the newest of everything."""
        for port in (self._states, self._tasks, self._said):
            port.poll()
        state, task = self._states.latest, self._tasks.latest
        if state is None or task is None or not task.instruction or now_ns < self._retry_ns:
            return None
        if now_ns - state.t_ns > streams.STATE.max_age_ns:
            self._tap.count("state old")
            return None
        conditioning = self._conditioning(task)
        needed = self._policy.spec.latent_id is not None
        if needed and (conditioning is None or not self._young_enough(now_ns, conditioning)):
            return None
        if not self._wants(state, task, conditioning):
            return None
        frames, problem = fresh_frames(self._cameras, now_ns)
        if problem:
            self._log.complain(now_ns, "camera", f"S1 waits: {problem}")
            return None
        self._log.settle(now_ns, "camera", "S1 sees again")
        expected_ns = self.predicted_delay_ns
        situation = _Situation(task, state, conditioning, frames, now_ns, expected_ns)
        return partial(self._think, situation, self._committed(state))

    def finish(self, now_ns: int, outcome: _Plan | Exception) -> None:
        """Publish the chunk, or say why there is none."""
        task = self._tasks.latest
        if not conclude(self._publish, now_ns, outcome, self._log, "S1", task):
            self._retry_ns = now_ns + _RETRY_NS
            self._tap.count("failed")

    def _conditioning(self, task: Task) -> Conditioning | None:
        """The newest conditioning, if it is of this instruction and of our own System 2."""
        newest = self._said.latest
        if self._policy.spec.latent_id is None or newest is None:
            return None
        check_partner(self._policy.spec, newest.latent_id)
        return newest if newest.instruction_id == task.instruction_id else None

    def _young_enough(self, now_ns: int, conditioning: Conditioning) -> bool:
        age_ms = (now_ns - conditioning.t_capture_ns) / NS_PER_MS
        limit_ms = self._policy.spec.max_age_ms
        if age_ms <= limit_ms:
            self._log.settle(now_ns, "conditioning", "conditioning is fresh again")
            return True
        self._tap.count("conditioning old")
        self._log.complain(
            now_ns,
            "conditioning",
            f"S1 waits: the newest conditioning is of an image {age_ms:.0f} ms ago, this policy "
            f"was trained for at most {limit_ms:g} ms; look at S2 and its camera",
        )
        return False

    def _wants(
        self, state: RobotState, task: Task, conditioning: Conditioning | None
    ) -> str | None:
        """Why to plan now; counted by reason."""
        last = self._planned
        if last is not None and last.state is state:
            return None
        chunk = self._sent[-1] if self._sent else None
        heard_more = last is None or conditioning is not last.conditioning
        reason = why_plan(chunk, state, task, heard_more, self._horizon_ns, self.predicted_delay_ns)
        if reason:
            self._tap.count(f"plan: {reason}")
        return reason

    def _committed(self, state: RobotState) -> Array:
        """What the arm will still do of the chunk that it runs, until this plan can take over."""
        nothing = np.zeros((0, len(self._policy.spec.action.names)))
        if state.mode != "policy":
            return nothing
        running = [c for c in self._sent if c.seq == state.chunk_seq and c.epoch == state.epoch]
        if not running:
            return nothing
        actions = still_to_run(running[0], state.t_ns, self.predicted_delay_ns)
        return self._space.encode(actions, state.q_cmd) if self._space else actions

    def _think(self, situation: _Situation, committed: Array) -> _Plan:
        """In the policy's thread."""
        task = situation.task
        if self._reset_for != task.instruction_id:
            self._policy.reset(task.instruction)
            self._reset_for = task.instruction_id
        obs = Observation(situation.began_ns, situation.images, situation.state)
        given = self._policy.step(obs, situation.conditioning, committed)
        actions = checked_actions(given, self._policy.spec)
        if self._space is None:
            return _Plan(actions, situation)
        decoded = self._space.decode(actions, situation.state.q_cmd)
        return _Plan(decoded.actions, situation, decoded.short)

    def _publish(self, now_ns: int, plan: _Plan) -> None:
        situation, spec = plan.situation, self._policy.spec
        state, conditioning = situation.state, situation.conditioning
        self._planned = situation
        if plan.short:
            self._tap.count("cut short")
            self._log.complain(now_ns, "reach", f"S1's plan ends early: {plan.short}")
        else:
            self._log.settle(now_ns, "reach", "S1's plans are within reach again")
        self._measure(now_ns, situation)
        if self._outdated(situation):
            self._tap.count("outdated")
            return
        chunk = ActionChunk(
            t_ns=now_ns,
            valid=True,
            actions=plan.actions,
            t0_ns=state.t_ns,
            dt_ns=spec.dt_ns,
            epoch=state.epoch,
            instruction_id=situation.task.instruction_id,
            conditioning_seq=conditioning.seq if conditioning else -1,
            t_capture_ns=situation.t_capture_ns,
            t_conditioning_ns=conditioning.t_ns if conditioning else 0,
            timings_ns={
                "wait": situation.began_ns - state.t_ns,
                "infer": now_ns - situation.began_ns,
                "expected": situation.expected_ns,
            },
        )
        self._out.send(chunk)
        self._sent.append(chunk)

    def _outdated(self, situation: _Situation) -> bool:
        """Whether epoch or instruction changed while the policy was thinking."""
        self._states.poll()
        self._tasks.poll()
        state, task = self._states.latest, self._tasks.latest
        same_epoch = state is None or state.epoch == situation.state.epoch
        same_task = task is None or task.instruction_id == situation.task.instruction_id
        return not (same_epoch and same_task)

    def _measure(self, now_ns: int, situation: _Situation) -> None:
        state, conditioning = situation.state, situation.conditioning
        self._delays_ns.append(now_ns - state.t_ns)
        self.predicted_delay_ns = int(np.quantile(list(self._delays_ns), _QUANTILE))
        self._tap.gauge("predicted_delay_ms", self.predicted_delay_ns / NS_PER_MS)
        self._tap.work(now_ns - situation.began_ns)
        self._tap.sample("wait", situation.began_ns - state.t_ns)
        self._tap.sample("infer", now_ns - situation.began_ns)
        self._tap.sample("state_to_chunk", now_ns - state.t_ns)
        if situation.t_capture_ns:
            self._tap.sample("capture_to_chunk", now_ns - situation.t_capture_ns)
        if conditioning is not None:
            self._tap.sample("conditioning_age", situation.began_ns - conditioning.t_ns)

    def _flush(self) -> None:
        self._tap.flush(self._clock.now_ns())
