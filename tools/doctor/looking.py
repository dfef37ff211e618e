"""Cameras looked through: what each really gives, measured for a while, and a picture of it.

One of a daemon that runs is looked at in its ring, as its readers do; a device has one master.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import AbsentError, DeviceTimeoutError, TandemError
from tandem.runtime.images import ImageRing, depth_ring
from tandem.runtime.interfaces import Camera, CameraFacts, CameraSpec
from tandem.tools.doctor.finding import Finding, advice, ok, wrong

_OPENING_S = 8.0
_READ_NS = 250 * NS_PER_MS
_RATE_SHARE = 0.9
_RETRY_S = 0.2
_RING_POLL_S = 0.005
_FRESH_NS = NS_PER_S
_FAR_MM = 4000


@dataclass
class Look:
    """What came of looking through one camera. Stamps and arrivals in ns."""

    spec: CameraSpec
    t_ns: list[int] = field(default_factory=list)
    seen_ns: list[int] = field(default_factory=list)
    image: np.ndarray | None = None
    depth: np.ndarray | None = None
    facts: CameraFacts | None = None
    error: str = ""
    of_daemon: bool = False


def through(cameras: list[Camera], seconds: float) -> Iterator[Look]:
    """Each opened here, all at once, for `seconds` from its first frame on."""
    looks = [Look(camera.spec) for camera in cameras]
    yield from _together(
        [
            (look, lambda look=look, camera=camera: _look(look, camera, seconds))
            for look, camera in zip(looks, cameras, strict=True)
        ],
        seconds,
    )


def in_rings(folder: Path, specs: list[CameraSpec], seconds: float) -> Iterator[Look]:
    """Those of a daemon that runs: nothing is opened, nobody is disturbed."""
    looks = [Look(spec, of_daemon=True) for spec in specs]
    yield from _together(
        [(look, lambda look=look: _look_at_ring(look, folder, seconds)) for look in looks], seconds
    )


def is_running(folder: Path, spec: CameraSpec) -> bool:
    """Somebody fills this camera's ring right now."""
    try:
        frame = ImageRing.of(folder, spec).reader().latest()
    except TandemError:
        return False
    return frame is not None and time.monotonic_ns() - frame.t_capture_ns < _FRESH_NS


def finding(look: Look, file: Path | None) -> Finding:
    """In words, with what to do. `file`: where its picture went."""
    name, spec = look.spec.name, look.spec
    if len(look.t_ns) < 2:
        return wrong(
            name, look.error or "it gave no frame", "whoever looks through it waits", _CURE
        )
    found = _measured(look) + (f"; picture: {file}" if file else "")
    rate_hz = _rate_hz(look)
    if look.facts is not None and look.facts.differs:
        return advice(
            name, found, look.facts.differs, "write what it offers into the configuration"
        )
    if rate_hz < _RATE_SHARE * spec.rate_hz:
        why = (
            f"{rate_hz:.1f} of {spec.rate_hz:g} frames a second: policies see less than they could"
        )
        return advice(
            name, found, why, "more light or a fixed exposure_us; a USB 3 port of its own"
        )
    return ok(name, found)


_CURE = "plug it in, end whoever else has it (fuser -v /dev/video*), or correct its block"


def write(look: Look, folder: Path) -> Path | None:
    """Its newest picture as NAME.png, its depth as NAME_depth.png beside it."""
    if look.image is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{look.spec.name}.png"
    cv2.imwrite(str(file), cv2.cvtColor(look.image, cv2.COLOR_RGB2BGR))
    if look.depth is not None:
        cv2.imwrite(str(folder / f"{look.spec.name}_depth.png"), coloured(look.depth))
    return file


