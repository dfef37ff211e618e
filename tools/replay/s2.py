"""System 2 again: each recorded conditioning is thought anew from the frame that it names.

Pictures recorded as PNG are those that it saw, to the last bit; JPEG ones are alike, so what it
says can only be alike, and a gate near its threshold may fall to the other side (`--tolerance`).
"""

from tandem.runtime import streams
from tandem.runtime.app import build
from tandem.runtime.clock import VirtualClock
from tandem.runtime.config import Config
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import S2Policy
from tandem.runtime.messages import Conditioning, Task
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
)


def replay(recording: Recording, settings: Config, tolerance: float = 0.0) -> Verdict:
    """Think every recorded conditioning again.

    Raises:
        ConfigError: no System 2, or a picture that it saw was not recorded.
        WeightsError: its weights are missing.
    """
    if settings.s2 is None:
        raise ConfigError("the recorded configuration has no s2: there is nothing to replay")
    refuse_holes(recording, "conditioning", "task")
    verdict, replayed = Verdict("s2", tolerance), None
    tasks: dict[int, Task] = {}
    for entry in recording.entries("task"):
        tasks.setdefault(entry.message.instruction_id, entry.message)
    for entry in recording.entries("conditioning"):
        said = entry.message
        if replayed is None or said.seq == 0:  # System 2 was started (again)
            began_ns = said.t_ns - said.timings_ns["step"]
            replayed = _Replayed(build.s2_policy(settings.s2), recording, settings, began_ns)
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


class _Replayed:
    """One life of System 2."""

    def __init__(
        self, policy: S2Policy, recording: Recording, settings: Config, began_ns: int
    ) -> None:
        self._clock, self._bus = VirtualClock(began_ns), ReplayBus("s2", streams.CONDITIONING)
        self._sight = sight_of(recording, settings, policy.spec.cameras)
        eyes = self._sight.cameras
        self._loop = S2Loop(policy, eyes, self._bus, self._clock, _ALWAYS_DUE_HZ)
        self._task: Task | None = None

    def think(self, said: Conditioning, task: Task) -> Conditioning | None:
        """What comes out now; None: System 2 fails, or would not think here.

        Raises:
            ConfigError: the picture was not recorded.
        """
        self._clock.sleep_until(said.t_ns - said.timings_ns["step"])
        self._sight.look(self._clock.now_ns(), said.t_capture_ns)
        if said.frame_seq not in [shown.seq for shown in self._sight.cameras.values()]:
            raise ConfigError(
                f"frame {said.frame_seq}, behind conditioning {said.seq}, was not recorded: this "
                "recording has a hole in what System 2 saw"
            )
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
