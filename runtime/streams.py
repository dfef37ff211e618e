"""The one table of streams: who may send what, how fast, how large, and how old it may be.

A name, a rate or an age written anywhere else is a bug. One endpoint a stream and sender,
single-part frames: under ZeroMQ's CONFLATE a multipart message keeps only its last part and two
topics share a slot.
"""

from dataclasses import dataclass
from pathlib import Path

from tandem.runtime import messages
from tandem.runtime.clock import NS_PER_MS


@dataclass(frozen=True)
class Stream:
    """One row. `conflate`: readers want the newest only. `latched`: resent at 1 Hz. `passed_on`:
    another process may take the sender's place while that one is frozen.
    """

    name: str
    kind: type[messages.Message]
    rate_hz: float
    max_age_ns: int
    max_bytes: int
    conflate: bool = True
    latched: bool = False
    passed_on: bool = False


_KIB = 1 << 10
_NEVER = 1 << 62

CONDITIONING = Stream("conditioning", messages.Conditioning, 10, _NEVER, 1024 * _KIB)
STATE = Stream("state", messages.RobotState, 200, 50 * NS_PER_MS, 16 * _KIB)
CHUNK = Stream("chunk", messages.ActionChunk, 20, _NEVER, 256 * _KIB)
OPERATOR = Stream(
    "operator", messages.OperatorCommand, 100, 100 * NS_PER_MS, 4 * _KIB, passed_on=True
)
TASK = Stream("task", messages.Task, 1, _NEVER, 16 * _KIB, latched=True)
TICK = Stream("tick", messages.Tick, 10, 1000 * NS_PER_MS, 1024 * _KIB, conflate=False)
EVENT = Stream("event", messages.Event, 0, _NEVER, 64 * _KIB, conflate=False)
# Where ticks outnumber states, the state of every tick, if record.every_tick asks for it.
BEAT = Stream("beat", messages.RobotState, 1000, _NEVER, 16 * _KIB, conflate=False)

STREAMS = {s.name: s for s in (CONDITIONING, STATE, CHUNK, OPERATOR, TASK, TICK, EVENT, BEAT)}

REQUEST_TIMEOUT_NS = 1000 * NS_PER_MS
REQUEST_MAX_BYTES = 16 * _KIB


def endpoint(runtime_dir: Path, stream: Stream, source: str) -> str:
    """Address that `source` binds to publish `stream`, and that its readers connect to."""
    return f"ipc://{runtime_dir}/{stream.name}.{source}"


def request_endpoint(runtime_dir: Path, server: str) -> str:
    """Address where "executor", "executor-stop", "supervisor" or "sim" answers requests."""
    return f"ipc://{runtime_dir}/request.{server}"
