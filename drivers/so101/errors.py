"""What can be wrong with a servo bus, each with what to do about it."""

from tandem.runtime.errors import ConfigError, DeviceError


class PortError(DeviceError):
    """The serial port is not there, not ours to open, in use, or was pulled."""


class SilentServoError(DeviceError):
    """A servo does not answer."""


class ServoFaultError(DeviceError):
    """A servo says that it cannot go on: voltage, temperature, current, overload."""


class CalibrationError(ConfigError):
    """The calibration is missing, is no calibration, or is not the one in the servos."""
