"""What a configuration says of cameras: a block each, whose `driver` decides what it may hold.

The built-in drivers' own keys stand in the block itself (`serial: "0123"`); those of a driver of
one's own stand under `options`, and reach it as keyword arguments.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from tandem.runtime import strict_yaml
from tandem.runtime.errors import ConfigError
from tandem.runtime.strict_yaml import Section

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Pixels = Annotated[int, msgspec.Meta(ge=16)]
Size = tuple[Pixels, Pixels]  # width, height
Fit = Literal["crop", "pad", "stretch"]


class Camera(Section, frozen=True, kw_only=True):
    """`size` is what policies see; `latency_ms` is from mid-exposure to the driver's stamp."""

    driver: str  # sim, realsense, uvc, video, folder, mcap, or my_lab.camera:make
    size: Size
    rate_hz: Positive = 30.0
    latency_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None  # None: what the driver declares
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class _Fitted(Camera, frozen=True, kw_only=True):
    """A picture of another shape is cropped about its middle, padded with black, or stretched."""

    fit: Fit = "crop"


class RealSense(_Fitted, frozen=True, kw_only=True):
    """`file` plays a recording (.db3) in the device's place, by the same code."""

    serial: str = ""  # may be left out where only one is plugged in
    sensor_size: Size | None = None  # what the device sends; None: `size`
    depth: bool = False  # as well, aligned to the colour picture: ring depth.<camera>
    exposure_us: Positive | None = None  # None: automatic
    settings: dict[str, float] = msgspec.field(default_factory=dict)  # gain: 64, sharpness: 50 …
    file: str = ""
    loop: bool = True


class Uvc(_Fitted, frozen=True, kw_only=True):
    device: str | int  # /dev/v4l/by-id/…, which stays the same; /dev/video2 or 2, which may not
    sensor_size: Size | None = None
    format: Literal["MJPG", "YUYV", ""] = "MJPG"  # on the wire; "": what the device likes best
    exposure_us: Positive | None = None


class Video(_Fitted, frozen=True, kw_only=True):
    file: str
    loop: bool = True
    every_frame: bool = False  # rate_hz sets the speed; else it is the file's own


class Folder(_Fitted, frozen=True, kw_only=True):
    path: str  # its .png and .jpg, sorted by name, one in each period
    loop: bool = True


class Mcap(_Fitted, frozen=True, kw_only=True):
    """Pictures of a recording (`tandem run --record`), as far apart as they were taken."""

    path: str  # a recording's folder, or one .mcap of it
    camera: str = ""  # its name there; "": the same as here
    loop: bool = True


BUILT_IN: dict[str, type[Camera]] = {
    "sim": Camera,
    "realsense": RealSense,
    "uvc": Uvc,
    "video": Video,
    "folder": Folder,
    "mcap": Mcap,
}
_LIVE = ("realsense", "uvc")
_COMMON = frozenset(Camera.__struct_fields__)


def of_raw(raw: Any, file: Path) -> dict[str, Camera]:
    """Every block by the rules of its driver.

    Raises:
        ConfigError: no such driver, an unknown key, a wrong value.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{file}: cameras must be a map: a name, and below it the camera's keys")
    for name in raw:
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{file}: cameras.{name} is no name for a camera: {error}") from error
    return {name: _one(block, f"cameras.{name}.", file) for name, block in raw.items()}


def _one(block: Any, where: str, file: Path) -> Camera:
    driver = block.get("driver") if isinstance(block, dict) else None
    if not isinstance(driver, str) or ":" in driver:
        return strict_yaml.convert(block, Camera, file, where)  # says what is missing, if anything
    kind = BUILT_IN.get(driver)
    if kind is None:
        near = difflib.get_close_matches(driver, BUILT_IN, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(BUILT_IN)}"
        raise ConfigError(
            f"{file}: {where}driver: nothing built in is called {driver!r}; {hint} "
            "Or write module:factory for one of your own"
        )
    if kind is not Camera and block.get("options"):
        raise ConfigError(
            f"{file}: {where}options is for drivers of your own; the keys of {driver} stand beside "
            f"`driver`: {', '.join(own_keys(kind))}"
        )
    return strict_yaml.convert(block, kind, file, where)


def own_keys(kind: type[Camera]) -> list[str]:
    """What a driver takes beyond what every camera says."""
    return [key for key in kind.__struct_fields__ if key not in _COMMON]


def keywords(given: Camera) -> dict[str, Any]:
    """A built-in driver's own keys with their values."""
    return {key: getattr(given, key) for key in own_keys(type(given))}


def beside(given: Camera, folder: Path) -> Camera:
    """The same with absolute files: relative ones lie beside the configuration."""
    paths = {key: value for key in ("file", "path") if (value := getattr(given, key, ""))}
    found = {
        key: str((folder / Path(value).expanduser()).absolute()) for key, value in paths.items()
    }
    return msgspec.structs.replace(given, **found)


def moves(given: Camera) -> bool:
    """A sensor's noise changes every picture, a film may stand still."""
    films = {name for name in BUILT_IN if name not in _LIVE}
    return given.driver not in films and not getattr(given, "file", "")


def problems(cameras: dict[str, Camera]) -> Iterator[str]:
    """Two blocks for one device: the second could never be opened."""
    taken: dict[tuple[str, str], str] = {}
    for name, given in cameras.items():
        device = getattr(given, "serial", "") or getattr(given, "device", "")
        if device == "" or getattr(given, "file", ""):
            continue
        first = taken.setdefault((given.driver, str(device)), name)
        if first != name:
            yield f"cameras.{first} and cameras.{name} are the same {given.driver}, {device}"
