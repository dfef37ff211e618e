"""System 2 again: each recorded conditioning is thought anew from the frame and state it names.

Pictures recorded as PNG are those that it saw, to the last bit; JPEG ones are alike, so what it
says can only be alike, and a gate near its threshold may fall to the other side (`--tolerance`).
"""

from tandem.runtime import streams
from tandem.runtime.app import build
from tandem.runtime.clock import VirtualClock
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import S2Policy
from tandem.runtime.messages import Conditioning, RobotState, Task
from tandem.runtime.mind import attempt
from tandem.runtime.s2 import S2Loop
from tandem.tools.record.reader import Recording
from tandem.tools.replay.feed import ReplayBus
from tandem.tools.replay.sight import sight_of
from tandem.tools.replay.source import refuse_holes
from tandem.tools.replay.verdict import Verdict

_ALWAYS_DUE_HZ = 1e6  # when it thought is in the recording; the grid does not decide it again
FIELDS = (
    "seq",
    "latent",
    "latent_id",
    "instruction_id",
    "t_capture_ns",
    "frame_seq",
    "version",
    "age_frames",
    "refreshed",
    "gate",
    "macs",
    "t_state_ns",
)


def replay(recording: Recording, settings: Config, tolerance: float = 0.0) -> Verdict:
    """Think every recorded conditioning again.

    Raises:
        ConfigError: no System 2, or a picture or state that it saw was not recorded.
        WeightsError: its weights are missing.
    """
    if settings.s2 is None:
        raise ConfigError("the recorded configuration has no s2: there is nothing to replay")
    refuse_holes(recording, "conditioning", "task")
    verdict, replayed = Verdict("s2", tolerance), None
    states, arm = States(recording), build.arm_model(settings).spec
    tasks: dict[int, Task] = {}
    for entry in recording.entries("task"):
        tasks.setdefault(entry.message.instruction_id, entry.message)
    for entry in recording.entries("conditioning"):
        said = entry.message
        if replayed is None or said.seq == 0:  # System 2 was started (again)
            began_ns = said.t_ns - said.timings_ns["step"]
            policy = build.s2_policy(settings.s2, arm)
            replayed = _Replayed(policy, recording, settings, states, began_ns)
        if said.instruction_id not in tasks:
            raise ConfigError(f"the task {said.instruction_id} was not recorded: there is a hole")
        try:
            again = replayed.think(said, tasks[said.instruction_id])
        except ConfigError as error:
            differ = len(verdict.differences)
            told = f"of {verdict.compared} conditionings before it {differ} differ"
            raise ConfigError(f"{error}; {told}") from error
        verdict.compare(said, again, FIELDS)
    if not verdict.compared:
        raise ConfigError(f"{recording.path} holds no conditioning: System 2 said nothing")
    if settings.record.images != "png":
        verdict.notes.append("pictures are JPEG, so only alike; record.images: png loses nothing")
    return verdict


class States:
    """What the arm was like, by stamp; the recording is read once and never held."""

    def __init__(self, recording: Recording) -> None:
        self._coming = recording.entries("state")
        self._newest: RobotState | None = None

    def behind(self, said: Conditioning) -> RobotState | None:
        """What this was thought from, of conditionings in their order; None: from no state.

        Raises:
            ConfigError: it was not recorded.
        """
        if not said.t_state_ns:
            return None
        while self._newest is None or self._newest.t_ns < said.t_state_ns:
            entry = next(self._coming, None)
            if entry is None:
                break
            self._newest = entry.message
        if self._newest is None or self._newest.t_ns != said.t_state_ns:
            raise ConfigError(
                f"the state behind conditioning {said.seq} was not recorded: this recording has a "
                "hole"
            )
        return self._newest


class _Replayed:
    """One life of System 2."""

    def __init__(
        self,
        policy: S2Policy,
        recording: Recording,
        settings: Config,
        states: States,
        began_ns: int,
    ) -> None:
        self._clock, self._bus = VirtualClock(began_ns), ReplayBus("s2", streams.CONDITIONING)
        self._sight = sight_of(recording, settings, policy.spec.cameras)
        eyes = self._sight.cameras
        self._loop = S2Loop(policy, eyes, self._bus, self._clock, _ALWAYS_DUE_HZ)
        self._states = states
        self._task: Task | None = None

    def think(self, said: Conditioning, task: Task) -> Conditioning | None:
        """What comes out now; None: System 2 fails, or would not think here.

        Raises:
            ConfigError: the picture, or the state, was not recorded.
        """
        self._clock.sleep_until(said.t_ns - said.timings_ns["step"])
        self._sight.look(self._clock.now_ns(), said.t_capture_ns)
        if said.frame_seq not in [shown.seq for shown in self._sight.cameras.values()]:
            raise ConfigError(
                f"frame {said.frame_seq}, behind conditioning {said.seq}, was not recorded: this "
                "recording has a hole in what System 2 saw"
            )
        state = self._states.behind(said)
        if state is not None:
            self._bus.give(streams.STATE, state)
        if task is not self._task:
            self._bus.give(streams.TASK, task)
            self._task = task
        work = self._loop.begin(self._clock.now_ns())
        if work is None:
            return None
        outcome = attempt(work)
        self._clock.sleep_until(said.t_ns)
        self._loop.finish(self._clock.now_ns(), outcome)
        thoughts = self._bus.take()
        return thoughts[-1] if thoughts else None
