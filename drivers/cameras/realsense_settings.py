"""Exposure, and whatever else of librealsense's options a configuration names, set on a sensor."""

import contextlib
import difflib
from collections.abc import Iterable
from typing import Any

from tandem.runtime.errors import DeviceError

# Two, as one is in the hands of whoever matches colour with depth; more are old pictures.
_QUEUE = 2


def apply(rs: Any, sensor: Any, exposure_us: float | None, settings: dict[str, float]) -> None:
    """
    Raises:
        DeviceError: it has no such setting, or not with this value.
    """
    with contextlib.suppress(RuntimeError):
        if sensor.supports(rs.option.frames_queue_size):
            sensor.set_option(rs.option.frames_queue_size, _QUEUE)
    if exposure_us is not None:
        _set_one(rs, sensor, "enable_auto_exposure", 0)
        # A colour camera of its own counts in 100 µs (as UVC does), the stereo module in 1 µs.
        unit_us = 1 if sensor.is_depth_sensor() else 100
        _set_one(rs, sensor, "exposure", round(exposure_us / unit_us))
    for name, value in settings.items():
        _set_one(rs, sensor, name, value)


def _set_one(rs: Any, sensor: Any, name: str, value: float) -> None:
    known = [option.name for option in sensor.get_supported_options()]
    if name not in known:
        near: Iterable[str] = difflib.get_close_matches(name, known, 3) or sorted(known)
        raise DeviceError(f"this RealSense has no setting {name!r}; there are {', '.join(near)}")
    option = getattr(rs.option, name)
    allowed = sensor.get_option_range(option)
    if not allowed.min <= value <= allowed.max:
        raise DeviceError(
            f"{name} must be within {allowed.min:g} and {allowed.max:g}, not {value:g}"
        )
    sensor.set_option(option, value)
