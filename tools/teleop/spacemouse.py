"""A SpaceMouse by its raw HID reports; needs no driver, only the right to read /dev/hidraw*.

Report 1 is translation (x right, y towards the user, z down; int16, about ±350), in newer models
followed by rotation in the same report; report 2 is rotation; report 3 the buttons, a bit each.
The left button is the dead-man, the right one opens and closes the gripper.
"""

import os
import re
import struct
from pathlib import Path

from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import DeviceError
from tandem.tools.teleop.keys import Key
from tandem.tools.teleop.wish import Wish, shaped

_SYSFS = Path("/sys/class/hidraw")
# 3Dconnexion, and Logitech before it.
_VENDORS = {0x256F: None, 0x046D: range(0xC603, 0xC62C)}
_FULL = 350.0
_SILENT_NS = 200 * NS_PER_MS  # one that is deflected reports every 8 to 16 ms
_DEADMAN, _GRIP = 1, 2
_ACCESS = (
    'KERNEL=="hidraw*", ATTRS{idVendor}=="256f", TAG+="uaccess"  in '
    "/etc/udev/rules.d/70-spacemouse.rules"
)


def find(sysfs: Path = _SYSFS) -> list[tuple[str, str]]:
    """(device file, name) of each one that is plugged in."""
    found = []
    for entry in sorted(sysfs.glob("hidraw*")):
        try:
            facts = (entry / "device" / "uevent").read_text()
        except OSError:
            continue
        number = re.search(r"HID_ID=\w+:0*(\w+):0*(\w+)", facts)
        name = re.search(r"HID_NAME=(.*)", facts)
        if number and _is_ours(int(number[1], 16), int(number[2], 16)):
            found.append((f"/dev/{entry.name}", name[1] if name else "SpaceMouse"))
    return found


class SpaceMouse:
    """Reads from a descriptor that gives one report per read."""

    def __init__(self, fd: int, name: str = "SpaceMouse") -> None:
        self.name = f"{name}, left button is the dead-man"
        self.problem: str | None = None
        self._fd = fd
        self._axes = [0.0] * 6  # as the device counts
        self._buttons = 0
        self._closed = False
        self._verbs: list[str] = []
        self._heard_ns = 0
        os.set_blocking(fd, False)

    @classmethod
    def open(cls, path: str, name: str) -> "SpaceMouse":
        """Raises DeviceError: it may not be read, and how to allow it."""
        try:
            return cls(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), name)
        except OSError as error:
            raise DeviceError(
                f"{path} ({name}): {error.strerror}; allow it with {_ACCESS}"
            ) from error

    def wish(self, now_ns: int, joint_frame: bool) -> Wish:
        """Deflection while the dead-man is pressed; nothing of a device that fell silent."""
        self._listen(now_ns)
        silent = any(self._axes) and now_ns - self._heard_ns > _SILENT_NS
        if self.problem is None and silent:
            self._axes, self._buttons = [0.0] * 6, 0
        if not self._buttons & _DEADMAN:
            return Wish()
        x, y, z, rx, ry, rz = (shaped(value / _FULL) for value in self._axes)
        # Ours: x away from the user, y to the left, z up.
        return Wish((-y, -x, -z, -ry, -rx, -rz, 0.0), "held")

    def feed(self, report: bytes) -> None:
        """Take in one report; unknown ones are skipped."""
        kind, data = report[:1], report[1:]
        if kind == b"\x01" and len(data) >= 12:
            self._axes = [float(v) for v in struct.unpack("<6h", data[:12])]
        elif kind == b"\x01" and len(data) >= 6:
            self._axes[:3] = struct.unpack("<3h", data[:6])
        elif kind == b"\x02" and len(data) >= 6:
            self._axes[3:] = struct.unpack("<3h", data[:6])
        elif kind == b"\x03" and data:
            self._press(data[0])

    def press(self, key: Key, now_ns: int, joint_frame: bool) -> None:
        """Its keys are on itself."""

    def heard(self, now_ns: int) -> None:
        """It does not hang on the terminal."""

    def let_go(self) -> None:
        self._axes = [0.0] * 6

    def verbs(self) -> list[str]:
        verbs, self._verbs = self._verbs, []
        return verbs

    def close(self) -> None:
        os.close(self._fd)

    def _listen(self, now_ns: int) -> None:
        try:
            while report := os.read(self._fd, 64):
                self.feed(report)
                self._heard_ns = now_ns
        except BlockingIOError:
            return
        except OSError:
            pass
        self.problem = f"{self.name.split(',')[0]} was unplugged"
        self._axes, self._buttons = [0.0] * 6, 0

    def _press(self, buttons: int) -> None:
        if buttons & ~self._buttons & _GRIP:
            self._closed = not self._closed
            self._verbs.append("close" if self._closed else "open")
        self._buttons = buttons


def _is_ours(vendor: int, product: int) -> bool:
    if vendor not in _VENDORS:
        return False
    products = _VENDORS[vendor]
    return products is None or product in products
