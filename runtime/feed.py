"""One camera on its way into its rings: its last frame, and whether the next one may go there.

A frame that cannot be right is withheld: whoever waits for it then sees that it is old.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import DeviceError
from tandem.runtime.images import ImageRing, RingWriter, depth_ring
from tandem.runtime.interfaces import Camera, CameraFacts


@dataclass
class Feed:
    """One camera, its rings, and what is known of its last frame."""

    camera: Camera
    writer: RingWriter
    depth: RingWriter | None
    period_ns: int
    due_ns: int
    good_ns: int  # when it last gave a frame
    frozen_after_ns: int | None  # None: its picture may stand still
    reading_ns: int = 0  # since when its driver has been asked; 0: it has answered
    told: tuple[str, str] = ("", "")
    index: int = 0
    t_capture_ns: int = -1
    picture: int = -1
    changed_ns: int = 0

    @property
    def name(self) -> str:
        return self.camera.spec.name

    @property
    def timeout_ns(self) -> int:
        return 3 * round(NS_PER_S / self.camera.spec.rate_hz) + 100 * NS_PER_MS

    def fill(self, now_ns: int) -> int:
        """Wait for a frame in the next slot of the ring; t_capture_ns. `now_ns`: since when."""
        self.reading_ns = now_ns
        try:
            return self.camera.read(self.writer.slot(), self.timeout_ns)
        finally:
            self.reading_ns = 0

    def publish(self, t_capture_ns: int, now_ns: int) -> None:
        """Show what was filled in to everybody.

        Raises:
            DeviceError: it cannot be right, and stays hidden.
        """
        self._check(t_capture_ns, now_ns)
        if self.depth is not None:  # before the picture: who sees that finds this
            self.camera.depth_mm(self.depth.slot())  # type: ignore[attr-defined]
            self.depth.commit(t_capture_ns)
        self.writer.commit(t_capture_ns)
        self.good_ns = now_ns

    def news(self) -> tuple[CameraFacts | None, bool]:
        """What the device says of itself, if it does, and whether that is new."""
        facts: CameraFacts | None = getattr(self.camera, "facts", lambda: None)()
        words = (facts.text, facts.differs) if facts is not None else self.told
        new, self.told = words != self.told, words
        return facts, new

    def stuck_ns(self, now_ns: int) -> int:
        """How long beyond its time-out the driver has not come back."""
        since_ns = self.reading_ns
        return max(now_ns - since_ns - self.timeout_ns, 0) if since_ns else 0

    def _check(self, t_capture_ns: int, now_ns: int) -> None:
        if t_capture_ns > now_ns:
            ahead_ms = (t_capture_ns - now_ns) / NS_PER_MS
            raise DeviceError(
                f"its stamps are {ahead_ms:.1f} ms in the future; "
                "the driver must give CLOCK_MONOTONIC of this machine"
            )
        if t_capture_ns <= self.t_capture_ns:
            raise DeviceError("it hands out the same frame again; replug it or restart its driver")
        self.t_capture_ns = t_capture_ns
        if self.frozen_after_ns is not None:
            self._check_moving(self.writer.slot(), now_ns, self.frozen_after_ns)

    def _check_moving(self, image: np.ndarray, now_ns: int, after_ns: int) -> None:
        """A real sensor's noise changes every frame; a stuck driver repeats the last one."""
        picture = zlib.crc32(np.ascontiguousarray(image[::8, ::8]).data)
        if picture != self.picture:
            self.picture, self.changed_ns = picture, now_ns
        elif now_ns - self.changed_ns > after_ns:
            still_s = (now_ns - self.changed_ns) / NS_PER_S
            raise DeviceError(f"its picture is frozen for {still_s:.1f} s; replug it")


def feeds(
    cameras: list[Camera], runtime_dir: Path, now_ns: int, frozen_after_ns: dict[str, int | None]
) -> list[Feed]:
    """One each, with its rings; those that share a thread are due one after the other."""
    made = []
    for k, camera in enumerate(cameras):
        spec, period_ns = camera.spec, round(NS_PER_S / camera.spec.rate_hz)
        made.append(
            Feed(
                camera,
                ImageRing.of(runtime_dir, spec).writer(),
                depth_ring(runtime_dir, spec).writer() if spec.depth else None,
                period_ns,
                now_ns + k * period_ns // len(cameras),
                now_ns,
                frozen_after_ns[spec.name],
            )
        )
    return made


def words_of(facts: CameraFacts) -> str:
    """One line about an opened device."""
    error_ns = facts.clock_error_ns
    within = "" if error_ns is None else f", within {error_ns / NS_PER_MS:.1f} ms"
    differs = f"; {facts.differs}" if facts.differs else ""
    return f"{facts.text}; stamps: {facts.clock}{within}{differs}"
