"""A RealSense's pipeline: found by its serial number, started as wished, or why not."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tandem.drivers.cameras.picture import Order
from tandem.drivers.cameras.realsense_settings import apply
from tandem.runtime.errors import AbsentError, ConfigError, DeviceError

_USB2 = "2"
_ORDERS: dict[str, Order] = {"rgb8": "rgb", "bgr8": "bgr"}


def library() -> Any:
    """Raises ConfigError: pyrealsense2 is not installed."""
    try:
        import pyrealsense2
    except ImportError as error:
        raise ConfigError(
            f"the realsense driver needs the vendor's library, which is not here ({error}); "
            "install it: sudo apt-get install libusb-1.0-0; pip install pyrealsense2"
        ) from error
    return pyrealsense2


@dataclass(frozen=True)
class Wish:
    """What is asked of a device. `size` and `rate_hz` are the sensor's."""

    serial: str
    size: tuple[int, int]
    rate_hz: int
    depth: bool
    exposure_us: float | None
    settings: dict[str, float]
    file: str

    @property
    def name(self) -> str:
        return f"RealSense {self.serial or self.file}".strip()


@dataclass
class Stream:
    """A pipeline that runs."""

    rs: Any
    pipeline: Any
    device: Any
    text: str
    order: Order
    apart_ms: float  # how far depth may be from its colour: two sensors, each at its own time
    align: Any = None  # None: no depth
    differs: str = ""
    playback: Any = field(default=None)

    def stop(self) -> None:
        self.pipeline.stop()

    def is_over(self) -> bool:
        """A recording at its end; a device never is."""
        return self.playback is not None and (
            self.playback.current_status() == self.rs.playback_status.stopped
        )

    def belongs(self, depth: Any, colour: Any) -> bool:
        """Taken at about the same time, as far as two clocks can be compared."""
        if depth.get_frame_timestamp_domain() != colour.get_frame_timestamp_domain():
            return True
        return bool(abs(depth.get_timestamp() - colour.get_timestamp()) < self.apart_ms)

    def is_global(self, frame: Any) -> bool:
        """Its stamps are UTC, of librealsense's making; those of a recording are history."""
        domain = frame.get_frame_timestamp_domain()
        return self.playback is None and domain == self.rs.timestamp_domain.global_time

    def after_exposure_ms(self, frame: Any) -> float:
        """From mid-exposure to the frame's stamp, where its metadata tell."""
        kinds = self.rs.frame_metadata_value
        stamps = (kinds.frame_timestamp, kinds.sensor_timestamp)
        if not all(frame.supports_frame_metadata(kind) for kind in stamps):
            return 0.0
        read_out_us, exposed_us = (frame.get_frame_metadata(kind) for kind in stamps)
        return float(max(read_out_us - exposed_us, 0)) / 1000


def start(rs: Any, context: Any, wish: Wish) -> Stream:
    """
    Raises:
        AbsentError: it is not plugged in, or the recording is not there.
        DeviceError: it has no such profile or setting, or somebody else has it.
    """
    config, pipeline = rs.config(), rs.pipeline(context)
    try:
        if wish.file:
            _of_file(rs, config, wish)
        else:
            _of_device(rs, config, wish, serials(rs, context))
        profile = pipeline.start(config)
    except RuntimeError as error:
        raise _refusal(rs, wish, error, {} if wish.file else serials(rs, context)) from error
    try:
        return _stream(rs, wish, pipeline, profile)
    except BaseException:
        pipeline.stop()
        raise


def serials(rs: Any, context: Any) -> dict[str, Any]:
    """Every device that is plugged in, by its serial number. A context is slow to make: keep it."""
    info = rs.camera_info.serial_number
    return {d.get_info(info): d for d in context.query_devices() if d.supports(info)}


def profiles(rs: Any, device: Any, kind: Any) -> list[str]:
    """What a device offers of one kind of stream: "640x480 at 6, 15, 30 Hz", largest first."""
    rates: dict[tuple[int, int], set[int]] = {}
    for sensor in device.query_sensors():
        for profile in sensor.get_stream_profiles():
            if profile.stream_type() == kind and profile.is_video_stream_profile():
                video = profile.as_video_stream_profile()
                rates.setdefault((video.width(), video.height()), set()).add(video.fps())
    return [
        f"{w}x{h} at {', '.join(map(str, sorted(hz)))} Hz"
        for (w, h), hz in sorted(rates.items(), reverse=True)
    ]


def told(device: Any, info: Any) -> str:
    """One line of what a device says of itself; "" where it does not."""
    return str(device.get_info(info)) if device.supports(info) else ""


