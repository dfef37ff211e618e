"""A RealSense that was never built, recorded by librealsense itself: pictures with their number.

A software device sends colour and depth through the library's own recorder; the driver under test
plays that file through the library's ordinary pipeline.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyrealsense2 as rs

from tests.drivers import camera_rig

SERIAL = "0123456789"
DEPTH_MM = 700  # and as many more as the picture's number says
_PX = (camera_rig.WIDTH, camera_rig.HEIGHT)


def record(file: Path, times_ms: Sequence[float], serial: str = SERIAL) -> None:
    """Frames at these times of the device's clock, which began long ago."""
    device = rs.software_device()
    device.register_info(rs.camera_info.name, "Intel RealSense D435")
    device.register_info(rs.camera_info.serial_number, serial)
    depth, colour = device.add_sensor("Stereo Module"), device.add_sensor("RGB Camera")
    depth.add_read_only_option(rs.option.depth_units, 0.001)
    streams = (
        depth.add_video_stream(_stream(rs.stream.depth, 0, 2, rs.format.z16)),
        colour.add_video_stream(_stream(rs.stream.color, 1, 3, rs.format.rgb8)),
    )
    profiles = [stream.as_video_stream_profile() for stream in streams]
    profiles[0].register_extrinsics_to(profiles[1], _beside())
    recorder = rs.recorder(str(file), device)
    sync, sensors = rs.syncer(100), recorder.query_sensors()
    for sensor, profile in zip(sensors, profiles, strict=True):
        sensor.open(profile)
        sensor.start(sync)
    begun_s = time.monotonic()
    for number, t_ms in enumerate(times_ms):
        # It is played back as it came to the recorder, whatever the frames' own stamps say.
        time.sleep(max(begun_s + t_ms / 1000 - time.monotonic(), 0))
        far = np.full(_PX[::-1], DEPTH_MM + number, np.uint16)
        seen = camera_rig.picture(number)
        for sensor, profile, pixels in zip((depth, colour), profiles, (far, seen), strict=True):
            sensor.on_video_frame(_frame(profile, pixels, 5000.0 + t_ms, number + 1))
    for sensor in sensors:
        sensor.stop()
        sensor.close()


def _stream(kind: Any, uid: int, bytes_per_pixel: int, pixels: Any) -> Any:
    stream, lens = rs.video_stream(), rs.intrinsics()
    stream.type, stream.uid, stream.fmt, stream.bpp = kind, uid, pixels, bytes_per_pixel
    (stream.width, stream.height), stream.fps = _PX, 30
    (lens.width, lens.height), lens.model = _PX, rs.distortion.brown_conrady
    lens.ppx, lens.ppy, lens.fx, lens.fy = _PX[0] / 2, _PX[1] / 2, _PX[0], _PX[0]
    lens.coeffs = [0.0] * 5
    stream.intrinsics = lens
    return stream


def _beside() -> Any:
    way = rs.extrinsics()
    way.rotation, way.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [0.0, 0, 0]
    return way


def _frame(profile: Any, pixels: np.ndarray, t_ms: float, number: int) -> Any:
    frame = rs.software_video_frame()
    frame.pixels, frame.profile = pixels, profile
    frame.bpp, frame.stride = pixels.strides[1], pixels.strides[0]
    frame.timestamp, frame.domain = t_ms, rs.timestamp_domain.hardware_clock
    frame.frame_number = number
    if pixels.ndim == 2:
        frame.depth_units = 0.001
    return frame
