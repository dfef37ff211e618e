"""From the words of a configuration to a camera; the first `read` opens it."""

from typing import Any

from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import Camera, CameraSpec


def real_camera(
    driver: str, spec: CameraSpec, latency_ms: float | None, keys: dict[str, Any]
) -> Camera:
    """`latency_ms`: declared, from mid-exposure to the driver's stamp; None: the driver's own idea.

    Raises:
        ConfigError: no such driver, or the vendor's library is not installed.
    """
    latency_ns = None if latency_ms is None else round(latency_ms * NS_PER_MS)
    match driver:
        case "realsense":
            from tandem.drivers.cameras.realsense import RealSense

            return RealSense(spec, latency_ns, **keys)
        case "uvc":
            from tandem.drivers.cameras.uvc import Uvc

            return Uvc(spec, latency_ns, **keys)
        case "video":
            from tandem.drivers.cameras.video import video

            return video(spec, latency_ns, **keys)
        case "folder":
            from tandem.drivers.cameras.folder import folder

            return folder(spec, latency_ns, **keys)
        case "mcap":
            from tandem.drivers.cameras.recording import recording

            return recording(spec, latency_ns, **keys)
    raise ConfigError(f"no camera driver is called {driver!r}")
