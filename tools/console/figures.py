"""What the console shows, as plain frozen data: every figure of every panel at one moment.

`to_json` of it is the interface for scripts: renaming a field is a change that users see. Times are
in milliseconds where the name ends in `_ms`, in seconds where it ends in `_s`.
"""

from typing import Any, Literal

import msgspec

Health = Literal["ok", "warn", "error", "off"]  # off: nothing is known
Presence = Literal["waiting", "attached", "gone"]


class Spread(msgspec.Struct, frozen=True):
    """Of n values: p-quantile = the smallest value that at least p of all do not exceed."""

    n: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class Timing(msgspec.Struct, frozen=True):
    """One quantity: over the sliding window, and over all that was heard since attaching."""

    window: Spread | None = None
    attached: Spread | None = None
    limit_ms: float = 0.0  # 0: it has none
    warn_ms: float = 0.0


class Bin(msgspec.Struct, frozen=True):
    """How many values since attaching were at most `upto_ms`, and above the bin before."""

    upto_ms: float
    n: int


class Process(msgspec.Struct, frozen=True):
    """What the kernel says of a process: what it uses, and what real time it was granted."""

    pid: int
    cpu: float | None  # share of one core; None: not known yet
    memory_mib: float
    threads: int
    scheduling: str  # "FIFO 80", "nice 10", "ordinary"
    cores: str
    locked_mib: float
    timer_slack_ns: int | None  # None: the kernel does not tell us
    awake: bool  # keeps the CPU out of deep sleep (cpu_dma_latency)
    refused: bool = False  # asked for real time by its configuration, and does not have it


class Loop(msgspec.Struct, frozen=True):
    """One row: a loop that tells of its ticks, or a process that has none."""

    name: str
    health: Health
    asked_hz: float = 0.0  # 0: data paces it
    rate_hz: float = 0.0
    ticks: int = 0
    missed_ticks: int = 0  # since the loop began
    missed_in_window: int = 0
    restarts: int = 0
    telemetry_lost: int = 0
    silent_s: float = 0.0  # 0: it speaks
    lateness: Timing = Timing()
    work: Timing = Timing()
    samples: dict[str, Timing] = {}
    trend_ms: tuple[float, ...] = ()  # largest lateness (of data-paced loops: work) each second
    lateness_bins: tuple[Bin, ...] = ()
    work_bins: tuple[Bin, ...] = ()
    counters: dict[str, int] = {}
    gauges: dict[str, float] = {}
    process: Process | None = None


class Stage(msgspec.Struct, frozen=True):
    """One piece of the way from camera to command; the pieces' means add up to the whole."""

    name: str
    begin_ms: float  # mean, after the capture
    mean_ms: float
    timing: Timing


class Latency(msgspec.Struct, frozen=True):
    health: Health = "off"
    budget_ms: float = 0.0
    total: Timing = Timing()
    stages: tuple[Stage, ...] = ()
    parts: tuple[Stage, ...] = ()  # what System 2 did in its stage


class Conditioning(msgspec.Struct, frozen=True):
    """How old the understanding is that the robot acts on."""

    health: Health
    rate_hz: float
    age_ms: float  # of the newest: now − its image's capture
    acted_on_ms: float | None  # of the one behind the command that is being applied
    peak_ms: float | None  # largest age in the window, just before the next came
    slow_ms: float  # from here on the executor slows down
    hold_ms: float  # and here it holds


class Level(msgspec.Struct, frozen=True):
    """One static level of System 2's cache."""

    gate: float
    threshold: float | None
    refreshes: int  # since attaching
    age_frames: int
    version: int


class Cache(msgspec.Struct, frozen=True):
    frames: int = 0
    levels: tuple[Level, ...] = ()
    macs_saved: float | None = None  # share of the trunk's multiply-adds, since attaching
    macs_saved_in_window: float | None = None


class Chunks(msgspec.Struct, frozen=True):
    """Counts since the executor began; seams are the largest step so far."""

    health: Health = "off"
    counts: dict[str, int] = {}
    seams: dict[str, float] = {}
    horizon: int = 0
    dt_ms: float = 0.0
    infer_ms: float | None = None


class Robot(msgspec.Struct, frozen=True):
    mode: str = ""
    health: Health = "off"
    epoch: int = 0
    pace: float = 0.0
    operator: str | None = None
    fault: str | None = None
    holding_for: str | None = None
    instruction: str = ""
    state_age_ms: float | None = None
    fresh: bool = False  # the state is young enough to be believed
    state_rate_hz: float = 0.0


class Said(msgspec.Struct, frozen=True):
    """One event."""

    age_s: float
    level: str
    source: str
    kind: str
    text: str


class Gpu(msgspec.Struct, frozen=True):
    name: str
    busy: float  # 0 … 1
    memory_mib: float
    memory_total_mib: float


class Machine(msgspec.Struct, frozen=True):
    cores: int = 0
    cpu: float | None = None  # share of all cores
    memory_mib: float = 0.0
    memory_total_mib: float = 0.0
    console_cpu: float | None = None  # of one core: what watching costs
    gpus: tuple[Gpu, ...] = ()


class Snapshot(msgspec.Struct, frozen=True):
    presence: Presence
    name: str = ""
    config: str = ""
    pid: int = 0
    note: str = ""  # what a person should know of the attachment
    since_s: float = 0.0  # in this presence
    attached_s: float = 0.0
    window_s: float = 0.0
    malformed: int = 0
    robot: Robot = Robot()
    loops: tuple[Loop, ...] = ()
    latency: Latency = Latency()
    conditioning: Conditioning | None = None
    cache: Cache = Cache()
    chunks: Chunks = Chunks()
    events: tuple[Said, ...] = ()  # newest first
    machine: Machine = Machine()
    schema: int = 1


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot as plain data."""
    plain: dict[str, Any] = msgspec.to_builtins(snapshot)
    return plain
