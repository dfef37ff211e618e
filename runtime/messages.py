"""Every message that crosses a process boundary: typed structs, msgpack maps, array bytes raw.

Unknown fields are ignored so that a newer sender can be read; another `schema` is refused. Messages
are born invalid: a sender sets `valid=True` once the message says something true. Times are
CLOCK_MONOTONIC nanoseconds of the boot named in `boot_id`. SI units, radians.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from tandem.runtime.clock import boot_id
from tandem.runtime.errors import WireError

SCHEMA = 1
_DTYPES = {name: np.dtype(name) for name in ("<f8", "<f4", "<f2", "<i8", "<i4", "|u1", "|b1")}
_MAX_DIMENSIONS = 4

Count = Annotated[int, msgspec.Meta(ge=0)]
Mode = Literal["idle", "hold", "policy", "teleop", "stopping", "fault"]
ArmStatus = Literal["idle", "moving", "reflex", "user_stop"]
Level = Literal["info", "warn", "error"]
REFUSED = "refused"  # kind of the event in which a policy refuses the task that its data name
Verb = Literal[
    "go", "hold", "reset", "stop", "take_lease", "release_lease", "status", "ping", "sim"
]


class Message(msgspec.Struct, kw_only=True):
    """What every message carries. `seq` counts up per sender and stream, from 0."""

    schema: int = SCHEMA
    seq: Count = 0
    boot_id: str = msgspec.field(default_factory=boot_id)
    t_ns: int = 0
    valid: bool = False


class RobotState(Message, kw_only=True):
    """executor → all. `t_ns`: when the arm was so; `*_cmd`: the command truly applied."""

    q: np.ndarray  # [D] rad, measured
    dq: np.ndarray  # [D] rad/s, measured
    tau: np.ndarray  # [D] Nm, measured
    q_cmd: np.ndarray  # [D] rad, the set-point that the arm follows at t_ns
    dq_cmd: np.ndarray  # [D] rad/s
    ddq_cmd: np.ndarray  # [D] rad/s²
    gripper_cmd: float  # 0 closed … 1 open
    width_m: float
    mode: Mode
    epoch: Count
    fault: str | None = None
    holding_for: str | None = None  # why motion is slowed or held, for people
    pace: float = 1.0  # ds/dt of the chunk clock, 0 … 1
    operator: str | None = None  # holder of the lease
    chunk_seq: int = -1  # chunk being executed, -1: none
    conditioning_seq: int = -1  # its parent
    t_capture_ns: int = 0  # image behind the applied command, 0: none
    arm_status: ArmStatus = "idle"  # what the arm says of itself; it decides, so it is recorded
    arm_error: str | None = None
    underruns: Count = 0  # how often the arm ran out of set-points and braked by itself
    coasting: bool = False  # it does so now
    # The tick that says so, so that it can be replayed: when it was due, woke and was done, and
    # what it took in: stamps (t_ns) of chunk, operator and task, by stream, in their order. Then
    # for how many ns there was "silence" of the supervisor or the computer was "asleep", if too
    # long; and "end", when the process was told to.
    t_due_ns: int = 0
    t_wake_ns: int = 0
    t_done_ns: int = 0
    heard: dict[str, list[int]] = {}


class Conditioning(Message, kw_only=True):
    """s2 → s1. What System 2 understood: the read-out tokens and how old each part of it is."""

    latent: np.ndarray  # [K, D] float16
    latent_id: str  # hash of the S2 weights and read-out
    instruction_id: Count
    t_capture_ns: int  # mid-exposure of the newest image seen
    frame_seq: int  # its sequence number in the ring
    version: list[int]  # per static level: how often it was refreshed
    age_frames: list[int]  # per static level: frames since its refresh
    gate: list[float]  # per static level: recache score, 0 … 1
    refreshed: list[bool]  # per static level: refreshed for this frame
    macs: int = 0  # trunk multiply-adds spent on this frame
    macs_full: int = 0  # what a full recomputation would have cost
    t_state_ns: int = 0  # stamp of the RobotState behind it, 0: it was not asked for
    timings_ns: dict[str, int] = {}  # per stage: vision, gate, trunk, readout …


class ActionChunk(Message, kw_only=True):
    """s1 → executor. `actions[i]` is the target at `t0_ns + (i+1)·dt_ns`."""

    actions: np.ndarray  # [H, D] float64, dimensions named by ActionSpec
    t0_ns: int  # stamp of the RobotState that the chunk was planned from
    dt_ns: int
    epoch: Count
    instruction_id: Count
    conditioning_seq: int = -1
    t_capture_ns: int = 0  # newest image behind it
    t_conditioning_ns: int = 0  # when that conditioning was published
    timings_ns: dict[str, int] = {}  # wait, infer; and the delay that was expected, from the state


class OperatorCommand(Message, kw_only=True):
    """teleop → executor: velocity in the policy's chair."""

    lease: str
    want: Literal["standby", "drive"]
    deadman: bool
    frame: Literal["joint", "base", "tool"]
    velocity: np.ndarray  # [D] rad/s, or [6] m/s and rad/s
    gripper: float | None = None  # 0 closed … 1 open, None: keep


