"""The policy's seat: for which instruction it is engaged, its plan, and how fast to go along it."""

from tandem.runtime.chunks import Anchor, ChunkClock, Past, Plan
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.engage import start_refusal
from tandem.runtime.interfaces import ArmState, Array
from tandem.runtime.interpolate import Motion
from tandem.runtime.messages import ActionChunk, Task
from tandem.runtime.modes import pace_for_age
from tandem.runtime.settings import ExecutorSettings

WAITING = "engaged, waiting for the first plan"
_PAST_S = 2.0  # how far back a chunk may be anchored
_STANDING = 0.02  # a pace below it is no progress any more
# The plan waits for the arm: slower from the first lag on, standing at the second.
_LAG_RAD = (0.03, 0.15)


class Pilot:
    """`instruction` is None while the policy is not engaged; then chunks are not even looked at."""

    def __init__(self, joints: int, settings: ExecutorSettings) -> None:
        self.settings = settings
        self.plan = Plan(joints, settings.join, settings.fade_steps)
        self.progress = ChunkClock()
        self.instruction: str | None = None
        self.why: str | None = None  # not at full pace, or not started
        self._joints = joints
        self._past = Past(round(_PAST_S * settings.rate_hz))
        self._engaged_ns = 0
        self._lag_rad = 0.0

    def engage(self, instruction: str, now_ns: int) -> None:
        """Look out for plans of this instruction; a running plan goes on until the first comes."""
        self.instruction, self._engaged_ns = instruction, now_ns
        self.why = WAITING

    def leave(self) -> None:
        """Forget the plan and the engagement: coming back takes a new `go`."""
        self.instruction = self.why = None
        self.plan.clear()
        self.progress.stand()
        self._lag_rad = 0.0

    def remember(self, state: ArmState, setpoint_t_ns: int) -> None:
        """Note where the arm's set-point and the chunk clock were at this state."""
        ahead_s = max(setpoint_t_ns - state.t_ns, 0) / NS_PER_S
        s = self.progress.s - self.progress.pace * ahead_s
        self._past.push(state.t_ns, Anchor(s, state.q_d, state.dq_d))

    def consider(self, chunk: ActionChunk, q: Array, task: Task | None, epoch: int) -> bool:
        """Join a chunk to the plan, or start with it at the set-point `q`; False: dropped."""
        if self.instruction is None:
            return False
        known = task is not None and task.instruction == self.instruction
        instruction_id = task.instruction_id if task is not None and known else -1
        starting = self.plan.path is None
        joined = self.plan.offer(chunk, self._past, self.progress.s, epoch, instruction_id)
        if joined and starting:
            self.why = start_refusal(q, chunk.actions[0, : self._joints])
            if self.why:
                self.plan.clear()
                return False
        return joined

    @property
    def begins(self) -> bool:
        """There is a plan, and it starts at the set-point."""
        return self.plan.path is not None

    def waited_too_long(self, now_ns: int) -> bool:
        return self.instruction is not None and (
            now_ns - self._engaged_ns > self.settings.engage_ns
        )

    def lost(self, now_ns: int) -> str | None:
        """Why the policy must not go on; None while it may."""
        age_ns = self.conditioning_age_ns(now_ns)
        if age_ns >= self.settings.conditioning_hold_ns:
            return f"the conditioning is {age_ns // NS_PER_MS} ms old"
        if ChunkClock.stoppable(self.remaining_s) < _STANDING:
            return "starved: no further chunk has come"
        return None

    def next(self, dt_s: float, now_ns: int, q: Array) -> Motion:
        """What the plan wants `dt_s` after the last time; `q` is where the last command was."""
        path = self.plan.path
        assert path is not None, "next() needs a plan; ask begins first"
        self.progress.advance(dt_s, self._pace(now_ns))
        along = path.at(self.progress.s)
        self._lag_rad = float(abs(along.q - q).max())
        return self.progress.stretch(along)

    @property
    def remaining_s(self) -> float:
        """What is left of the plan; 0 without one."""
        return self.plan.remaining_s(self.progress.s)

    @property
    def gripper(self) -> float | None:
        """What the running action wants of the gripper, 0 closed … 1 open; None: nothing."""
        return self.plan.gripper_at(self.progress.s)

    def conditioning_age_ns(self, now_ns: int) -> int:
        """Age of the conditioning behind the running plan; 0 for a policy that needs none."""
        chunk = self.plan.chunk
        return now_ns - chunk.t_conditioning_ns if chunk and chunk.t_conditioning_ns else 0

    def _pace(self, now_ns: int) -> float:
        slow_ns, hold_ns = self.settings.conditioning_slow_ns, self.settings.conditioning_hold_ns
        first, last = _LAG_RAD
        paces = {
            "the conditioning is old": pace_for_age(
                self.conditioning_age_ns(now_ns), slow_ns, hold_ns
            ),
            "the plan runs out": ChunkClock.stoppable(self.remaining_s),
            "the plan waits for the arm": (last - self._lag_rad) / (last - first),
        }
        why = min(paces, key=paces.__getitem__)
        self.why = why if paces[why] < 1 else None
        return paces[why]
