"""The capture loop, with cameras that misbehave on demand and invented time."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tandem.runtime import streams
from tandem.runtime.bus import LocalBus
from tandem.runtime.camera import CameraLoop
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, MonotonicClock, VirtualClock
from tandem.runtime.errors import AbsentError, DeviceError, DeviceTimeoutError
from tandem.runtime.images import FrameBox, ImageRing, depth_ring, max_age_ns
from tandem.runtime.interfaces import CameraFacts, CameraSpec

from tests.waiting import wait_for

LATENCY_NS = 5 * NS_PER_MS


class ScriptedCamera:
    """Renders its own count; `fault` makes it fail, stand still, or lie about the time."""

    def __init__(self, name: str, clock: VirtualClock, work_ns: int = 0) -> None:
        self.spec = CameraSpec(name, 16, 16, 30.0, LATENCY_NS)
        self.clock, self.work_ns = clock, work_ns
        self.reads, self.closed, self.fault = 0, False, ""
        self.stamp_ns = self.picture = 0

    def read(self, out: np.ndarray, timeout_ns: int) -> int:
        assert timeout_ns > 0
        self.clock.sleep_until(self.clock.now_ns() + self.work_ns)
        if self.fault == "silent":
            raise DeviceTimeoutError("no frame from the device")
        if self.fault == "bug":
            raise RuntimeError("a driver's own mistake")
        if self.fault == "absent":
            raise AbsentError("it is not plugged in; plug it in")
        self.reads += 1
        if self.fault != "frozen picture":
            self.picture = self.reads % 256
        out[:] = self.picture
        if self.fault != "same frame":
            self.stamp_ns = self.clock.now_ns() - LATENCY_NS
        return self.stamp_ns + (NS_PER_S if self.fault == "future" else 0)

    def close(self) -> None:
        self.closed = True


class Bench:
    def __init__(self, tmp_path: Path, n: int = 1, work_ns: int = 0, **options: Any) -> None:
        self.clock = VirtualClock()
        self.cameras = [ScriptedCamera(f"c{k}", self.clock, work_ns) for k in range(n)]
        bus = LocalBus("camera")
        self.ticks = bus.subscriber(streams.TICK, "camera")
        self.events = bus.subscriber(streams.EVENT, "camera")
        self.loop = CameraLoop(self.cameras, tmp_path, bus, self.clock, **options)
        self.readers = [ImageRing.of(tmp_path, c.spec).reader() for c in self.cameras]

    def run(self, seconds: float) -> None:
        end_ns = self.clock.now_ns() + round(seconds * NS_PER_S)
        while self.clock.now_ns() < end_ns:
            self.loop.tick(self.clock.now_ns())
            self.clock.sleep_until(self.clock.now_ns() + NS_PER_MS)

    def kinds(self) -> list[tuple[str, str]]:
        return [(e.level, e.kind) for e in self.events.poll()]


def test_every_camera_gets_its_rate_and_its_stamps(tmp_path: Path) -> None:
    bench = Bench(tmp_path, n=3)
    bench.run(1.0)
    for camera, reader in zip(bench.cameras, bench.readers, strict=True):
        assert 29 <= camera.reads <= 31
        frames = reader.since(-1)
        spacing = np.diff([f.t_capture_ns for f in frames])
        assert np.all(np.abs(spacing - NS_PER_S / 30) <= 2 * NS_PER_MS)
        frame = reader.latest()
        assert frame is not None
        assert frame.image[0, 0, 0] == camera.reads
        assert bench.clock.now_ns() - frame.t_capture_ns <= max_age_ns(camera.spec)
    assert bench.kinds() == []


def test_cameras_that_share_a_process_take_turns(tmp_path: Path) -> None:
    bench = Bench(tmp_path, n=3)
    bench.run(0.5)
    last = [r.latest() for r in bench.readers]
    stamps = sorted(f.t_capture_ns for f in last if f)
    assert min(np.diff(stamps)) >= 9 * NS_PER_MS


def test_when_rendering_is_too_slow_all_slow_down_alike_and_it_is_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, n=3, work_ns=30 * NS_PER_MS)  # 90 ms for all, 33 wanted
    bench.run(2.0)
    reads = [c.reads for c in bench.cameras]
    assert max(reads) - min(reads) <= 1
    assert bench.ticks.poll()[-1].missed > 0


def test_a_silent_camera_is_reported_and_its_return_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, n=2)
    bench.run(0.2)
    bench.cameras[0].fault = "silent"
    bench.run(2.5)
    said = bench.kinds()
    assert 2 <= said.count(("error", "camera c0")) <= 4
    assert bench.cameras[1].reads > 70  # the other one went on
    bench.cameras[0].fault = ""
    bench.run(0.5)
    assert bench.kinds() == [("info", "camera c0")]


def test_a_camera_that_stays_silent_ends_the_loop(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.cameras[0].fault = "silent"
    with pytest.raises(DeviceError, match="cable"):
        bench.run(10.0)


@pytest.mark.parametrize("fault", ["same frame", "future", "bug"])
def test_what_cannot_be_a_new_frame_is_withheld(tmp_path: Path, fault: str) -> None:
    bench = Bench(tmp_path)
    bench.run(0.2)
    bench.cameras[0].fault = fault
    before = bench.readers[0].ring.count
    bench.run(1.0)
    assert bench.readers[0].ring.count == before
    assert ("error", "camera c0") in bench.kinds()


def test_an_absent_camera_is_waited_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.run(0.2)
    bench.cameras[0].fault = "absent"
    bench.run(20.0)  # no new start would bring it back
    bench.cameras[0].fault = ""
    bench.run(1.0)
    said = bench.kinds()
    assert said[-1] == ("info", "camera c0")
    assert 15 <= said.count(("error", "camera c0")) <= 21


def test_a_device_may_take_its_time_to_open_and_is_reported_if_it_takes_longer(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.cameras[0].fault = "silent"
    bench.run(2.5)
    assert bench.kinds() == []
    bench.run(1.0)
    assert bench.kinds() == [("error", "camera c0")]


def test_a_frozen_picture_is_withheld_after_a_while(tmp_path: Path) -> None:
    bench = Bench(tmp_path, frozen_after_ns=NS_PER_S)
    bench.run(0.5)
    bench.cameras[0].fault = "frozen picture"
    bench.run(0.8)
    assert bench.kinds() == []
    bench.run(0.5)
    assert ("error", "camera c0") in bench.kinds()
    newest = bench.readers[0].latest()
    assert newest is not None
    assert bench.clock.now_ns() - newest.t_capture_ns > max_age_ns(bench.cameras[0].spec)


def test_a_still_scene_is_no_fault_in_simulation(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.cameras[0].fault = "frozen picture"
    bench.run(3.0)
    assert bench.kinds() == []
    assert bench.cameras[0].reads > 85


def test_a_device_sets_its_own_rate(tmp_path: Path) -> None:
    bench = Bench(tmp_path, work_ns=20 * NS_PER_MS, device_paced=True)  # a 50 Hz device
    end_ns = bench.clock.now_ns() + NS_PER_S
    bench.loop.run(lambda: bench.clock.now_ns() >= end_ns)
    assert 49 <= bench.cameras[0].reads <= 51
    assert bench.cameras[0].closed
    assert bench.ticks.poll()[-1].missed == 0


class Device(ScriptedCamera):
    """On the real clock: a frame every 20 ms, until it hangs in the vendor's library."""

    def __init__(self, name: str) -> None:
        super().__init__(name, MonotonicClock())  # type: ignore[arg-type]
        self.spec = replace(self.spec, depth=True)
        self.serial = "0123"
        self.never = threading.Event()

    def read(self, out: np.ndarray, timeout_ns: int) -> int:
        if self.fault == "hang":
            self.never.wait(30)
        time.sleep(0.02)
        return super().read(out, timeout_ns)

    def depth_mm(self, out: np.ndarray) -> None:
        out[:] = 1000 + self.picture

    def facts(self) -> CameraFacts:
        return CameraFacts(f"model X, serial {self.serial}", "", "its own clock", 3 * NS_PER_MS)


