"""Cameras whose pictures carry their number, as files and devices for every driver to read.

A picture is reddish, has a blue corner at its top left, and a row of eight cells which spell its
number in bits, green for 1. All films are short, so that one that was taken away is soon missed.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
from tandem.drivers.cameras.make import real_camera
from tandem.runtime.interfaces import Camera, CameraSpec
from tandem.tools.record.channels import CAMERA, image, image_schema
from tandem.tools.record.eyes import encode

WIDTH, HEIGHT = 320, 240
GROUND, CORNER = (180, 30, 60), (20, 30, 220)
FRAMES = 12
_GREEN = (20, 230, 40)
_CORNER_PX = 40
_CELL_PX, _ROW_PX, _LEFT_PX = 20, slice(150, 190), 80
SHIM = Path(__file__).with_name("v4l2_emulator.c")


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """[height, width, 3] uint8 RGB."""
    drawn = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    drawn[:_CORNER_PX, :_CORNER_PX] = CORNER
    for bit in range(8):
        left = _LEFT_PX + bit * _CELL_PX
        drawn[_ROW_PX, left : left + _CELL_PX] = _GREEN if number >> bit & 1 else (0, 0, 0)
    return cv2.resize(drawn, (width, height), interpolation=cv2.INTER_NEAREST)


def number_in(seen: np.ndarray) -> int:
    """What a picture says, of any size; -1 if it is none of ours, or distorted."""
    side = min(seen.shape[0] / HEIGHT, seen.shape[1] / WIDTH)
    scale = max(seen.shape[0] / HEIGHT, seen.shape[1] / WIDTH) if seen.shape[0] else side
    y = round(seen.shape[0] / 2 + (170 - HEIGHT / 2) * scale)
    number = 0
    for bit in range(8):
        centre = _LEFT_PX + (bit + 0.5) * _CELL_PX - WIDTH / 2
        x = round(seen.shape[1] / 2 + centre * scale)
        red, green, blue = (int(c) for c in seen[y, x])
        if max(red, blue) > 110 or 60 < green < 140:
            return -1
        number |= (green > 100) << bit
    return number


class Subject:
    """One driver with something to look at: so many `frames`, then it begins anew."""

    driver, rate_hz, frames = "", 60.0, FRAMES
    exclusive = False
    away_s = 1.0  # a driver may take so long to miss what is gone

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder / "place"

    def make(
        self, latency_ms: float | None = None, size: tuple[int, int] = (160, 120), **keys: object
    ) -> Camera:
        spec = CameraSpec("front", size[1], size[0], self.rate_hz, round(1e9 / self.rate_hz))
        return real_camera(self.driver, spec, latency_ms, self.keys() | keys)

    def keys(self) -> dict[str, object]:
        raise NotImplementedError

    def slow(self) -> Camera:
        """A camera that gives a frame or a few, then none for a second."""
        raise NotImplementedError

    def go_on(self) -> None:
        """After `slow`."""

    def unplug(self) -> None:
        self.place.rename(self.folder / "away")

    def plug(self) -> None:
        (self.folder / "away").rename(self.place)


class FolderSubject(Subject):
    driver = "folder"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.place.mkdir()
        for k in range(FRAMES):
            cv2.imwrite(str(self.place / f"{k:03}.png"), picture(k)[..., ::-1])

    def keys(self) -> dict[str, object]:
        return {"path": str(self.place)}

    def slow(self) -> Camera:
        spec = CameraSpec("front", 120, 160, 0.8, 10**9)
        return real_camera(self.driver, spec, None, self.keys())


class VideoSubject(Subject):
    driver = "video"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        made = folder / "made.mp4"
        writer = cv2.VideoWriter(
            str(made), cv2.VideoWriter.fourcc(*"mp4v"), self.rate_hz, (WIDTH, HEIGHT)
        )
        for k in range(FRAMES):
            writer.write(np.ascontiguousarray(picture(k)[..., ::-1]))
        writer.release()
        made.rename(self.place)

    def keys(self) -> dict[str, object]:
        return {"file": str(self.place)}

    def slow(self) -> Camera:
        spec = CameraSpec("front", 120, 160, 0.8, 10**9)
        return real_camera(self.driver, spec, None, {**self.keys(), "every_frame": True})


class McapSubject(Subject):
    driver = "mcap"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._write(self.place, [round(k * 1e9 / self.rate_hz) for k in range(FRAMES)])
        self._write(folder / "slow.mcap", [0, 1_250_000_000])

    def _write(self, file: Path, times_ns: list[int]) -> None:
        from mcap.writer import Writer

        with file.open("wb") as stream:
            writer = Writer(stream)
            writer.start()
            name, schema = image_schema()
            kind = writer.register_schema(name, "protobuf", schema)
            channel = writer.register_channel(CAMERA + "front", "protobuf", kind)
            for k, t_ns in enumerate(times_ns):
                utc_ns = 1_700_000_000_000_000_000 + t_ns
                data = image(encode(picture(k)), "jpeg", "front", utc_ns)
                writer.add_message(channel, utc_ns, data, utc_ns, k)
            writer.finish()

    def keys(self) -> dict[str, object]:
        return {"path": str(self.place)}

    def slow(self) -> Camera:
        spec = CameraSpec("front", 120, 160, 60.0, 10**9)
        return real_camera(self.driver, spec, None, {"path": str(self.folder / "slow.mcap")})


class RealSenseSubject(Subject):
    driver, rate_hz, frames = "realsense", 30.0, 20
    away_s = 2.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from tests.drivers.realsense_film import record

        self.place = folder / "place.db3"
        record(self.place, [k * 1000 / self.rate_hz for k in range(self.frames)])
        gap = [0.0, 33.3, 66.7, 800.0, 833.3]
        record(folder / "slow.db3", gap)

    def keys(self) -> dict[str, object]:
        return {"file": str(self.place), "serial": "0123456789"}

    def slow(self) -> Camera:
        spec = CameraSpec("front", 120, 160, 30.0, 33_000_000)
        return real_camera(self.driver, spec, None, {"file": str(self.folder / "slow.db3")})


class UvcSubject(Subject):
    """Only in a process that runs on the emulated device: see `emulated`."""

    driver, rate_hz, frames, exclusive = "uvc", 30.0, 8, True

    def __init__(self, folder: Path) -> None:
        folder = Path(os.environ["TANDEM_V4L2"])
        super().__init__(folder)
        self.place = folder / "video"
        for name in ("silent", "set"):
            (folder / name).unlink(missing_ok=True)

    def keys(self) -> dict[str, object]:
        return {"device": str(self.place), "sensor_size": (640, 480)}

    def slow(self) -> Camera:
        camera = self.make()
        for _ in range(20):
            with contextlib.suppress(TimeoutError):
                camera.read(np.empty((120, 160, 3), np.uint8), 10**9)
                break
        (self.folder / "silent").touch()
        return camera

    def go_on(self) -> None:
        (self.folder / "silent").unlink(missing_ok=True)


SUBJECTS = {
    kind.driver: kind
    for kind in (FolderSubject, VideoSubject, McapSubject, RealSenseSubject, UvcSubject)
}


def emulated(folder: Path) -> dict[str, str]:
    """Make the emulated V4L2 device; the environment of a process that is to have it.

    Raises:
        subprocess.CalledProcessError: it does not compile.
    """
    library = folder / "v4l2.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(SHIM), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True)
    for k in range(8):
        bgr = np.ascontiguousarray(picture(k, 640, 480)[..., ::-1])
        done, jpeg = cv2.imencode(".jpg", bgr)
        assert done
        (folder / f"{k}.MJPG").write_bytes(jpeg.tobytes())
        yuyv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_YUYV)
        (folder / f"{k}.YUYV").write_bytes(yuyv.tobytes())
    (folder / "video").touch()
    return {**os.environ, "LD_PRELOAD": str(library), "TANDEM_V4L2": str(folder)}


def has_compiler() -> bool:
    """With the C library's headers, which Debian's gcc only recommends."""
    if shutil.which("gcc") is None:
        return False
    return subprocess.run(["gcc", "-E", str(SHIM)], capture_output=True).returncode == 0
