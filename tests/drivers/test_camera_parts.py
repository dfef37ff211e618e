"""What the cameras' drivers are made of: clocks, shapes, opening, words for what goes wrong."""

import contextlib
import random
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.drivers.cameras import realsense_device
from tandem.drivers.cameras.opened import Opened
from tandem.drivers.cameras.picture import put, put_depth, windows
from tandem.drivers.cameras.realsense import RealSense
from tandem.drivers.cameras.realsense_settings import apply
from tandem.drivers.cameras.stamps import DeviceClock
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import ConfigError, DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import CameraSpec
from tandem.runtime.rings import SharedRing

from tests.drivers.camera_rig import number_in, picture

PERIOD_NS = NS_PER_S // 30
rs = pytest.importorskip("pyrealsense2", reason="there is no wheel for this machine")


# -- the clock -------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    drift_ppm=st.floats(-100, 100),
    least_ms=st.floats(0, 40),
    jitter_ms=st.floats(0.1, 30),
    began_ns=st.integers(-(10**18), 10**18),
)
def test_a_clock_is_mapped_within_the_error_that_it_tells(
    seed, drift_ppm, least_ms, jitter_ms, began_ns
):
    """Frames are late by `least_ms` and more, once a second hardly more; crystals drift apart."""
    chance, clock = random.Random(seed), DeviceClock()
    least_ns = round(least_ms * NS_PER_MS)
    for k in range(30 * 12):
        true_ns = 10**12 + k * PERIOD_NS
        more_ms = 0.0 if k % 30 == 0 else min(chance.expovariate(1 / jitter_ms), 33)
        device_ns = round((true_ns - 10**12) * (1 + drift_ppm * 1e-6)) + began_ns
        arrival_ns = true_ns + least_ns + round(more_ms * NS_PER_MS)
        mapped_ns = clock.mapped(device_ns, arrival_ns)
        assert mapped_ns <= arrival_ns
        assert clock.error_ns is not None
        assert abs(mapped_ns - (true_ns + least_ns)) <= clock.error_ns
    assert clock.error_ns < 2 * NS_PER_MS
    assert clock.jumps == 0


def test_a_clock_that_was_reset_is_learnt_anew():
    clock = DeviceClock()
    for k in range(60):
        clock.mapped(k * PERIOD_NS, 10**12 + k * PERIOD_NS)
    assert clock.mapped(5 * NS_PER_MS, 10**12 + 60 * PERIOD_NS) == 10**12 + 60 * PERIOD_NS
    assert clock.jumps == 1
    later_ns = 10**12 + 61 * PERIOD_NS
    assert clock.mapped(5 * NS_PER_MS + PERIOD_NS, later_ns) == later_ns


