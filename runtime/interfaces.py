"""The protocols that a user implements, and the nouns they speak in.

Bringing one's own arm, camera or policy takes one class; nothing here needs a base class.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from tandem.runtime.messages import Conditioning, Level, RobotState

Array = np.ndarray


@dataclass(frozen=True)
class ArmSpec:
    """What an arm is. Vectors are [D] in the order of `joint_names`, limits are the arm's own."""

    name: str
    joint_names: tuple[str, ...]
    q_min: Array  # rad
    q_max: Array  # rad
    dq_max: Array  # rad/s
    ddq_max: Array  # rad/s²
    jerk_max: Array  # rad/s³
    rate_hz: float  # plant rate: how often the arm takes a set-point
    paced_by: Literal["executor", "arm"]
    # Modified Denavit-Hartenberg rows [D, 4], Craig's convention: a_m, d_m, alpha_rad, theta0_rad.
    mdh: Array = field(default_factory=lambda: np.zeros((0, 4)))
    pose_tool_in_flange: Array = field(default_factory=lambda: np.eye(4))  # [4, 4]
    width_max_m: float = 0.08  # of the open gripper
    # How the arm brakes by itself when it runs out of set-points: shares of ddq_max and jerk_max,
    # Ruckig's velocity interface to zero velocity and acceleration, not synchronised.
    # Below 1, so that a knot which meets the braking path halfway stays inside the arm's limits.
    coast_acceleration: float = 0.8
    coast_jerk: float = 0.2
    unset: tuple[str, ...] = ()  # what the arm must be told before a policy may move it: load …


@dataclass(frozen=True, slots=True)
class ArmState:
    """One sample of the arm. `q_d` … is the arm's own set-point: what it is following right now."""

    t_ns: int
    q: Array  # [D] rad
    dq: Array  # [D] rad/s
    tau: Array  # [D] Nm
    q_d: Array  # [D] rad
    dq_d: Array  # [D] rad/s
    ddq_d: Array  # [D] rad/s²
    width_m: float
    status: Literal["idle", "moving", "reflex", "user_stop"]
    error: str | None = None
    # How often the arm ran out of set-points and braked by itself. While `coasting`, it follows its
    # own braking trajectory and accepts only knots that carry the newest count.
    underruns: int = 0
    coasting: bool = False


@dataclass(frozen=True, slots=True)
class Knot:
    """A set-point at a time: position, velocity, acceleration, so any plant rate can be met.

    It must arrive before the arm reaches the knot before it, or the arm brakes: send it one period
    plus the worst lateness ahead. Before that time nothing of it is followed.
    """

    t_ns: int
    q: Array  # [D] rad
    dq: Array  # [D] rad/s
    ddq: Array  # [D] rad/s²
    gripper: float  # 0 closed … 1 open; NaN: nobody has said yet, leave it as it is
    underruns: int = 0  # the ArmState.underruns it was planned from


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about a device that a person should hear once: what happened, and what to do."""

    level: Level
    kind: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


class Arm(Protocol):
    """A driver may tell more of itself: `counters` and `gauges` (mappings by name), and
    `notices()`, a list of what has happened since it was asked last."""

    spec: ArmSpec

    def connect(self) -> None: ...
    def read(self, timeout_ns: int) -> ArmState: ...  # waits for the beat if paced_by == "arm"
    def send(self, knot: Knot) -> None: ...  # never withheld while moving
    def stop(self) -> None: ...  # idempotent
    def recover(self) -> None: ...  # asks to end a reflex, on purpose only; never waits


@dataclass(frozen=True)
class CameraSpec:
    name: str
    height: int
    width: int
    rate_hz: float
    latency_ns: int  # from mid-exposure to the frame in the ring, declared
    depth: bool = False  # it is a DepthCamera


class Camera(Protocol):
    spec: CameraSpec

    def read(self, out: Array, timeout_ns: int) -> int: ...  # fills uint8 RGB; t_capture_ns
    def close(self) -> None: ...


class DepthCamera(Camera, Protocol):
    # Fills uint16 [H, W]: mm along the optical axis, seen as the picture that `read` gave last is
    # seen, pixel by pixel; 0 where nothing is known.
    def depth_mm(self, out: Array) -> None: ...


@dataclass(frozen=True)
class CameraFacts:
    """What an opened device says of itself; another one after it was opened again."""

    text: str  # model, serial number, profile
    differs: str = ""  # what it gives in place of what was asked for, and what to do about it
    clock: str = ""  # where its stamps come from
    clock_error_ns: int | None = None  # how far off they may be, the declared latency apart


class TellingCamera(Camera, Protocol):
    def facts(self) -> CameraFacts | None: ...  # None: not open yet


Rotation = Literal["rotvec", "rpy", "quat_xyzw", "quat_wxyz", "rot6d"]


@dataclass(frozen=True)
class GripperSpec:
    """What the numbers of a gripper's column mean; linear in between, clipped outside."""

    open_at: float = 1.0
    closed_at: float = 0.0
    binary: bool = False  # there are only these two: the nearer one counts


@dataclass(frozen=True)
class ActionSpec:
    """Names the dimensions of an action vector, e.g. ("panda_joint1", …, "gripper"), the last of
    which is the gripper's, and says what they mean; runtime/actions.py has those that are known.

    A pose is x, y, z and then its `rotation`. A delta in the base frame moves the tool along the
    axes of the base and turns it about its own origin: p + Δp, ΔR·R. In the tool frame: T·ΔT.
    """

    names: tuple[str, ...]
    kind: Literal["joint_position", "joint_delta", "tool_pose", "tool_delta"] = "joint_position"
    frame: Literal["base", "tool"] = "base"  # axes of a tool_delta
    rotation: Rotation = "rotvec"
    since: Literal["state", "step"] = "step"  # where a delta starts: at the plan's state, or at
    # the step before
    unit: tuple[float, ...] = ()  # what 1 is in rad or m, per column but the gripper's; (): SI
    bound: float | None = None  # larger numbers are shrunk, all alike, until none is above it
    gripper: GripperSpec = GripperSpec()
    # Position m and quaternion xyzw of the policy's own frames in ours; None: the same.
    tool: tuple[float, ...] | None = None
    base: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Frame:
    """One image out of a ring: a copy that nobody overwrites."""

    image: Array  # [H, W, 3] uint8 RGB
    t_capture_ns: int
    seq: int


@dataclass(frozen=True)
class Observation:
    """What a policy sees: the newest image of each of its cameras, and the newest state: for S1,
    and for an S2 that wants it."""

    t_ns: int
    images: dict[str, Frame] = field(default_factory=dict)
    state: RobotState | None = None


@dataclass(frozen=True)
class S2Spec:
    latent_id: str
    latent_shape: tuple[int, int]  # [K, D]
    cameras: tuple[str, ...]
    wants_state: bool = False  # then it is never asked without a fresh one


class S2Policy(Protocol):
    spec: S2Spec

    def reset(self, instruction: str) -> None: ...
    def step(self, obs: Observation) -> Conditioning: ...


@dataclass(frozen=True)
class S1Spec:
    action: ActionSpec
    horizon: int  # H
    dt_ns: int
    latent_id: str | None  # None: needs no conditioning
    max_age_ms: float  # oldest conditioning it was trained for
    cameras: tuple[str, ...] = ()


class S1Policy(Protocol):
    spec: S1Spec

    def reset(self, instruction: str) -> None: ...
    def step(
        self, obs: Observation, conditioning: Conditioning | None, committed: Array
    ) -> Array: ...  # committed [d, D]: actions of the running chunk still to run first -> [H, D]
