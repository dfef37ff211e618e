"""What is written down of each episode, and what follows from all of them.

The names of these fields are keys of `--json`: part of the interface, like a verb.
"""

from collections.abc import Sequence
from math import ceil
from typing import Literal

import msgspec
from tandem.tools.evaluate.plant import Extremes
from tandem.tools.evaluate.statistics import Paired, paired, wilson

TaskName = Literal["pick", "bin"]
ClockName = Literal["sim", "real"]
DisturbName = Literal[
    "none", "jump", "slide", "light", "appear", "vanish", "shuffle", "shuffle_light"
]
Phase = Literal["arm", "nudge", "carry", "change"]
LEVELS = ("L1", "L2")


class Frames(msgspec.Struct):
    """Frames that System 2 looked at in one phase, and how many refreshed each static level."""

    frames: int = 0
    refreshed: list[int] = msgspec.field(default_factory=lambda: [0] * len(LEVELS))

    def add(self, refreshed: list[bool]) -> None:
        self.frames += 1
        for level, was in enumerate(refreshed[: len(LEVELS)]):
            self.refreshed[level] += was

    def merge(self, other: "Frames") -> None:
        self.frames += other.frames
        self.refreshed = [a + b for a, b in zip(self.refreshed, other.refreshed, strict=True)]


class Change(msgspec.Struct):
    """One change of the scene that was not the robot's doing, and when System 2 took it in.

    `frames_to_refresh` counts frames captured after the change: 1 is the first that could show it;
    None: not refreshed before the episode ended or the next change came.
    """

    kind: str
    t_s: float
    visible: bool
    frames_seen: int = 0
    frames_to_refresh: int | None = None


class Episode(msgspec.Struct):
    """One attempt. Times in seconds of the episode's own clock, from `go` on."""

    index: int
    seed: int
    instruction: str
    target: str
    success: bool = False
    t_s: float = 0.0
    wrong_object: str | None = None
    final_lift_m: float = 0.0
    closest_m: float | None = None  # tool to the named cube
    phases: dict[str, Frames] = msgspec.field(default_factory=dict)
    changes: list[Change] = msgspec.field(default_factory=list)
    macs: int = 0
    macs_full: int = 0
    mean_score: float | None = None  # of the last level, over the frames
    starved_ticks: int = 0
    underruns: int = 0
    missed_ticks: int = 0
    chunks_late: int = 0
    chunks_dead: int = 0
    seam_rad: float = 0.0
    latency_ms: list[float] = msgspec.field(default_factory=list)  # capture → applied command
    velocity_share: float = 0.0
    acceleration_share: float = 0.0
    jerk_share: float = 0.0
    margin_rad: float = 0.0
    faults: list[str] = msgspec.field(default_factory=list)
    error: str | None = None  # the episode could not be run to its end

    def take_extremes(self, extremes: Extremes) -> None:
        self.velocity_share = extremes.velocity_share
        self.acceleration_share = extremes.acceleration_share
        self.jerk_share = extremes.jerk_share
        self.margin_rad = extremes.margin_rad


class Terms(msgspec.Struct, kw_only=True):
    """Under which terms a run of episodes was made: enough to make it again."""

    config: str
    task: TaskName
    clock: ClockName
    cache: str
    disturb: DisturbName
    seed: int
    time_limit_s: float
    ablation: str | None = None
    max_age_frames: int | None = None  # set for this run, if not by the configuration


class Noticed(msgspec.Struct):
    """Changes of one kind that a camera could see, and how many were refreshed how soon."""

    visible: int = 0
    within_2: int = 0  # frames
    within_5: int = 0


class Result(msgspec.Struct, kw_only=True):
    """A run of episodes under one set of terms. Field names are the keys of `--json`."""

    terms: Terms
    episodes: int
    successes: int
    wrong_object: int
    ci95: tuple[float, float]
    refreshes: dict[str, Frames]
    changes: int
    changes_visible: int
    refreshed_within_2: int
    refreshed_within_5: int
    noticed: dict[str, Noticed]  # by kind of change
    cache_saved: float | None  # share of the trunk's multiply-adds; None: it did not count them
    starved_ticks: int
    underruns: int
    missed_ticks: int
    velocity_share: float
    acceleration_share: float
    jerk_share: float
    margin_rad: float
    faults: int
    errors: int
    success_t_s: dict[str, float]
    latency_ms: dict[str, float]
    step_ms: dict[str, float]  # wall clock of System 2's own stages, on the machine as it was
    wall_s: float
    records: list[Episode]

    @property
    def outcomes(self) -> list[bool]:
        return [record.success for record in self.records]


def summarise(
    terms: Terms, records: list[Episode], wall_s: float, step_ms: Sequence[float] = ()
) -> Result:
    """Fold the records of one run, in order of their index."""
    records = sorted(records, key=lambda record: record.index)
    successes = sum(record.success for record in records)
    visible = [c for record in records for c in record.changes if c.visible]
    return Result(
        terms=terms,
        episodes=len(records),
        successes=successes,
        wrong_object=sum(record.wrong_object is not None for record in records),
        ci95=wilson(successes, len(records)),
        refreshes=_phases(records),
        changes=sum(len(record.changes) for record in records),
        changes_visible=len(visible),
        refreshed_within_2=_within(visible, 2),
        refreshed_within_5=_within(visible, 5),
        noticed=_noticed(visible),
        cache_saved=_saved(records),
        starved_ticks=sum(record.starved_ticks for record in records),
        underruns=sum(record.underruns for record in records),
        missed_ticks=sum(record.missed_ticks for record in records),
        velocity_share=max((r.velocity_share for r in records), default=0.0),
        acceleration_share=max((r.acceleration_share for r in records), default=0.0),
        jerk_share=max((r.jerk_share for r in records), default=0.0),
        margin_rad=min((r.margin_rad for r in records), default=0.0),
        faults=sum(len(record.faults) for record in records),
        errors=sum(record.error is not None for record in records),
        success_t_s=percentiles([r.t_s for r in records if r.success]),
        latency_ms=percentiles([x for r in records for x in r.latency_ms]),
        step_ms=percentiles(step_ms),
        wall_s=wall_s,
        records=records,
    )


def compare(first: Result, second: Result) -> Paired:
    """`second` against `first` on the scenes of both.

    Raises:
        ValueError: the two were not run on the same scenes.
    """
    if [r.seed for r in first.records] != [r.seed for r in second.records]:
        raise ValueError("only runs on the same seeds can be compared scene by scene")
    return paired(first.outcomes, second.outcomes)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """{p50, p95, p99, max} of the values (nearest rank); empty where there is none."""
    if not values:
        return {}
    ordered = sorted(values)
    ranks = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: ordered[ceil(share * len(ordered)) - 1] for name, share in ranks.items()}


def _phases(records: list[Episode]) -> dict[str, Frames]:
    total: dict[str, Frames] = {}
    for record in records:
        for phase, frames in record.phases.items():
            total.setdefault(phase, Frames()).merge(frames)
    return total


def _noticed(visible: list[Change]) -> dict[str, Noticed]:
    kinds = sorted({change.kind for change in visible})
    of_kind = {kind: [c for c in visible if c.kind == kind] for kind in kinds}
    return {k: Noticed(len(c), _within(c, 2), _within(c, 5)) for k, c in of_kind.items()}


def _within(changes: list[Change], frames: int) -> int:
    return sum((c.frames_to_refresh or frames + 1) <= frames for c in changes)


def _saved(records: list[Episode]) -> float | None:
    full = sum(record.macs_full for record in records)
    return 1 - sum(record.macs for record in records) / full if full else None
