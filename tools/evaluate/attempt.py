"""One episode being watched: truth and conditionings go in, its record comes out.

The same for lockstep and for the real daemon; neither asks the policy anything.
"""

from bisect import bisect_right

from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.messages import Conditioning
from tandem.runtime.summary import LoopSummary, Summary
from tandem.tools.evaluate.plant import Extremes
from tandem.tools.evaluate.records import Episode
from tandem.tools.evaluate.scenario import Scenario
from tandem.tools.evaluate.truth import Outcome, Truth
from tandem.tools.evaluate.watch import Look, SceneWatch

# Truth that is older than this says nothing about a frame; the real simulator is asked at 50 Hz.
_TRUTH_OLD_NS = 60 * NS_PER_MS
_LATENCY = "camera_command"
# Stages of a step of System 2 that are its own; `wait` and `step` are the process's around it.
_STAGES = ("vision", "gate", "static", "trunk", "readout")


class Attempt:
    """`t_go_ns`: when the policy began to drive; times in the record count from there."""

    def __init__(self, scenario: Scenario, t_go_ns: int, look: Look) -> None:
        self.scenario = scenario
        self.outcome = Outcome(scenario.task, scenario.target)
        self.faults: list[str] = []
        self.step_ms: list[float] = []  # wall clock of System 2's steps
        self._t_go_ns = t_go_ns
        self._watch = SceneWatch(t_go_ns, look)
        self._truths: list[Truth] = []
        self._t_end_ns = t_go_ns
        self._macs = self._macs_full = 0
        self._scores: list[float] = []
        self._starved_ticks = 0

    @property
    def decided(self) -> bool:
        return self.outcome.decided

    def see(self, truth: Truth) -> None:
        """A sample of the truth, in order of time."""
        self._truths.append(truth)
        self._t_end_ns = truth.t_ns
        if not self.decided:
            self.outcome.see(truth)

    def understand(self, said: Conditioning) -> None:
        """What System 2 said of a frame; the truth of that moment has been seen already."""
        self._macs += said.macs
        self._macs_full += said.macs_full
        self._scores += said.gate[-1:]
        spent_ns = sum(said.timings_ns.get(stage, 0) for stage in _STAGES)
        self.step_ms.append(spent_ns / NS_PER_MS)
        at = bisect_right(self._truths, said.t_capture_ns, key=lambda truth: truth.t_ns) - 1
        if at >= 0 and said.t_capture_ns - self._truths[at].t_ns <= _TRUTH_OLD_NS:
            self._watch.see(self._truths[at], said.refreshed)

    def left_policy(self, why: str, ticks: int) -> None:
        """The executor has not followed the policy for so many of its ticks."""
        self.complain(f"left the policy: {why}")
        if why.startswith("starved"):
            self._starved_ticks += ticks

    def complain(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)

    def record(self, extremes: Extremes | None) -> Episode:
        """What came of it; `extremes` of what the arm followed meanwhile."""
        scenario, outcome = self.scenario, self.outcome
        episode = Episode(
            index=scenario.index,
            seed=scenario.seed,
            instruction=scenario.instruction,
            target=scenario.target,
            success=outcome.success,
            t_s=round((self._t_end_ns - self._t_go_ns) / NS_PER_S, 3),
            wrong_object=outcome.wrong_object,
            final_lift_m=round(outcome.lift_m, 4),
            closest_m=round(outcome.closest_m, 4) if self._truths else None,
            phases=self._watch.phases,
            changes=self._watch.changes,
            macs=self._macs,
            macs_full=self._macs_full,
            mean_score=sum(self._scores) / len(self._scores) if self._scores else None,
            starved_ticks=self._starved_ticks,
            faults=self.faults,
        )
        if extremes is not None:
            episode.take_extremes(extremes)
        return episode


class Counted:
    """The daemon's own counters over one episode: those at `go` are taken off those at the end."""

    def __init__(self, summary: Summary) -> None:
        self._begin = _counts(summary)
        self._latencies = _recent(summary)

    def fill(self, episode: Episode, summary: Summary, underruns: int) -> None:
        now = _counts(summary)
        episode.missed_ticks = now["missed"] - self._begin["missed"]
        episode.chunks_late = now["chunks_late"] - self._begin["chunks_late"]
        episode.chunks_dead = now["chunks_dead"] - self._begin["chunks_dead"]
        episode.underruns = underruns
        loop = _executor(summary)
        episode.seam_rad = loop.gauges.get("seam_sent_q_rad", 0.0)
        fresh = loop.samples[_LATENCY].all.n - self._latencies if _LATENCY in loop.samples else 0
        if fresh > 0:
            recent_ns = loop.samples[_LATENCY].recent[-fresh:]
            episode.latency_ms = [round(float(x) / NS_PER_MS, 1) for x in recent_ns]


def _executor(summary: Summary) -> LoopSummary:
    return summary.loops.get("executor", LoopSummary())


def _counts(summary: Summary) -> dict[str, int]:
    loop = _executor(summary)
    names = ("chunks_late", "chunks_dead")
    return {name: loop.counters.get(name, 0) for name in names} | {"missed": loop.missed}


def _recent(summary: Summary) -> int:
    loop = _executor(summary)
    return loop.samples[_LATENCY].all.n if _LATENCY in loop.samples else 0
