"""One short family of errors. Each message says what happened and what to do about it."""


class TandemError(Exception):
    """Base of every error that Tandem raises on purpose."""


class ConfigError(TandemError):
    """The configuration cannot be used; the message names the key and the nearest valid one."""


class WireError(TandemError):
    """Bytes from a socket or a ring are not what the stream's table promises."""


class DeviceError(TandemError):
    """An arm, gripper or camera is missing, silent or refuses."""


class DeviceTimeoutError(DeviceError, TimeoutError):
    """A device did not answer within its deadline."""


class AbsentError(DeviceError):
    """A device is unplugged, or a recording at its end: its driver goes on by itself when it is
    back, and starting anew would help nobody."""


class SuspendedError(DeviceError):
    """The computer slept meanwhile: what a driver knew of its device no longer counts."""


class WeightsError(TandemError):
    """Weights are missing, damaged, or were trained for another partner."""


class RefusedError(TandemError):
    """A request was understood and refused; the message is the reason."""


class LimitError(TandemError):
    """A command is not finite or not inside the limits."""


class UnreachableError(TandemError):
    """No joints inside the arm's range put the tool where an action wants it."""
