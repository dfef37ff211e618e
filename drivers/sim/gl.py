"""Picks a way to render without a screen: EGL, else OSMesa, else none (physics still works).

mujoco reads MUJOCO_GL once, at import, and its import fails when that backend's library is missing.
So the libraries are tried here with ctypes first, and a machine without any gets "disable".
"""

import ctypes
import os
import sys

from tandem.runtime.errors import DeviceError

INSTALL = "install one: `sudo apt-get install libegl1 libgl1` (EGL) or `libosmesa6` (OSMesa)"
_EGL_PLATFORM_DEVICE = 0x313F


def choose_backend() -> str:
    """Set MUJOCO_GL unless the user did; return what it is."""
    if "MUJOCO_GL" not in os.environ:
        if "mujoco" in sys.modules:
            return "glfw"  # mujoco has chosen already; `why_not` tells
        os.environ["MUJOCO_GL"] = _best()
    if os.environ["MUJOCO_GL"] in ("egl", "osmesa"):
        os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"])
    return os.environ["MUJOCO_GL"]


def require_backend() -> None:
    """Raises DeviceError where nothing can be rendered, with the packages that would help."""
    if os.environ.get("MUJOCO_GL", "").lower() in ("disable", "disabled", "off", "false", "0"):
        raise DeviceError(
            f"the simulated cameras cannot render: neither EGL nor OSMesa works here; {INSTALL}"
        )


def why_not(error: Exception) -> DeviceError:
    """What to tell a person when making a renderer failed."""
    if "MUJOCO_GL" not in os.environ:
        return DeviceError(
            f"the simulated cameras cannot render ({error}): mujoco was imported before "
            "tandem.drivers.sim and wants a screen; import it later, or set MUJOCO_GL=egl"
        )
    return DeviceError(f"the simulated cameras cannot render ({error}); {INSTALL}")


def _best() -> str:
    if _egl_works():
        return "egl"
    return "osmesa" if _loads("libOSMesa.so.8") or _loads("libOSMesa.so") else "disable"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _egl_works() -> bool:
    """True when some EGL device can be initialised and a GL library is there to draw with."""
    if not (_loads("libOpenGL.so.0") or _loads("libGL.so.1")):
        return False
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query_at = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display_at = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query_at or not display_at:
        return False
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    query = ctypes.CFUNCTYPE(integer, integer, ctypes.POINTER(pointer), ctypes.POINTER(integer))
    get_display = ctypes.CFUNCTYPE(pointer, integer, pointer, pointer)
    devices, count = (pointer * 16)(), integer()
    if not query(query_at)(16, devices, ctypes.byref(count)):
        return False
    for device in devices[: count.value]:
        display = get_display(display_at)(_EGL_PLATFORM_DEVICE, device, None)
        if display and egl.eglInitialize(pointer(display), None, None):
            return True
    return False
