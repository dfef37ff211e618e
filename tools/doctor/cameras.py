"""Cameras that are plugged in, with what they offer; and, on request, what they give."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tandem.drivers.cameras import v4l2
from tandem.runtime.app import build
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.config import Config
from tandem.runtime.errors import TandemError
from tandem.runtime.interfaces import Camera, CameraSpec
from tandem.tools.doctor.finding import Finding, advice, ok, wrong
from tandem.tools.doctor.probes import Tried, attempt

_USB3_MBIT_S = 5000
_REALSENSE = """
import json
import pyrealsense2 as rs
from tandem.drivers.cameras.realsense_device import profiles, told
wanted = (rs.camera_info.name, rs.camera_info.serial_number, rs.camera_info.usb_type_descriptor)
context = rs.context()
print(json.dumps([[*(told(d, i) for i in wanted), profiles(rs, d, rs.stream.color)]
                  for d in context.query_devices()]))
"""
_SHOWN_PX = (640, 480)
_SHOWN_HZ = 30.0
_SIZE = "size: [640, 480], rate_hz: 30"  # as a configuration has it, below `cameras:`


@dataclass(frozen=True)
class Video:
    """One /dev/video*. `usb_mbit_s` 0: not on USB, or not told."""

    device: str
    name: str
    usable: bool
    usb_mbit_s: int = 0
    offers: tuple[str, ...] = ()  # formats, sizes and rates
    stable: str = ""  # its name that stays the same when others are plugged in


def videos(root: Path = Path("/")) -> list[Video]:
    listed = sorted((root / "sys/class/video4linux").glob("video*"), key=_number)
    return [_video(entry, root) for entry in listed]


def realsense() -> Tried:
    """[[name, serial number, USB version, colour profiles], …], asked in a process of its own."""
    return attempt(_REALSENSE, timeout_s=20)


def video(facts: Video) -> Finding:
    name = facts.device
    if not facts.usable:
        return wrong(
            name,
            f"{facts.name}: may not be opened by this user",
            "its camera would not start",
            "sudo usermod -aG video $USER, then log in again",
        )
    if 0 < facts.usb_mbit_s < _USB3_MBIT_S and "realsense" in facts.name.lower():
        return advice(
            name,
            f"{facts.name}, on USB 2 ({facts.usb_mbit_s} Mbit/s)",
            "fewer images a second, and each one later",
            "a USB 3 socket and cable (blue, or marked SS)",
        )
    speed = f", {facts.usb_mbit_s} Mbit/s" if facts.usb_mbit_s else ""
    if not facts.offers or "realsense" in facts.name.lower():
        return ok(name, f"{facts.name}{speed}")
    block = f"wrist: {{driver: uvc, device: {facts.stable or name}, {_SIZE}}}"
    return ok(name, f"{facts.name}{speed}{_listed([*facts.offers, block])}")


def found_realsense(tried: Tried) -> list[Finding]:
    if tried.failed:
        return [
            advice(
                "RealSense",
                f"library: {tried.failed}",
                "its cameras cannot be used or listed",
                "sudo apt-get install libusb-1.0-0; pip install pyrealsense2",
            )
        ]
    return [_one_realsense(*words) for words in tried.answer] or [
        ok("RealSense", "none is plugged in")
    ]


def _one_realsense(name: str, serial: str, usb: str, profiles: list[str]) -> Finding:
    found = f"{name}, serial {serial}, USB {usb}"
    if usb.startswith("2"):
        why = "fewer and smaller images a second, and each one later"
        return advice("RealSense", found, why, "a USB 3 socket and cable (blue, or marked SS)")
    block = f'front: {{driver: realsense, serial: "{serial}", {_SIZE}}}'
    return ok("RealSense", found + _listed([*profiles, block]))


def all_of() -> list[Finding]:
    listed = [video(facts) for facts in videos()] or [ok("/dev/video*", "none is plugged in")]
    return [*listed, *found_realsense(realsense())]


def shown(seconds: float, folder: Path | None) -> Iterator[Finding]:
    """All that is plugged in, opened here and looked through; pictures go to `folder`."""
    from tandem.drivers.cameras.make import real_camera
    from tandem.tools.doctor import looking  # OpenCV takes its time

    found: list[Camera] = []
    for _, serial, *_ in realsense().answer or []:
        found.append(
            real_camera("realsense", _spec(f"realsense_{serial}"), None, {"serial": serial})
        )
    for facts in videos():
        if facts.usable and facts.offers and "realsense" not in facts.name.lower():
            keys = {"device": facts.device}
            found.append(real_camera("uvc", _spec(Path(facts.device).name), None, keys))
    for look in looking.through(found, seconds):
        yield looking.finding(look, looking.write(look, folder) if folder else None)


def configured(settings: Config, seconds: float, folder: Path | None) -> Iterator[Finding]:
    """Those that a configuration declares: in a running daemon's rings, or else opened here."""
    from tandem.tools.doctor import looking

    opened, running = [], []
    for name, given in settings.cameras.items():
        depth = getattr(given, "depth", False)
        spec = CameraSpec(name, given.size[1], given.size[0], given.rate_hz, 0, depth)
        if looking.is_running(settings.folder, spec):
            running.append(spec)
        elif given.driver == "sim":
            yield ok(name, "simulated: it sees when the daemon runs")
        else:
            try:
                opened.append(build.camera(settings, name, given))
            except TandemError as error:
                yield wrong(name, str(error), "the daemon cannot start", "see above")
    for look in looking.in_rings(settings.folder, running, seconds):
        yield looking.finding(look, looking.write(look, folder) if folder else None)
    for look in looking.through(opened, seconds):
        yield looking.finding(look, looking.write(look, folder) if folder else None)


def _spec(name: str) -> CameraSpec:
    width, height = _SHOWN_PX
    return CameraSpec(name, height, width, _SHOWN_HZ, round(NS_PER_S / _SHOWN_HZ))


def _listed(offers: list[str]) -> str:
    return "".join(f"\n  {line}" for line in offers)


def _video(entry: Path, root: Path) -> Video:
    device = root / "dev" / entry.name
    name = (entry / "name").read_text().strip() if (entry / "name").exists() else entry.name
    usable = os.access(device, os.R_OK | os.W_OK)
    offers = tuple(v4l2.offers(device)) if usable else ()
    return Video(f"/dev/{entry.name}", name, usable, _speed(entry), offers, _stable(root, entry))


def _stable(root: Path, entry: Path) -> str:
    for link in sorted((root / "dev/v4l/by-id").glob("*")):
        if link.resolve().name == entry.name:
            return f"/dev/v4l/by-id/{link.name}"
    return ""


def _speed(entry: Path) -> int:
    """Of the USB device that the camera hangs on: the nearest folder above that has one."""
    folder = (entry / "device").resolve()
    for parent in (folder, *folder.parents):
        if (parent / "speed").is_file():
            return int(float((parent / "speed").read_text()))
    return 0


def _number(entry: Path) -> int:
    digits = entry.name.removeprefix("video")
    return int(digits) if digits.isdecimal() else 0
