"""One typed YAML describes a runnable robot; read once, strictly; errors say what to write.

Unknown keys stop the program and name the nearest valid key. Relative files are looked for beside
the configuration first, then among the packaged ones, so that a name alone (`sim_panda`) is enough.
Hot code receives values out of this, never the configuration itself.
"""

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from tandem.runtime import config_cameras, strict_yaml
from tandem.runtime.config_cameras import Camera, Name
from tandem.runtime.config_tools import Console, Teleop
from tandem.runtime.errors import ConfigError
from tandem.runtime.strict_yaml import Section

PACKAGED = Path(__file__).resolve().parent.parent / "configs"
# A Unix socket's path holds 107 bytes; the longest name that we put there needs 40 of them.
_MAX_RUNTIME_DIR_BYTES = 67

Positive = Annotated[float, msgspec.Meta(gt=0)]
Scale = Annotated[float, msgspec.Meta(gt=0, le=1)]
Corner = tuple[float | None, float | None, float | None]


class Arm(Section, frozen=True, kw_only=True):
    driver: str  # sim, fake, or my_lab.arm:make
    access: Literal["read_only", "move"] = "read_only"
    host: str = ""
    options: dict[str, Any] = msgspec.field(
        default_factory=dict
    )  # handed to a driver of one's own as keyword arguments


class Limits(Section, frozen=True, kw_only=True):
    """The arm's own limits (a file of configs/limits) and the share of them that motion may use.

    Braking may use more than motion. Corners of the workspace are in the robot's base frame.
    """

    file: str
    speed_scale: Scale = 0.5
    acceleration_scale: Scale = 0.5
    jerk_scale: Scale = 0.1
    brake_acceleration_scale: Scale = 0.8
    brake_jerk_scale: Scale = 0.2
    range_margin_rad: Annotated[float, msgspec.Meta(ge=0)] = 0.02
    tool_speed_m_s: Positive = 0.25
    workspace_min_m: Corner = (None, None, None)  # null: no bound on that side
    workspace_max_m: Corner = (None, None, None)
    table_z_m: float | None = None  # the tool stays above this plane


class Robot(Section, frozen=True, kw_only=True):
    name: Name
    arm: Arm
    limits: Limits


class Cache(Section, frozen=True, kw_only=True):
    strategy: Literal[
        "sdvla", "none", "fixed_interval", "vla_cache", "ttf", "lac", "dual_cache"
    ] = "sdvla"
    thresholds: tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], ...] = (0.5, 0.5)  # per level
    max_age_frames: Annotated[int, msgspec.Meta(ge=1)] = 200


class S2(Section, frozen=True, kw_only=True):
    policy: str  # sdvla, or my_lab.vlm:make
    weights: str = ""
    cameras: tuple[str, ...]
    rate_hz: Positive = 10.0
    cache: Cache = Cache()
    threads: Annotated[int, msgspec.Meta(ge=1)] = 1
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class S1(Section, frozen=True, kw_only=True):
    policy: str  # chunk_mlp, openpi, or my_lab.pi05:make
    weights: str = ""
    cameras: tuple[str, ...] = ()
    replan_every: Annotated[int, msgspec.Meta(ge=1)] = 4  # steps of a chunk
    join: Literal["replace", "crossfade", "ensemble", "rtc"] = "crossfade"
    host: str = ""  # of a remote policy
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class Executor(Section, frozen=True, kw_only=True):
    rate_hz: Annotated[float, msgspec.Meta(ge=20, le=2000)] = 200.0
    priority: Annotated[int, msgspec.Meta(ge=0, le=98)] = 80  # SCHED_FIFO; 0: ordinary
    cpu: Annotated[int, msgspec.Meta(ge=0)] | None = None  # None: not pinned
    silent_ms: Positive = 500.0  # an executor silent for longer is killed


class Ladder(Section, frozen=True, kw_only=True):
    """How old what the executor acts on may be before it slows, and before it holds."""

    conditioning_slow: Positive = 500.0
    conditioning_hold: Positive = 1000.0
    operator: Positive = 100.0


