"""`tandem bench hop`: the way of a conditioning from System 2 to System 1, beside raw pyzmq.

All ways run at the same time in processes of their own, at the same priority, and take turns: way i
of W sends at `t0 + (k + i/W)·period`. So every way meets the same machine, message by message.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from tandem.runtime import messages
from tandem.runtime.clock import NS_PER_S, NS_PER_US
from tandem.runtime.messages import Conditioning
from tandem.tools.bench import bars, children, figures, hop_ends, output

_WARM_UP = 10  # messages: slow joiners miss the first
_READY_S = 60.0
_CODEC_ROUNDS = 300


@dataclass(frozen=True)
class Settings:
    repeats: int = 7
    seconds: float = 15.0
    rate_hz: float = 20.0
    tokens: int = 2  # as the shipped System 2 has them
    width: int = 64
    start_up_s: float = 6.0  # eight interpreters on few cores; senders wait for this moment


def measure(settings: Settings, tell: output.Tell) -> dict[str, Any]:
    """Run everything; the finished document."""
    runs = []
    for repeat in range(settings.repeats):
        tell(f"hop: run {repeat + 1} of {settings.repeats}")
        runs.append(_evaluate(_run(settings, repeat)))
    body = {"settings": vars(settings), **combine(runs), "codec_us": _codec_us(settings)}
    return output.document("hop", settings.repeats, body, bars.hop(body))


def combine(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """{latency_us, lost, ratio, runs}: the median run of each quantile, and what it is to raw."""
    pooled = _pooled(runs, "latency_us")
    bytes_only = _pooled(runs, "bytes_us")
    return {
        "latency_us": pooled,
        "bytes_us": bytes_only,
        "lost": {way: sum(run[way]["lost"] for run in runs) for way in runs[0]},
        "ratio": ratio(pooled["tandem"], pooled["raw_pyzmq"]),
        "ratio_bytes": ratio(bytes_only["tandem"], pooled["raw_pyzmq"]),
        "ratio_typed": ratio(pooled["tandem"], pooled["raw_pyzmq_typed"]),
        "ratio_bytes_asyncio": ratio(bytes_only["tandem"], pooled["raw_pyzmq_asyncio"]),
        "ratio_of_runs": [
            ratio(run["tandem"]["latency_us"], run["raw_pyzmq"]["latency_us"])["p50"]
            for run in runs
        ],
        "runs_detail": list(runs),
    }


def ratio(ours: figures.Summary, theirs: figures.Summary) -> figures.Summary:
    """Quantile by quantile; None where either is missing."""
    result: figures.Summary = {}
    for name in ("p50", "p99"):
        a, b = ours[name], theirs[name]
        result[name] = a / b if a is not None and b else None
    return result


def latencies_ns(sent: np.ndarray, received: np.ndarray) -> np.ndarray:
    """[K, 2] ns: around the message and around the bytes; after minus before, by sequence number.

    `sent` and `received` are rows of (sequence, message stamp, bytes stamp). Without the warm-up.
    """
    before = {seq: (message, data) for seq, message, data in sent.tolist()}
    pairs = [
        (message - before[seq][0], data - before[seq][1])
        for seq, message, data in received.tolist()
        if seq in before and seq >= _WARM_UP
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def table(result: dict[str, Any]) -> Table:
    """Rows: ways. Whole hop (typed where the way is typed) and the bytes alone."""
    names = ("p50 µs", "p99 µs", "max µs", "bytes only p50 µs", "lost", "p50 to raw")
    shown = output.figure_table("conditioning hop S2 → S1", "who", names)
    raw = result["latency_us"]["raw_pyzmq"]
    for way, latency in result["latency_us"].items():
        cells = [output.number(latency[name]) for name in ("p50", "p99", "max")]
        alone = output.number(result["bytes_us"][way]["p50"])
        relative = output.number(ratio(latency, raw)["p50"])
        shown.add_row(way, *cells, alone, str(result["lost"][way]), relative)
    return shown


def _pooled(runs: Sequence[dict[str, Any]], key: str) -> dict[str, figures.Summary]:
    return {way: figures.pooled(run[way][key] for run in runs) for way in runs[0]}


def _evaluate(pairs: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    return {way: _evaluate_way(sent, received) for way, (sent, received) in pairs.items()}


def _evaluate_way(sent: np.ndarray, received: np.ndarray) -> dict[str, Any]:
    latency_ns = latencies_ns(sent, received)
    return {
        "latency_us": figures.summary_us(latency_ns[:, 0]),
        "bytes_us": figures.summary_us(latency_ns[:, 1]),
        "messages": len(latency_ns),
        "lost": max(0, len(sent) - _WARM_UP) - len(latency_ns),
    }


def _run(settings: Settings, repeat: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All ways once, at the same time; their order in the period turns with `repeat`."""
    turn = repeat % len(hop_ends.WAYS)
    ways = hop_ends.WAYS[turn:] + hop_ends.WAYS[:turn]
    with tempfile.TemporaryDirectory(prefix="tandem-hop-", dir="/dev/shm") as name:
        folder = Path(name)
        with _ends(ways, settings, folder) as processes:
            for process in processes:
                children.finish(process, settings.seconds + settings.start_up_s + _READY_S)
        return {
            way: (np.load(_path(folder, "send", way)), np.load(_path(folder, "receive", way)))
            for way in hop_ends.WAYS
        }


@contextlib.contextmanager
def _ends(ways: Sequence[str], settings: Settings, folder: Path) -> Iterator[list[Any]]:
    period_ns = round(NS_PER_S / settings.rate_hz)
    count = max(_WARM_UP + 1, int(settings.seconds * settings.rate_hz))
    start_ns = time.monotonic_ns() + round(settings.start_up_s * NS_PER_S)
    with contextlib.ExitStack() as stack:
        processes = []
        for role in ("receive", "send"):
            for place, way in enumerate(ways):
                t0_ns = start_ns + place * period_ns // len(ways)
                plan = hop_ends.Plan(t0_ns, period_ns, count, settings.tokens, settings.width)
                path = _path(folder, role, way)
                command = children.module("hop_ends", role, way, folder, path, *plan)
                processes.append(stack.enter_context(children.child(command)))
        yield processes


def _path(folder: Path, role: str, way: str) -> Path:
    return folder / f"{way}.{role}.npy"


def _codec_us(settings: Settings) -> dict[str, Any]:
    """What typing costs by itself: encode and typed decode of that message, in this process."""
    encode_ns, decode_ns = [], []
    for seq in range(_CODEC_ROUNDS):
        outgoing = hop_ends.message(seq, settings.tokens, settings.width)
        start_ns = time.monotonic_ns()
        data = messages.encode(outgoing)
        middle_ns = time.monotonic_ns()
        messages.decode(Conditioning, data)
        encode_ns.append(middle_ns - start_ns)
        decode_ns.append(time.monotonic_ns() - middle_ns)
    return {
        "bytes": len(data),
        "encode_p50": float(np.median(encode_ns)) / NS_PER_US,
        "decode_p50": float(np.median(decode_ns)) / NS_PER_US,
    }
