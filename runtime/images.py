"""Images on their way from a camera to whoever looks: stream `image/<camera>`, in shared memory."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import ConfigError, WireError
from tandem.runtime.interfaces import CameraSpec, Frame
from tandem.runtime.rings import Record, RingReader, RingWriter, SharedRing

__all__ = [
    "FrameBox",
    "FrameSource",
    "ImageReader",
    "ImageRing",
    "Record",
    "RingReader",
    "RingWriter",
    "SharedRing",
    "chosen",
    "depth_ring",
    "fresh_frames",
    "max_age_ns",
]


_RING_BYTES = 32 << 20
_LEAST_SLOTS, _MOST_SLOTS = 8, 32


class ImageRing:
    """A ring of RGB images [H, W, 3] uint8, stamped with t_capture_ns.

    As many as 32 MiB hold, within reason: a recorder, which is nice to everybody, may be a second
    late before it loses a picture.
    """

    def __init__(self, path: Path, spec: CameraSpec) -> None:
        self.spec = spec
        shape = (spec.height, spec.width, 3)
        slots = min(max(_RING_BYTES // math.prod(shape), _LEAST_SLOTS), _MOST_SLOTS)
        self.ring = SharedRing(path, shape, np.dtype(np.uint8), slots)

    @classmethod
    def of(cls, runtime_dir: Path, spec: CameraSpec) -> "ImageRing":
        """The ring of a camera in a runtime directory: stream `image/<camera>`."""
        return cls(runtime_dir / f"image.{spec.name}", spec)

    def writer(self) -> RingWriter:
        """`slot()` gives [H, W, 3] uint8 to fill, `commit(t_capture_ns)` publishes it."""
        return self.ring.writer()

    def reader(self) -> "ImageReader":
        return ImageReader(self.spec, self.ring.reader())


def depth_ring(runtime_dir: Path, spec: CameraSpec) -> SharedRing:
    """The ring of a camera's depth: [H, W] uint16 mm, 0 unknown, stamped as its picture is."""
    pictures = ImageRing.of(runtime_dir, spec).ring
    shape = (spec.height, spec.width)
    return SharedRing(
        runtime_dir / f"depth.{spec.name}", shape, np.dtype(np.uint16), pictures.slots
    )


def max_age_ns(spec: CameraSpec) -> int:
    """Oldest frame that may still be acted on: declared latency, two periods, and 30 ms."""
    return spec.latency_ns + round(2 * NS_PER_S / spec.rate_hz) + 30 * NS_PER_MS


class FrameSource(Protocol):
    """Where a loop gets a camera's newest frame from."""

    @property
    def spec(self) -> CameraSpec: ...

    def latest(self) -> Frame | None: ...


class FrameBox:
    """A frame source inside one process: what was put there last."""

    def __init__(self, spec: CameraSpec) -> None:
        self.spec = spec
        self._frame: Frame | None = None
        self._seq = 0

    def put(self, image: np.ndarray, t_capture_ns: int) -> None:
        self._frame = Frame(image, t_capture_ns, self._seq)
        self._seq += 1

    def latest(self) -> Frame | None:
        return self._frame


class ImageReader:
    """The newest frame of a camera, copied out."""

    def __init__(self, spec: CameraSpec, reader: RingReader) -> None:
        self.spec = spec
        self.ring = reader

    def latest(self) -> Frame | None:
        record = self.ring.latest()
        return Frame(record.payload, record.t_ns, record.seq) if record else None

    def since(self, seq: int) -> list[Frame]:
        """Frames newer than `seq` that are still in the ring, oldest first."""
        return [Frame(r.payload, r.t_ns, r.seq) for r in self.ring.since(seq)]


def chosen(cameras: Mapping[str, FrameSource], names: Sequence[str]) -> dict[str, FrameSource]:
    """The cameras that a policy asks for, in its order.

    Raises:
        ConfigError: one of them does not exist.
    """
    missing = [name for name in names if name not in cameras]
    if missing:
        raise ConfigError(
            f"the policy needs camera {', '.join(missing)}; configured are "
            f"{', '.join(sorted(cameras)) or 'none'}. Add it under cameras:, or name another"
        )
    return {name: cameras[name] for name in names}


def fresh_frames(
    cameras: Mapping[str, FrameSource], now_ns: int
) -> tuple[dict[str, Frame], str | None]:
    """The newest frame of each camera, and what is wrong if one is missing or too old."""
    frames = {}
    for name, source in cameras.items():
        try:
            frame = source.latest()
        except WireError as error:
            return {}, str(error)
        if frame is None:
            return {}, f"no frame of camera {name} yet; is its process running?"
        age_ns, limit_ns = now_ns - frame.t_capture_ns, max_age_ns(source.spec)
        if age_ns > limit_ns:
            return {}, (
                f"the newest frame of camera {name} is {age_ns // NS_PER_MS} ms old, at most "
                f"{limit_ns // NS_PER_MS} ms are accepted; look at the camera process"
            )
        frames[name] = frame
    return frames, None