class Record(Section, frozen=True, kw_only=True):
    """Where `tandem run --record` writes, and how much one recording may take of the disk.

    Each run makes a folder of its own below `path`. When `max_gib` is reached, the oldest file of
    this recording goes; what other runs recorded is never touched. Pictures as JPEG are small; as
    PNG they lose nothing, so that System 2 can be replayed to the last bit. States are published at
    most 200 times a second: an executor that is faster can be replayed if it tells of `every_tick`.
    """

    path: str = "~/tandem"
    max_gib: Positive = 50.0
    images: Literal["jpeg", "png"] = "jpeg"
    every_tick: bool = False


class Sim(Section, frozen=True, kw_only=True):
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    cubes: Annotated[int, msgspec.Meta(ge=1, le=6)] = 4


class Metrics(Section, frozen=True, kw_only=True):
    """An endpoint for Prometheus, on this machine's own address (127.0.0.1) only."""

    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 9464


class Config(Section, frozen=True, kw_only=True):
    schema: Literal[1]
    robot: Robot
    cameras: dict[Name, Camera] = msgspec.field(default_factory=dict)
    s2: S2 | None = None
    s1: S1 | None = None
    executor: Executor = Executor()
    ladder_ms: Ladder = Ladder()
    teleop: Teleop = Teleop()
    console: Console = Console()
    record: Record = Record()
    sim: Sim = Sim()
    metrics: Metrics | None = None  # None: no endpoint
    runtime_dir: str = ""

    @property
    def emulated(self) -> bool:
        """A robot of the vendor's own protocol, at home in the simulated cell: its cameras say so,
        and its address is this machine's."""
        arm, seen = self.robot.arm, any(c.driver == "sim" for c in self.cameras.values())
        return arm.driver.startswith("franka_") and arm.host.startswith("127.") and seen

    @property
    def simulated(self) -> bool:
        """What the cameras see is the simulated cell."""
        return self.robot.arm.driver == "sim" or self.emulated

    @property
    def folder(self) -> Path:
        """Where this robot's sockets, rings and locks live while it runs."""
        return Path(self.runtime_dir) if self.runtime_dir else base_folder() / self.robot.name