def coloured(depth_mm: np.ndarray) -> np.ndarray:
    """[H, W] uint16 as a picture to look at, BGR: near is warm, unknown is black, to 4 m."""
    near = 255 - np.clip(depth_mm.astype(np.float32) * (255 / _FAR_MM), 0, 255).astype(np.uint8)
    seen: np.ndarray = cv2.applyColorMap(near, cv2.COLORMAP_TURBO)
    seen[depth_mm == 0] = 0
    return seen


def _together(tasks: list[tuple[Look, Callable[[], None]]], seconds: float) -> Iterator[Look]:
    threads = [threading.Thread(target=task, daemon=True) for _, task in tasks]
    for thread in threads:
        thread.start()
    end_s = time.monotonic() + seconds + _OPENING_S + 2
    for (look, _), thread in zip(tasks, threads, strict=True):
        thread.join(max(end_s - time.monotonic(), 0))
        if thread.is_alive():
            look.error = look.error or "its driver does not come back"
        yield look


def _look(look: Look, camera: Camera, seconds: float) -> None:
    out = np.zeros((look.spec.height, look.spec.width, 3), np.uint8)
    end_s = time.monotonic() + _OPENING_S
    try:
        while time.monotonic() < end_s:
            try:
                t_ns = camera.read(out, _READ_NS + round(NS_PER_S / look.spec.rate_hz))
            except DeviceTimeoutError as error:
                look.error = str(error)
                continue
            except AbsentError as error:
                look.error = str(error)
                break
            except TandemError as error:
                look.error = str(error)
                time.sleep(_RETRY_S)
                continue
            end_s = end_s if look.t_ns else time.monotonic() + seconds
            look.t_ns.append(t_ns)
            look.seen_ns.append(time.monotonic_ns())
        _keep(look, camera, out)
    finally:
        camera.close()


def _keep(look: Look, camera: Camera, out: np.ndarray) -> None:
    facts = getattr(camera, "facts", None)
    look.facts = facts() if facts is not None else None
    look.image = out if look.t_ns else None
    if look.spec.depth and look.t_ns:
        look.depth = np.zeros(out.shape[:2], np.uint16)
        camera.depth_mm(look.depth)  # type: ignore[attr-defined]


def _look_at_ring(look: Look, folder: Path, seconds: float) -> None:
    reader = ImageRing.of(folder, look.spec).reader()
    end_s, seq = time.monotonic() + seconds, reader.ring.count - 1
    while time.monotonic() < end_s:
        for frame in reader.since(seq):
            look.t_ns.append(frame.t_capture_ns)
            look.seen_ns.append(time.monotonic_ns())
            look.image, seq = frame.image, frame.seq
        time.sleep(_RING_POLL_S)
    depth = depth_ring(folder, look.spec).reader().latest() if look.spec.depth else None
    look.depth = depth.payload if depth is not None else None


def _rate_hz(look: Look) -> float:
    span_ns = look.t_ns[-1] - look.t_ns[0]
    return (len(look.t_ns) - 1) * NS_PER_S / span_ns if span_ns else 0.0


def _measured(look: Look) -> str:
    apart_ms = np.diff(look.t_ns) / NS_PER_MS
    p50, p99 = np.percentile(apart_ms, [50, 99])
    age_ms = (np.array(look.seen_ns) - np.array(look.t_ns)) / NS_PER_MS
    facts = look.facts
    what = f"{facts.text}: " if facts is not None else "of the daemon that runs: " * look.of_daemon
    parts = [
        f"{what}{_rate_hz(look):.1f} Hz over {len(look.t_ns)} frames",
        f"{p50:.1f} ms apart (p99 {p99:.1f}, jitter {np.std(apart_ms):.1f})",
        f"{np.median(age_ms):.0f} ms old on arrival (at most {age_ms.max():.0f})",
    ]
    if facts is not None and facts.clock:
        error_ns = facts.clock_error_ns
        within = f", within {error_ns / NS_PER_MS:.1f} ms" if error_ns is not None else ""
        parts.append(f"stamps: {facts.clock}{within}")
    return "; ".join(parts)
