"""System 1 again: each recorded chunk is planned anew from exactly what it was planned from.

A chunk names its state (by stamp), its conditioning and its instruction, and says when planning
began and ended, and which delay was counted on. The very loop of the robot is given these at these
times on a virtual clock; what it knows of its own past (the chunks that it sent) it learns again.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from tandem.runtime import streams
from tandem.runtime.action_space import space_of
from tandem.runtime.app import build
from tandem.runtime.clock import NS_PER_MS, VirtualClock
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import S1Policy
from tandem.runtime.messages import ActionChunk, Conditioning, RobotState, Task
from tandem.runtime.mind import attempt
from tandem.runtime.s1 import S1Loop
from tandem.tools.record.reader import Recording
from tandem.tools.replay.feed import ReplayBus
from tandem.tools.replay.sight import sight_of
from tandem.tools.replay.source import refuse_holes
from tandem.tools.replay.verdict import Verdict

_M = TypeVar("_M")
_REMEMBERED = 4000  # states that a chunk may still be planned from
_OVERTAKEN_NS = 5000 * NS_PER_MS
FIELDS = (
    "seq",
    "actions",
    "t0_ns",
    "dt_ns",
    "epoch",
    "instruction_id",
    "conditioning_seq",
    "t_capture_ns",
    "t_conditioning_ns",
    "timings_ns",
)


@dataclass(frozen=True)
class Situation:
    """What one chunk was planned from."""

    chunk: ActionChunk
    state: RobotState
    task: Task
    conditioning: Conditioning | None

    @property
    def began_ns(self) -> int:
        """When planning began."""
        return self.state.t_ns + self.chunk.timings_ns["wait"]


def replay(recording: Recording, settings: Config, tolerance: float = 0.0) -> Verdict:
    """Plan every recorded chunk again.

    Raises:
        ConfigError: no System 1, no chunks, or a hole in what it decided from.
        WeightsError: its weights are missing.
    """
    if settings.s1 is None:
        raise ConfigError("the recorded configuration has no s1: there is nothing to replay")
    refuse_holes(recording, "chunk", "conditioning", "task")
    policy = build.s1_policy(settings.s1, build.arm_model(settings).spec)
    verdict = Verdict("s1", tolerance)
    if policy.spec.cameras:
        verdict.notes.append("which picture it saw is known by arrival only: --tolerance")
    replayed: _Replayed | None = None
    for situation in situations(recording):
        if replayed is None or situation.chunk.seq == 0:  # System 1 was started (again)
            policy = policy if replayed is None else _fresh(settings)
            replayed = _Replayed(policy, recording, settings, situation.began_ns)
        verdict.compare(situation.chunk, replayed.plan(situation), FIELDS)
    if not verdict.compared:
        raise ConfigError(f"{recording.path} holds no chunks: System 1 planned nothing")
    verdict.notes += _unrecorded(recording)
    return verdict


def situations(recording: Recording) -> Iterator[Situation]:
    """Every chunk with what it was planned from, in order.

    Messages of different senders may have overtaken each other on their way to the recorder, so a
    chunk waits for what comes a little later.

    Raises:
        ConfigError: some of it was not recorded.
    """
    known, waiting = _Known(), deque[tuple[int, ActionChunk]]()
    for entry in recording.entries("state", "task", "conditioning", "chunk"):
        if isinstance(entry.message, ActionChunk):
            waiting.append((entry.arrival_ns + _OVERTAKEN_NS, entry.message))
        else:
            known.learn(entry.message)
        while waiting and waiting[0][0] < entry.arrival_ns:
            yield known.behind(waiting.popleft()[1])
    for _, chunk in waiting:
        yield known.behind(chunk)


class _Known:
    """What was said lately, by what chunks call it."""

    def __init__(self) -> None:
        self._states: dict[int, RobotState] = {}
        self._said: dict[int, Conditioning] = {}
        self._tasks: dict[int, Task] = {}

    def learn(self, message: RobotState | Conditioning | Task) -> None:
        match message:
            case RobotState():
                _keep(self._states, message.t_ns, message)
            case Conditioning():
                _keep(self._said, message.t_ns, message)
            case Task():
                self._tasks.setdefault(message.instruction_id, message)

    def behind(self, chunk: ActionChunk) -> Situation:
        """Raises ConfigError: it was not recorded."""
        state, task = self._states.get(chunk.t0_ns), self._tasks.get(chunk.instruction_id)
        conditioning = self._said.get(chunk.t_conditioning_ns)
        named = chunk.conditioning_seq >= 0
        if state is None or task is None or (named and conditioning is None):
            lost = "state" if state is None else "task" if task is None else "conditioning"
            raise ConfigError(
                f"the {lost} behind chunk {chunk.seq} was not recorded: this recording has a hole"
            )
        if "expected" not in chunk.timings_ns:
            raise ConfigError("its chunks do not tell enough: an older version recorded it")
        return Situation(chunk, state, task, conditioning if named else None)


def _keep(known: dict[int, _M], stamp_ns: int, message: _M) -> None:
    known[stamp_ns] = message
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]


class _Replayed:
    """One life of System 1."""

    def __init__(
        self, policy: S1Policy, recording: Recording, settings: Config, began_ns: int
    ) -> None:
        assert settings.s1 is not None
        self._clock, self._bus = VirtualClock(began_ns), ReplayBus("s1", streams.CHUNK)
        self._sight = sight_of(recording, settings, policy.spec.cameras)
        every, joints = settings.s1.replan_every, build.arm_model(settings).spec
        space = space_of(policy.spec.action, joints)
        self._loop = S1Loop(policy, self._sight.cameras, self._bus, self._clock, every, space=space)
        self._given: Situation | None = None

    def plan(self, situation: Situation) -> ActionChunk | None:
        """The chunk that comes out now; None: System 1 would not plan here, or fails."""
        chunk, last = situation.chunk, self._given
        self._clock.sleep_until(situation.began_ns)
        if last is None or last.task is not situation.task:
            self._bus.give(streams.TASK, situation.task)
        if situation.conditioning is not None and (
            last is None or last.conditioning is not situation.conditioning
        ):
            self._bus.give(streams.CONDITIONING, situation.conditioning)
        self._bus.give(streams.STATE, situation.state)
        self._sight.look(situation.began_ns)
        self._given = situation
        self._loop.predicted_delay_ns = chunk.timings_ns["expected"]
        work = self._loop.begin(self._clock.now_ns())
        if work is None:
            return None
        outcome = attempt(work)
        self._clock.sleep_until(chunk.t_ns)
        self._loop.finish(self._clock.now_ns(), outcome)
        planned = self._bus.take()
        return planned[-1] if planned else None


def _fresh(settings: Config) -> S1Policy:
    assert settings.s1 is not None
    return build.s1_policy(settings.s1, build.arm_model(settings).spec)


def _unrecorded(recording: Recording) -> list[str]:
    """What System 1 went through and no chunk tells of."""
    counts: dict[str, int] = {}
    for entry in recording.entries("tick"):
        if entry.source == "s1":
            counts = entry.message.counters
    return [
        f"{counts[name]} plans came out {name}, were never sent, and are not replayed: a policy "
        "that remembers what it was asked may plan otherwise afterwards"
        for name in ("outdated", "failed")
        if counts.get(name)
    ]
