"""Every camera's driver passes every law, and the laws object to each planted fault.

RealSense is played by librealsense from a recording that it made itself; UVC is OpenCV's own V4L2
client on an emulated device, in a process of its own that has it.
"""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from tandem.drivers.cameras import v4l2
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import DeviceError

from tests.drivers import camera_laws as laws
from tests.drivers.camera_rig import SUBJECTS, FolderSubject, emulated, has_compiler

FRAMES = 16
HERE = "uvc" if "TANDEM_V4L2" in os.environ else ""
DRIVERS = [HERE] if HERE else [driver for driver in SUBJECTS if driver != "uvc"]


@pytest.fixture(scope="module", params=DRIVERS)
def given_and_seen(request, tmp_path_factory):
    if request.param == "realsense":
        pytest.importorskip("pyrealsense2", reason="there is no wheel for this machine")
    given = SUBJECTS[request.param](tmp_path_factory.mktemp(request.param))
    camera = given.make()
    seen = laws.look(camera, FRAMES)
    camera.close()
    return given, seen


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(given_and_seen, law):
    law(*given_and_seen)


@pytest.mark.skipif(bool(HERE), reason="this is the process that has the device")
@pytest.mark.skipif(
    not has_compiler(), reason="the emulated device is compiled: install gcc, libc6-dev"
)
def test_uvc_passes_every_law_on_an_emulated_device(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "pytest",
            "-q",
            "-x",
            "-k",
            "law or offer or asked",
            __file__,
        ],
        env=emulated(tmp_path),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(laws.LAWS) + 2} passed" in done.stdout


if HERE:

    def test_what_the_device_offers_is_listed():
        offered = v4l2.offers(os.environ["TANDEM_V4L2"] + "/video")
        assert offered == ["MJPG 640x480 at 30, 15 Hz", "YUYV 640x480 at 15 Hz"]
        assert v4l2.offers("/dev/null") == v4l2.offers("/nowhere") == []

    def test_what_is_asked_reaches_the_device_and_what_it_gives_instead_is_said(tmp_path):
        given = SUBJECTS["uvc"](tmp_path)
        camera = given.make(exposure_us=5000.0, format="YUYV", latency_ms=0.0)
        try:
            seen = laws.look(camera, 4)
            facts = camera.facts()
        finally:
            camera.close()
        laws.pictures_are_rgb_and_whole(given, seen)
        assert "asked for 640x480 YUYV at 30 Hz, it gives 640x480 YUYV at 15 Hz" in facts.differs
        assert "the kernel's, of the buffer less 0.0 ms" in facts.clock
        told = (given.folder / "set").read_text().split()
        assert {"exposure=50", "auto=1"} <= set(told)


class _Faulty:
    """A camera with one fault, of the kinds that real drivers have had."""

    def __init__(self, camera) -> None:
        self.camera, self.spec = camera, camera.spec
        self.old, self.turn = None, 0

    def read(self, out, timeout_ns):
        return self.camera.read(out, timeout_ns)

    def facts(self):
        return self.camera.facts()

    def close(self):
        self.camera.close()


class BlueForRed(_Faulty):
    def read(self, out, timeout_ns):
        t_ns = super().read(out, timeout_ns)
        out[...] = out[..., ::-1].copy()
        return t_ns


class StaleFrameUnderAFreshStamp(_Faulty):
    def read(self, out, timeout_ns):
        t_ns = super().read(out, timeout_ns)
        self.turn += 1
        if self.turn % 2 == 0:
            out[...] = self.old
        self.old = out.copy()
        return t_ns


class WrongClock(_Faulty):
    def read(self, out, timeout_ns):
        return super().read(out, timeout_ns) + time.time_ns() - time.monotonic_ns()


class StampOfTheEndOfTheRead(_Faulty):
    """Old pictures that are made to look young."""

    def read(self, out, timeout_ns):
        super().read(out, timeout_ns)
        return time.monotonic_ns()


class WrongSize(_Faulty):
    def read(self, out, timeout_ns):
        height, width = out.shape[:2]
        inner = np.empty_like(out)
        t_ns = super().read(inner, timeout_ns)
        out[: height // 2, : width // 2] = inner[::2, ::2]
        return t_ns


class Distorted(_Faulty):
    def read(self, out, timeout_ns):
        t_ns = super().read(out, timeout_ns)
        out[:, : out.shape[1] // 2] = out[:, ::2].copy()
        return t_ns


class QueueOfMany(_Faulty):
    """Hands out what waited before what is there."""

    t_ns = 0

    def read(self, out, timeout_ns):
        stalled = self.t_ns and time.monotonic_ns() - self.t_ns > NS_PER_S // 3
        if stalled:
            self.t_ns += NS_PER_S // 60
            out[...] = self.old
            return self.t_ns
        self.t_ns = super().read(out, timeout_ns)
        self.old = out.copy()
        return self.t_ns


class LateForItsDeadline(_Faulty):
    def read(self, out, timeout_ns):
        return super().read(out, 2 * NS_PER_S)


class SilentWhenUnplugged(_Faulty):
    """Shows the last picture for ever."""

    def read(self, out, timeout_ns):
        try:
            t_ns = super().read(out, timeout_ns)
        except DeviceError:
            if self.old is None:
                raise
            time.sleep(0.02)
            out[...], t_ns = self.old, time.monotonic_ns()
        self.old = out.copy()
        return t_ns


class OpensOnlyOnce(_Faulty):
    closed = False

    def close(self):
        super().close()
        self.closed = True

    def read(self, out, timeout_ns):
        if self.closed:
            raise DeviceError("closed")
        return super().read(out, timeout_ns)


PLANTED = {
    BlueForRed: laws.pictures_are_rgb_and_whole,
    WrongSize: laws.pictures_are_rgb_and_whole,
    WrongClock: laws.stamps_rise_on_our_clock,
    StaleFrameUnderAFreshStamp: laws.every_frame_is_new_and_as_far_apart_as_it_says,
    StampOfTheEndOfTheRead: laws.its_latency_is_honoured,
    Distorted: laws.another_shape_is_cropped_about_its_middle,
    QueueOfMany: laws.after_a_stall_the_newest_comes,
    LateForItsDeadline: laws.no_read_is_longer_than_its_deadline,
    SilentWhenUnplugged: laws.what_is_unplugged_says_so_and_goes_on_when_it_is_back,
    OpensOnlyOnce: laws.it_closes_in_every_state_and_opens_again,
}


@pytest.mark.skipif(bool(HERE), reason="this is the process that has the device")
@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found(fault, tmp_path):
    class Planted(FolderSubject):
        def make(self, *words, **keys):
            return fault(super().make(*words, **keys))

        def slow(self):
            return fault(super().slow())

    given = Planted(tmp_path)
    camera = given.make()
    seen = laws.look(camera, 6)
    camera.close()
    with pytest.raises((AssertionError, DeviceError)) as objection:
        PLANTED[fault](given, seen)
    assert str(objection.value)