def test_real_devices_do_not_wait_for_each_other_nor_for_one_that_hangs(tmp_path: Path) -> None:
    """
    1. Two devices fill their rings, pictures and depth; each says what it is.
    2. One hangs in a call without a deadline: that is said soon.
    3. The other one goes on; the loop ends when it is told to, all the same.
    """
    devices = [Device("c0"), Device("c1")]
    bus = LocalBus("camera")
    events = bus.subscriber(streams.EVENT, "camera")
    ticks = bus.subscriber(streams.TICK, "camera", conflate=False)
    said: list[str] = []

    def says(words: str) -> bool:
        said.extend(e.text for e in events.poll())
        return any(words in text for text in said)

    loop = CameraLoop(devices, tmp_path, bus, MonotonicClock(), device_paced=True)
    over = threading.Event()
    thread = threading.Thread(target=loop.run, args=(over.is_set,))
    thread.start()
    try:
        pictures = ImageRing.of(tmp_path, devices[0].spec).reader()
        depths = depth_ring(tmp_path, devices[0].spec).reader()

        def of_one_moment() -> list[tuple[int, int]]:
            """What picture and depth show, where both are there."""
            depth_mm = {record.t_ns: record.payload[3, 3] for record in depths.since(-1)}
            shown = {frame.t_capture_ns: frame.image[3, 3, 0] for frame in pictures.since(-1)}
            return [(int(shown[t]), int(depth_mm[t])) for t in shown.keys() & depth_mm.keys()]

        both = wait_for(of_one_moment)
        assert all(depth_mm == 1000 + shown for shown, depth_mm in both)
        for name in ("c0", "c1"):
            first = f"camera {name}: model X, serial 0123; stamps: its own clock, within 3.0 ms"
            wait_for(lambda first=first: says(first))
        wait_for(lambda: any(tick.gauges.get("clock error ms c0") == 3.0 for tick in ticks.poll()))
        devices[0].fault, devices[1].serial = "hang", "4567"
        before = devices[1].reads
        wait_for(lambda: says("c0: its driver hangs"), 4.5)  # before it is given up
        wait_for(lambda: devices[1].reads > before + 20)
        wait_for(lambda: says("serial 4567"))
    finally:
        over.set()
        thread.join(10)
        devices[0].never.set()
    assert not thread.is_alive()
    assert devices[1].closed


def test_a_frame_box_holds_the_newest() -> None:
    box = FrameBox(CameraSpec("front", 2, 2, 30.0, LATENCY_NS))
    assert box.latest() is None
    box.put(np.zeros((2, 2, 3), np.uint8), 5)
    box.put(np.ones((2, 2, 3), np.uint8), 6)
    frame = box.latest()
    assert frame is not None
    assert (frame.seq, frame.t_capture_ns) == (1, 6)
