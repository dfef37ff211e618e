"""Cameras that are plugged in: what the kernel lists, and RealSense by its serial number."""

import os
from dataclasses import dataclass
from pathlib import Path

from tandem.tools.doctor.finding import Finding, advice, ok, wrong
from tandem.tools.doctor.probes import Tried, attempt

_USB3_MBIT_S = 5000
_REALSENSE = """
import json
import pyrealsense2 as rs
wanted = (rs.camera_info.name, rs.camera_info.serial_number, rs.camera_info.usb_type_descriptor)
print(json.dumps([[d.get_info(i) if d.supports(i) else "" for i in wanted]
                  for d in rs.context().query_devices()]))
"""


@dataclass(frozen=True)
class Video:
    """One /dev/video*. `usb_mbit_s` 0: not on USB, or not told."""

    device: str
    name: str
    usable: bool
    usb_mbit_s: int = 0


def videos(root: Path = Path("/")) -> list[Video]:
    listed = sorted((root / "sys/class/video4linux").glob("video*"), key=_number)
    return [_video(entry, root) for entry in listed]


def realsense() -> Tried:
    """[[name, serial number, USB version], …], asked in a process of its own."""
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
    return ok(name, f"{facts.name}{speed}")


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
    return [
        ok("RealSense", f"{name}, serial {serial}, USB {usb}") for name, serial, usb in tried.answer
    ] or [ok("RealSense", "none is plugged in")]


def all_of() -> list[Finding]:
    listed = [video(facts) for facts in videos()] or [ok("/dev/video*", "none is plugged in")]
    return [*listed, *found_realsense(realsense())]


def _video(entry: Path, root: Path) -> Video:
    device = root / "dev" / entry.name
    name = (entry / "name").read_text().strip() if (entry / "name").exists() else entry.name
    return Video(f"/dev/{entry.name}", name, os.access(device, os.R_OK | os.W_OK), _speed(entry))


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
