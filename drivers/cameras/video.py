"""A video file as a camera, by OpenCV: at the file's own speed, or a frame in each period."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tandem.drivers.cameras.film import FilmCamera
from tandem.drivers.cameras.picture import Fit, put
from tandem.runtime.clock import NS_PER_S, Clock
from tandem.runtime.errors import AbsentError, DeviceError
from tandem.runtime.interfaces import CameraSpec


class VideoFilm:
    """Implements film.Film. At its own speed, of a faster file the newest frame of each period."""

    def __init__(self, file: str, rate_hz: float, every_frame: bool, fit: Fit) -> None:
        self._file, self._every_frame, self._fit = Path(file), every_frame, fit
        self._rate_hz = self._file_hz = rate_hz
        self._capture: Any = None
        self._frame = np.empty(0, np.uint8)
        self._index = self._turn = -1

    def open(self) -> str:
        if not self._file.is_file():
            raise AbsentError(f"there is no video {self._file}; correct the camera's `file`")
        self._capture = cv2.VideoCapture(str(self._file), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise DeviceError(f"{self._file} is no video that OpenCV can decode; try .mp4 (H.264)")
        self._file_hz = self._capture.get(cv2.CAP_PROP_FPS) or self._rate_hz
        width, height = (
            round(self._capture.get(p))
            for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self._frame = np.empty((height, width, 3), np.uint8)
        self._index = self._turn = -1
        speed = self._rate_hz / self._file_hz if self._every_frame else 1
        what = f"{width}x{height} at {self._file_hz:g} Hz"
        return f"{self._file}, {what}, at {speed:.3g} times its speed"

    def advance(self) -> int | None:
        if self._every_frame:
            self._index += 1
            grabbed = self._capture.grab()
            return round(self._index * NS_PER_S / self._rate_hz) if grabbed else None
        before = self._index
        while self._index == before:  # a period that is shorter than a frame shows it only once
            self._turn += 1
            wanted = int(self._turn * self._file_hz / self._rate_hz + 1e-6)
            while self._index < wanted:
                self._index += 1
                if not self._capture.grab():
                    return None
        return round(self._index * NS_PER_S / self._file_hz)

    def show(self, out: np.ndarray) -> None:
        decoded, image = self._capture.retrieve(self._frame)
        if not decoded:
            raise DeviceError(f"frame {self._index} of {self._file} cannot be decoded")
        put(image, out, self._fit, "bgr")

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()


def video(
    spec: CameraSpec,
    latency_ns: int | None,
    file: str,
    loop: bool = True,
    every_frame: bool = False,
    fit: Fit = "crop",
    clock: Clock | None = None,
) -> FilmCamera:
    film = VideoFilm(file, spec.rate_hz, every_frame, fit)
    return FilmCamera(spec, film, latency_ns, loop, clock)