def base_folder() -> Path:
    """Folder of the robots' runtime folders, one each; TANDEM_RUNTIME_DIR moves it."""
    moved = os.environ.get("TANDEM_RUNTIME_DIR", "")
    return Path(moved) if moved else Path("/dev/shm") / f"tandem-{os.getuid()}"


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration, by path or by the name of a packaged one; `overrides` are `a.b=value`.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a wrong value, misfits.
    """
    file = _find(path)
    raw = strict_yaml.read(file)
    for override in overrides:
        _override(raw, override)
    cameras = config_cameras.of_raw(raw.pop("cameras", None) or {}, file)
    config = strict_yaml.convert(raw, Config, file)
    config = _resolved(msgspec.structs.replace(config, cameras=cameras), file)
    for problem in _problems(config):
        raise ConfigError(f"{file}: {problem}")
    return config


def save(config: Config, path: Path) -> None:
    """Write a resolved configuration: child processes read exactly what their parent read."""
    config = msgspec.structs.replace(config, runtime_dir=str(config.folder))
    path.write_text(yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False))


def resolve(name: str, folder: Path) -> Path:
    """The file called `name`: absolute, beside the configuration, or packaged."""
    tried = [folder / Path(name).expanduser(), PACKAGED / name]
    for candidate in tried:
        if candidate.is_file():
            return candidate.resolve()
    raise ConfigError(f"{name} is not there; looked at {' and '.join(str(t) for t in tried)}")


def packaged_names() -> list[str]:
    return sorted(p.stem for p in PACKAGED.glob("*.yaml"))


def _find(path: str | Path) -> Path:
    given = Path(path).expanduser()
    named = PACKAGED / f"{given}.yaml"
    if given.is_file():
        return given.resolve()
    if given.parent == Path() and named.is_file():
        return named
    known = packaged_names()
    near = difflib.get_close_matches(given.stem, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(
        f"no configuration {path}{hint}\nPackaged: {', '.join(known)}. "
        "Give a file of your own by its path."
    )


def _override(raw: dict[str, Any], override: str) -> None:
    """Set one `a.b.c=value`; the value is YAML, an empty one or `null` removes the key."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {override!r}: write key=value, as in executor.rate_hz=1000")
    *parents, leaf = key.strip().split(".")
    section = raw
    for parent in parents:
        inner = section.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"override {override!r}: {parent} holds a value, not keys")
        section = inner
    try:
        section[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: {text!r} is not YAML") from error


def _resolved(config: Config, file: Path) -> Config:
    """The same configuration with absolute files, so that it can be read from anywhere."""
    try:
        limits_file = resolve(config.robot.limits.file, file.parent)
    except ConfigError as error:
        raise ConfigError(f"{file}: robot.limits.file: {error}") from error
    replace = msgspec.structs.replace
    limits = replace(config.robot.limits, file=str(limits_file))
    seen = {n: config_cameras.beside(c, file.parent) for n, c in config.cameras.items()}
    config = replace(config, robot=replace(config.robot, limits=limits), cameras=seen)
    for part in ("s1", "s2"):
        section = getattr(config, part)
        beside = section and section.weights and (file.parent / section.weights).expanduser()
        # Weights may be given without their suffix; a bare name is left to the policy's own folder.
        if beside and any(beside.parent.glob(f"{beside.name}*")):
            config = replace(config, **{part: replace(section, weights=str(beside.resolve()))})
    return config


def _problems(config: Config) -> Iterator[str]:
    """What no single key can know: whether the parts fit together."""
    for part in ("s1", "s2"):
        section = getattr(config, part)
        if section is not None:
            yield from _missing_cameras(f"{part}.cameras", section.cameras, config.cameras)
    if config.s2 is not None and not config.s2.cameras:
        yield "s2.cameras is empty: System 2 needs at least one camera"
    if config.s2 is not None and config.s1 is None:
        yield "s2 without s1: what System 2 understands would reach nobody; add s1 or omit s2"
    sim_cameras = [name for name, camera in config.cameras.items() if camera.driver == "sim"]
    arm_driver = config.robot.arm.driver
    if sim_cameras and not config.simulated:
        at = f" at {config.robot.arm.host}" if config.robot.arm.host else ""
        yield f"cameras.{sim_cameras[0]}.driver is sim, but robot.arm.driver is {arm_driver}{at}"
    yield from config_cameras.problems(config.cameras)
    if config.ladder_ms.conditioning_hold < config.ladder_ms.conditioning_slow:
        yield "ladder_ms.conditioning_hold must not be below ladder_ms.conditioning_slow"
    for key, band in config.console.bands().items():
        if band.error < band.warn:
            yield f"console.{key}.error must not be below console.{key}.warn"
    corners = zip(
        config.robot.limits.workspace_min_m, config.robot.limits.workspace_max_m, strict=True
    )
    if any(low is not None and high is not None and low >= high for low, high in corners):
        yield "robot.limits.workspace_min_m must be below workspace_max_m in x, y and z"
    if len(str(config.folder).encode()) > _MAX_RUNTIME_DIR_BYTES:
        yield (
            f"the runtime folder {config.folder} is too long for a Unix socket: at most "
            f"{_MAX_RUNTIME_DIR_BYTES} bytes; shorten runtime_dir or TANDEM_RUNTIME_DIR"
        )


def _missing_cameras(
    where: str, wanted: Iterable[str], declared: dict[str, Camera]
) -> Iterator[str]:
    for name in wanted:
        if name not in declared:
            near = difflib.get_close_matches(name, declared, 1)
            hint = (
                f"did you mean {near[0]}?" if near else f"declared: {', '.join(declared) or 'none'}"
            )
            yield f"{where} wants the camera {name}, which is not declared under cameras; {hint}"
