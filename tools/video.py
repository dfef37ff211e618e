"""Writes what the cameras saw into one film, side by side, with the task and mode below.

`python -m tandem.tools.video CONFIG FILE`, a process of its own: encoding must never delay the
supervisor.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from tandem.runtime import config, streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import Grid, MonotonicClock
from tandem.runtime.errors import ConfigError
from tandem.tools.observer import Watch, image_readers, observe

_MIN_HEIGHT = 256  # smaller pictures are enlarged by a whole factor
_CAPTION_PX = 28
_RATE_HZ = 30.0


class Film:
    """A file that grows frame by frame. Raises ConfigError when it cannot be written."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._writer: cv2.VideoWriter | None = None
        if not path.parent.is_dir():
            raise ConfigError(f"cannot write {path}: no folder {path.parent}")

    def add(self, image: np.ndarray) -> None:
        """[H, W, 3] RGB, always of the same size."""
        if self._writer is None:
            height, width = image.shape[:2]
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), code, self._rate_hz, (width, height))
            if not self._writer.isOpened():
                raise ConfigError(f"OpenCV cannot write {self._path}; name it something.mp4")
        self._writer.write(np.ascontiguousarray(image[..., ::-1]))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


def tile(images: list[np.ndarray], caption: str) -> np.ndarray:
    """Pictures [h, w, 3] side by side at the same height, the caption below."""
    height = max(_MIN_HEIGHT, *(image.shape[0] for image in images))
    scaled = [_to_height(image, height) for image in images]
    row = np.concatenate(scaled, axis=1)
    bar = np.zeros((_CAPTION_PX, row.shape[1], 3), np.uint8)
    place, font = (8, _CAPTION_PX - 9), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(bar, caption, place, font, 0.5, (230, 230, 230), 1, cv2.LINE_AA)
    picture = np.concatenate([row, bar], axis=0)
    # Encoders want even sides.
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]


def _to_height(image: np.ndarray, height: int) -> np.ndarray:
    scale = height / image.shape[0]
    return cv2.resize(
        image, (round(image.shape[1] * scale), height), interpolation=cv2.INTER_NEAREST
    )


def record(settings: config.Config, path: Path, watch: Watch) -> None:
    film, rings = Film(path, _RATE_HZ), image_readers(settings)
    bus = ZmqBus(settings.folder, "recorder")
    states = bus.subscriber(streams.STATE, "executor")
    tasks = bus.subscriber(streams.TASK, "supervisor")
    grid = Grid(MonotonicClock(), _RATE_HZ)
    watch.line.ready({"film": str(path)})
    try:
        while watch.goes_on():
            grid.wait()
            frames = [ring.latest() for ring in rings.values()]
            states.poll()
            tasks.poll()
            if all(frames):
                mode = states.latest.mode if states.latest else "starting"
                words = tasks.latest.instruction if tasks.latest else ""
                film.add(tile([f.image for f in frames if f], f"{mode}: {words}"))
    finally:
        film.close()
        bus.close()


if __name__ == "__main__":
    sys.exit(observe(lambda watch: record(config.load(sys.argv[1]), Path(sys.argv[2]), watch)))
