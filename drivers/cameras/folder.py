"""A folder of images as a camera: sorted by name, one in each period."""

from pathlib import Path

import cv2
import numpy as np
from tandem.drivers.cameras.film import FilmCamera
from tandem.drivers.cameras.picture import Fit, put
from tandem.runtime.clock import NS_PER_S, Clock
from tandem.runtime.errors import AbsentError, DeviceError
from tandem.runtime.interfaces import CameraSpec

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class FolderFilm:
    """Implements film.Film."""

    def __init__(self, path: str, rate_hz: float, fit: Fit) -> None:
        self._path, self._fit = Path(path), fit
        self._period_ns = round(NS_PER_S / rate_hz)
        self._files: list[Path] = []
        self._index = -1

    def open(self) -> str:
        if not self._path.is_dir():
            raise AbsentError(f"there is no folder {self._path}; correct the camera's `path`")
        self._files = sorted(p for p in self._path.iterdir() if p.suffix.lower() in _SUFFIXES)
        if not self._files:
            raise AbsentError(f"{self._path} holds no images ({', '.join(_SUFFIXES)})")
        self._index = -1
        return f"{len(self._files)} images of {self._path}"

    def advance(self) -> int | None:
        self._index += 1
        return self._index * self._period_ns if self._index < len(self._files) else None

    def show(self, out: np.ndarray) -> None:
        file = self._files[self._index]
        image = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
        if not file.exists():
            raise AbsentError(f"{file} is gone; correct the camera's `path`, or put it back")
        if image is None:
            raise DeviceError(f"{file} cannot be read as an image; mend it or take it away")
        put(image, out, self._fit, "rgb")

    def close(self) -> None:
        self._files = []


def folder(
    spec: CameraSpec,
    latency_ns: int | None,
    path: str,
    loop: bool = True,
    fit: Fit = "crop",
    clock: Clock | None = None,
) -> FilmCamera:
    """Raises nothing: that the folder is missing, the first `read` says."""
    return FilmCamera(spec, FolderFilm(path, spec.rate_hz, fit), latency_ns, loop, clock)
