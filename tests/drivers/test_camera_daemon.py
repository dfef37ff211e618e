"""A whole daemon whose camera is a RealSense that librealsense plays: unplugged, and put back."""

import time

import numpy as np
import pytest
from tandem.runtime import streams
from tandem.runtime.app import build
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.config import load
from tandem.runtime.images import ImageRing, depth_ring
from tandem.tools.faults.rig import Rig

from tests.drivers.camera_rig import number_in

pytest.importorskip("pyrealsense2", reason="there is no wheel for this machine")
from tests.drivers.realsense_film import DEPTH_MM, SERIAL, record

pytestmark = pytest.mark.process
_PATIENCE_S = 30.0  # on a machine that has other things to do


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    file = tmp_path_factory.mktemp("realsense") / "film.db3"
    record(file, [k * 1000 / 30 for k in range(30)])
    return file


def _config(film):
    front = {
        "driver": "realsense",
        "serial": SERIAL,
        "file": str(film),
        "depth": True,
        "size": [160, 120],
        "rate_hz": 30,
    }
    return {
        "schema": 1,
        "robot": {
            "name": "playback",
            "arm": {"driver": "fake", "access": "move"},
            "limits": {"file": "limits/panda.yaml"},
        },
        "cameras": {"front": front},
        "s2": {"policy": "tandem.tools.faults.sweep:SweepS2", "cameras": ["front"], "rate_hz": 10},
        "s1": {"policy": "tandem.tools.faults.sweep:SweepS1"},
        "executor": {"rate_hz": 200},
    }


class Ears:
    """What System 2 says, and the two rings, as any reader finds them."""

    def __init__(self, rig: Rig) -> None:
        settings = load(rig.base / "faults.yaml", [f"runtime_dir={rig.folder}"])
        spec = build.camera_spec("front", settings.cameras["front"])
        self.pictures = ImageRing.of(rig.folder, spec).reader()
        self.depths = depth_ring(rig.folder, spec).reader()
        self.bus = ZmqBus(rig.folder, "ears")
        self.line = self.bus.subscriber(streams.CONDITIONING, "s2", conflate=False)
        self.ticks = self.bus.subscriber(streams.TICK, "camera")
        self.rig = rig

    def hear(self, frames: int, thoughts: int):
        """Stamps in the ring, and of what System 2 used, as they come; so many at least."""
        ring, used, seq = [], [], self.pictures.ring.count - 1
        end_s = time.monotonic() + _PATIENCE_S
        while len(ring) < frames or len(used) < thoughts:
            assert time.monotonic() < end_s, f"{len(ring)} frames, {len(used)} thoughts"
            self.rig.watch(0.1)
            said = self.line.poll()
            for frame in self.pictures.since(seq):
                if ring and frame.seq > seq + 1:  # we were starved: what was missed, nobody knows
                    ring, used, said = [], [], []
                ring.append(frame.t_capture_ns)
                seq = frame.seq
            used += [message.t_capture_ns for message in said]
        return ring, used


def test_a_realsense_feeds_system_2_and_survives_its_cable(film):
    """
    1. Colour and depth reach their rings, with rising stamps; System 2 takes from them.
    2. How far off the camera's clock may be is told.
    3. The film is taken away, as a cable would be: within a second of the last frame it is said,
       and the arm, which moved, comes to hold.
    4. It is put back: pictures come again, by themselves, and that is said too; the arm holds on.
    """
    rig = Rig(_config(film))
    with rig:
        ears = Ears(rig)
        try:
            rig.go("sweep")
            ring, used = ears.hear(45, 12)
            assert np.all(np.diff(ring) > 0)
            assert np.all(np.diff(used) >= 0)
            assert set(used[1:-1]) <= set(ring) | set(used[:3])
            _depth_belongs_to_its_picture(ears)
            _clock_error_is_told(rig, ears)
            # Again, where the camera's process was starved.
            assert any(_cable(rig, ears, film) < NS_PER_S for _ in range(3)), "said too late"
        finally:
            ears.bus.close()


def _depth_belongs_to_its_picture(ears: Ears) -> None:
    for _ in range(10):  # again, where we were starved between the two rings
        pictures = {frame.t_capture_ns: frame.image for frame in ears.pictures.since(-1)}
        depths = {record.t_ns: record.payload for record in ears.depths.since(-1)}
        both = sorted(pictures.keys() & depths.keys())
        if len(both) > 5:
            break
    assert len(both) > 5
    for t_ns in both:
        middle = int(depths[t_ns][60, 80])
        assert abs(middle - DEPTH_MM - number_in(pictures[t_ns])) <= 1, "of another moment"


def _clock_error_is_told(rig: Rig, ears: Ears) -> None:
    """In the first seconds it is the worst delay that was seen, then what the clocks differ by."""
    known: list[float] = []  # none before the first frame

    def told() -> bool:
        gauges = (tick.gauges.get("clock error ms front") for tick in ears.ticks.poll())
        known.extend(error_ms for error_ms in gauges if error_ms is not None)
        return any(error_ms < 200 for error_ms in known)

    rig.until(told, _PATIENCE_S, "certain of the clock")
    assert min(known) > 0


def _cable(rig: Rig, ears: Ears, film) -> int:
    """After how long it was said that nothing comes any more, ns."""
    rig.poll()
    before, away = len(rig.events), film.with_name("away.db3")
    film.rename(away)
    try:
        missing = "error", "there is no recording", before
        rig.until(lambda: _said(rig, *missing), _PATIENCE_S, "missed")
        newest = ears.pictures.latest()
        error = _said(rig, *missing)[0]
        arrived_ns = newest.t_capture_ns + 34 * NS_PER_MS  # the declared latency
        assert error.t_ns > newest.t_capture_ns
        rig.until(lambda: rig.mode() == "hold", _PATIENCE_S, "in hold")
        assert ears.pictures.latest().t_capture_ns == newest.t_capture_ns
    finally:
        away.rename(film)
    rig.until(lambda: _said(rig, "info", "camera front is back", before), _PATIENCE_S, "back")
    ring, used = ears.hear(10, 4)
    assert ring[0] > newest.t_capture_ns
    assert used[-1] > newest.t_capture_ns
    assert rig.mode() == "hold", "motion resumed by itself"
    return error.t_ns - arrived_ns


def _said(rig: Rig, level: str, words: str, since: int):
    rig.poll()
    said = [e for e in rig.events[since:] if e.source == "camera" and e.level == level]
    return [e for e in said if words in e.text]
