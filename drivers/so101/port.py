"""A serial port that never makes anybody wait: what is there is read, what is written is gone."""

import errno
import os
import select
from pathlib import Path
from typing import Any

from tandem.drivers.so101.errors import PortError
from tandem.runtime.clock import NS_PER_S

_CHUNK = 4096
_BY_ID = Path("/dev/serial/by-id")


class SerialPort:
    def __init__(self, path: str, baud: int) -> None:
        self.path, self.baud = path, baud
        self._serial: Any = None
        self._fd = -1

    @property
    def open(self) -> bool:
        return self._serial is not None

    def connect(self) -> None:
        """Open it for us alone.

        Raises:
            PortError: not there, no permission, in use, or the library is missing.
        """
        try:
            import serial
        except ImportError as error:
            raise PortError(
                "the Python package pyserial is missing: pip install pyserial"
            ) from error
        try:
            port = serial.Serial(self.path, self.baud, timeout=0, write_timeout=0, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise self._refusal(error) from error
        port.reset_input_buffer()
        self._serial, self._fd = port, port.fileno()

    def close(self) -> None:
        """Idempotent; a port that was pulled closes too."""
        port, self._serial, self._fd = self._serial, None, -1
        if port is not None:
            port.close()

    def write(self, data: bytes) -> None:
        """
        Raises:
            PortError: the port is gone, or its buffer is full: nobody takes what we say.
        """
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        except OSError as error:
            raise self._gone(error) from error
        if written != len(data):
            raise PortError(f"{self.path} takes no more bytes: unplug the USB cable and plug it in")

    def read(self) -> bytes:
        """What has arrived, without waiting.

        Raises:
            PortError: the port is gone.
        """
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone(error) from error
        if not data and self._hung_up():
            raise self._gone(None)
        return data

    def wait(self, timeout_ns: int) -> None:
        """Until something arrives."""
        if timeout_ns > 0 and self._fd >= 0:
            select.select([self._fd], [], [], timeout_ns / NS_PER_S)

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return any(what & (select.POLLHUP | select.POLLERR) for _, what in poll.poll(0))

    def _gone(self, error: OSError | None) -> PortError:
        said = f" ({error.strerror})" if error else ""
        return PortError(
            f"{self.path} is gone{said}: the USB cable was pulled or the adapter lost its power; "
            "plug it in, then `tandem reset`"
        )

    def _refusal(self, error: Exception) -> PortError:
        number = getattr(error, "errno", None)
        if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            known = sorted(str(p) for p in _BY_ID.glob("*")) if _BY_ID.is_dir() else []
            there = (
                f"; there are {', '.join(known)}" if known else "; no serial adapter is plugged in"
            )
            return PortError(f"no port {self.path}{there}. Set robot.arm.host to the arm's")
        if number in (errno.EACCES, errno.EPERM):
            return PortError(
                f"no permission for {self.path}: sudo usermod -aG dialout $USER, then log in again"
            )
        if number in (errno.EAGAIN, errno.EBUSY) or "lock" in str(error):
            return PortError(
                f"{self.path} is in use by another program (`fuser {self.path}` names it); one arm "
                "obeys one executor, end the other first"
            )
        return PortError(f"{self.path} cannot be opened: {error}")