# -- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("size", [(320, 240), (160, 120), (224, 224), (480, 640)])
def test_a_picture_lands_in_the_slot_itself(tmp_path, order, size):
    width, height = size
    ring = SharedRing(tmp_path / "ring", (height, width, 3), np.dtype(np.uint8), 4).writer()
    given_picture = picture(37) if order == "rgb" else picture(37)[..., ::-1].copy()
    for _ in range(5):
        slot = ring.slot()
        slot[...] = 99
        put(given_picture, slot, "crop", order)
        assert number_in(slot) == 37
        assert slot[height // 3, width // 2].tolist() == [180, 30, 60]
        ring.commit(1)


def test_padding_shows_all_and_the_rest_is_black():
    out = np.full((100, 200, 3), 99, np.uint8)
    put(picture(5), out, "pad", "bgr")
    assert not out[:, :30].any()
    assert not out[:, -30:].any()
    assert out[3, 40].tolist() == [220, 30, 20]  # the corner, which a crop would have lost


@given(
    given_px=st.tuples(st.integers(16, 2000), st.integers(16, 2000)),
    wanted_px=st.tuples(st.integers(16, 2000), st.integers(16, 2000)),
    fit=st.sampled_from(["crop", "pad", "stretch"]),
)
def test_windows_lie_inside_and_keep_the_shape(given_px, wanted_px, fit):
    seen, shown = windows(given_px, wanted_px, fit)
    for part, whole in zip((*seen, *shown), (*given_px, *wanted_px), strict=True):
        assert 0 <= part.start < part.stop <= whole
    if fit == "stretch":
        return
    ratios = [whole / given for whole, given in zip(wanted_px, given_px, strict=True)]
    scale = max(ratios) if fit == "crop" else min(ratios)
    for part, target in zip(seen, shown, strict=True):  # to the pixel that rounding takes
        scaled = (part.stop - part.start) * scale
        assert abs(scaled - (target.stop - target.start)) <= max(scale, 1)


def test_depth_is_in_millimetres_and_never_a_mean():
    near_and_far = np.full((240, 320), 400, np.uint16)
    near_and_far[:, 160:] = 60_000
    near_and_far[:4] = 0
    out = np.empty((120, 160), np.uint16)
    put_depth(near_and_far, out, "crop", 1.0)
    assert set(np.unique(out)) == {0, 400, 60_000}
    put_depth(near_and_far, out, "crop", 0.1)
    assert set(np.unique(out)) == {0, 40, 6_000}
    put_depth(near_and_far, out, "crop", 10.0)
    assert set(np.unique(out)) == {0, 4_000, 65_535}


# -- opening ---------------------------------------------------------------------------------------


def test_a_device_that_hangs_while_it_opens_costs_its_deadline_and_is_closed_when_it_comes():
    come, closed = threading.Event(), threading.Event()

    def make():
        come.wait(30)
        return "device"

    opened = Opened("a camera", make, lambda device: closed.set())
    for _ in range(2):
        with pytest.raises(DeviceTimeoutError, match="being opened"):  # and not waited for
            opened.get(time.monotonic_ns() + 50 * NS_PER_MS)
    late = threading.Thread(target=opened.close)
    late.start()
    time.sleep(0.1)
    come.set()
    late.join(10)
    assert closed.wait(10), "left open"
    assert opened.get(time.monotonic_ns() + 10 * NS_PER_S) == "device"
    opened.close()


def test_what_cannot_be_opened_says_why_each_time_and_is_tried_again():
    tries = []

    def make():
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("no power")
        return "device"

    opened = Opened("a camera", make, lambda device: None)
    for _ in range(2):
        with pytest.raises(DeviceError, match="a camera: no power"):
            opened.get(time.monotonic_ns() + 10 * NS_PER_S)
    assert opened.get(time.monotonic_ns() + 10 * NS_PER_S) == "device"


# -- RealSense's own words -------------------------------------------------------------------------


def _wish(**changes):
    wish = {"serial": "", "size": (640, 480), "rate_hz": 30, "depth": False, "file": ""}
    return realsense_device.Wish(**(wish | {"exposure_us": None, "settings": {}} | changes))


def test_settings_reach_the_sensor_and_unknown_ones_are_named():
    device = rs.software_device()
    sensor = device.add_sensor("RGB Camera")
    for option, low, high in (
        (rs.option.enable_auto_exposure, 0, 1),
        (rs.option.exposure, 1, 10_000),
        (rs.option.gain, 0, 128),
    ):
        sensor.add_option(option, rs.option_range(low, high, low, 1), True)
    apply(rs, sensor, 8000.0, {"gain": 64})
    told = [rs.option.exposure, rs.option.gain, rs.option.enable_auto_exposure]
    assert [sensor.get_option(option) for option in told] == [80, 64, 0]
    with pytest.raises(DeviceError, match=r"'gian'; there are gain"):
        apply(rs, sensor, None, {"gian": 64})
    with pytest.raises(DeviceError, match="gain must be within 0 and 128, not 999"):
        apply(rs, sensor, None, {"gain": 999})


def test_a_device_that_its_library_loses_is_opened_again(tmp_path):
    from tests.drivers.realsense_film import record

    record(tmp_path / "film.db3", [k * 33.3 for k in range(12)])
    camera = RealSense(CameraSpec("front", 60, 80, 30.0, 0), None, file=str(tmp_path / "film.db3"))
    out = np.empty((60, 80, 3), np.uint8)
    try:
        first_ns = _frame(camera, out)
        camera._opened._device.pipeline.stop()  # librealsense raises at whatever is asked then
        with pytest.raises(DeviceError, match="look at its cable"):
            camera.read(out, NS_PER_S)
        assert _frame(camera, out) > first_ns
    finally:
        camera.close()


def _frame(camera, out):
    for _ in range(20):
        with contextlib.suppress(DeviceTimeoutError):
            return camera.read(out, NS_PER_S // 2)
    raise AssertionError("no frame came")


def test_a_missing_library_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(ConfigError, match="pip install pyrealsense2"):
        realsense_device.library()


def test_a_real_one_that_is_not_there_is_missed_by_its_serial_number():
    context = rs.context()
    if realsense_device.serials(rs, context):
        pytest.skip("a RealSense is plugged in here")
    with pytest.raises(DeviceError, match=r"RealSense 0123 is not plugged in \(there: none\)"):
        realsense_device.start(rs, context, _wish(serial="0123"))
    with pytest.raises(DeviceError, match="tandem doctor cameras"):
        realsense_device.start(rs, context, _wish())


def test_a_file_that_is_no_recording_says_so(tmp_path):
    (tmp_path / "bad.db3").write_bytes(b"nothing of the kind" * 99)
    with pytest.raises(DeviceError, match=r"is it a recording \(\.db3\)"):
        realsense_device.start(rs, rs.context(), _wish(file=str(tmp_path / "bad.db3")))