def _of_file(rs: Any, config: Any, wish: Wish) -> None:
    if not Path(wish.file).is_file():
        raise AbsentError(f"there is no recording {wish.file}; correct the camera's `file`")
    config.enable_device_from_file(wish.file, False)
    config.enable_stream(rs.stream.color)  # as it was recorded
    if wish.depth:
        config.enable_stream(rs.stream.depth)


def _of_device(rs: Any, config: Any, wish: Wish, there: dict[str, Any]) -> None:
    listed = ", ".join(sorted(there)) or "none"
    if wish.serial and wish.serial not in there:
        raise AbsentError(
            f"RealSense {wish.serial} is not plugged in (there: {listed}); plug it in"
        )
    if not there:
        raise AbsentError(
            "no RealSense is plugged in; plug it in, `tandem doctor cameras` lists it"
        )
    if not wish.serial and len(there) > 1:
        raise DeviceError(f"which RealSense? Write `serial:`, one of {listed}")
    config.enable_device(wish.serial or next(iter(there)))
    config.enable_stream(rs.stream.color, *wish.size, rs.format.rgb8, wish.rate_hz)
    if wish.depth:
        config.enable_stream(rs.stream.depth, 0, 0, rs.format.z16, wish.rate_hz)


def _refusal(rs: Any, wish: Wish, error: RuntimeError, there: dict[str, Any]) -> DeviceError:
    """librealsense says "Couldn't resolve requests" for most; what would work is what helps."""
    width, height = wish.size
    text = f"{wish.name} refuses: {error}"
    if wish.file:
        depth = " with depth" if wish.depth else ""
        return DeviceError(f"{text}; is it a recording (.db3) of colour{depth}?")
    found = there.get(wish.serial) or next(iter(there.values()), None)
    if found is None:
        return AbsentError(f"{wish.name} went away as it was opened; look at its cable")
    if "busy" in str(error).lower() or "power state" in str(error).lower():
        return DeviceError(f"{text}; another program has it: end that (fuser -v /dev/video*)")
    offered = "; ".join(profiles(rs, found, rs.stream.color)[:6])
    return DeviceError(
        f"{text}; asked for {width}x{height} at {wish.rate_hz} Hz, it offers {offered}. "
        "Write one as sensor_size and rate_hz"
    )


def _stream(rs: Any, wish: Wish, pipeline: Any, profile: Any) -> Stream:
    device = profile.get_device()
    serial = told(device, rs.camera_info.serial_number)
    if wish.serial and serial != wish.serial:
        raise DeviceError(f"{wish.file} is a recording of RealSense {serial}, not of {wish.serial}")
    colour = profile.get_stream(rs.stream.color).as_video_stream_profile()
    order = _ORDERS.get(colour.format().name)
    if order is None:
        raise DeviceError(f"{wish.name} has its colours as {colour.format().name}; rgb8 is needed")
    sensor = _sensor_of(device, rs.stream.color)
    if not wish.file:
        apply(rs, sensor, wish.exposure_us, wish.settings)
    return Stream(
        rs,
        pipeline,
        device,
        _text(rs, device, serial, colour, wish),
        order,
        750 / colour.fps(),
        rs.align(rs.stream.color) if wish.depth else None,
        _differs(rs, device, colour, wish),
        device.as_playback() if device.is_playback() else None,
    )


def _text(rs: Any, device: Any, serial: str, colour: Any, wish: Wish) -> str:
    usb = told(device, rs.camera_info.usb_type_descriptor)
    parts = [
        f"{told(device, rs.camera_info.name)}, serial {serial}",
        f"USB {usb}" if usb else "",
        f"{colour.width()}x{colour.height()} {colour.format().name} at {colour.fps()} Hz",
        "depth aligned to it" if wish.depth else "",
        f"played from {wish.file}" if wish.file else "",
    ]
    return ", ".join(part for part in parts if part)


def _differs(rs: Any, device: Any, colour: Any, wish: Wish) -> str:
    if told(device, rs.camera_info.usb_type_descriptor).startswith(_USB2):
        return "it is on USB 2, which is slow and late: use a USB 3 socket and cable"
    if colour.fps() != wish.rate_hz:
        return f"it gives {colour.fps()} frames a second, asked for {wish.rate_hz}: set rate_hz"
    return ""


def _sensor_of(device: Any, kind: Any) -> Any:
    for sensor in device.query_sensors():
        if any(profile.stream_type() == kind for profile in sensor.get_stream_profiles()):
            return sensor
    raise DeviceError("this RealSense has no colour camera; a model with one is needed")