class Task(Message, kw_only=True):
    """supervisor → all, latched: what is to be done. Each instruction has the next id."""

    instruction: str
    instruction_id: Count
    epoch: Count  # the executor's last word, as the supervisor heard it


class Tick(Message, kw_only=True):
    """loop → observers: every tick since the last batch, none sampled away."""

    source: str
    rate_hz: float  # the rate asked for; 0: paced by data
    lateness_ns: np.ndarray  # [N] int64, wake minus due
    work_ns: np.ndarray  # [N] int64
    missed: Count  # ticks skipped, since start
    counters: dict[str, int] = {}  # since start
    gauges: dict[str, float] = {}
    samples_ns: dict[str, np.ndarray] = {}  # named latencies measured since the last batch, int64


class Event(Message, kw_only=True):
    """anyone → observers: something a person would want to know."""

    source: str
    level: Level
    kind: str  # mode, fault, refresh, restart, late, realtime …
    text: str
    data: dict[str, Any] = {}


class Request(Message, kw_only=True):
    verb: Verb
    text: str = ""  # instruction, lease holder, for "sim" a JSON object {"do": …} …


class Reply(Message, kw_only=True):
    ok: bool
    text: str = ""  # the reason of a refusal, or the answer
    data: dict[str, Any] = {}


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {
            "dtype": value.dtype.str,
            "shape": value.shape,
            "data": value.tobytes(),
        }
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot go on the wire")


def _decode_array(kind: type, value: Any) -> Any:
    if kind is not np.ndarray:
        raise TypeError(f"no decoder for {kind}")
    dtype, shape, data = _DTYPES.get(value["dtype"]), value["shape"], value["data"]
    if dtype is None:
        raise ValueError(f"dtype {value['dtype']!r} is not allowed on the wire")
    if len(shape) > _MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"shape {shape!r} is not a shape")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_DECODERS: dict[type, msgspec.msgpack.Decoder[Any]] = {}
M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    return _ENCODER.encode(message)


def decode(kind: type[M], data: bytes | memoryview, max_bytes: int = 1 << 20) -> M:
    """Typed decode; arrays come back read-only and share the buffer.

    Raises:
        WireError: too large, not msgpack, wrong types, or another schema.
    """
    if len(data) > max_bytes:
        raise WireError(f"{kind.__name__}: {len(data)} bytes, at most {max_bytes} are accepted")
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind, dec_hook=_decode_array)
    try:
        message: M = decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise WireError(f"{kind.__name__}: {error}") from error
    if message.schema != SCHEMA:
        raise WireError(f"{kind.__name__}: schema {message.schema}, this side speaks {SCHEMA}")
    return message
