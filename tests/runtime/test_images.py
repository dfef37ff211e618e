"""Laws of the shared-memory rings, against real writer processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tandem.runtime.errors import ConfigError, WireError
from tandem.runtime.images import ImageRing, SharedRing
from tandem.runtime.interfaces import CameraSpec

HAMMER = """
import sys
import numpy as np
from pathlib import Path
from tandem.runtime.images import SharedRing

writer = SharedRing(Path(sys.argv[1]), (4096,), "<i8", slots=4, checked=sys.argv[2] == "1").writer()
print("ready", flush=True)
while True:
    seq = writer.seq
    writer.slot().fill(seq)
    writer.commit(1000 * seq)
"""


def ring(path: Path, slots: int = 4, checked: bool | None = None) -> SharedRing:
    return SharedRing(path / "ring", (3,), np.dtype("<f8"), slots, checked)


@pytest.fixture(params=[False, True], ids=["unchecked", "checked"])
def hammer(request: pytest.FixtureRequest, tmp_path: Path):
    argv = [sys.executable, "-c", HAMMER, str(tmp_path / "ring"), str(int(request.param))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process, SharedRing(tmp_path / "ring", (4096,), np.dtype("<i8"), 4)
        process.kill()


@pytest.mark.process
def test_no_torn_record_is_ever_handed_out(hammer) -> None:
    _, shared = hammer
    reader = shared.reader()
    newest, seen, begin = -1, 0, time.monotonic()
    while (passed_s := time.monotonic() - begin) < 1.0 or seen <= 100:
        assert passed_s < 30.0, f"only {seen} records could be read"
        for record in [reader.latest(), *reader.since(reader.count - 4)]:
            if record is None:
                continue
            assert np.all(record.payload == record.seq), "a record mixes two writes"
            assert record.t_ns == 1000 * record.seq
            seen += 1
        latest = reader.latest()
        if latest is not None:
            assert latest.seq >= newest
            newest = latest.seq


@pytest.mark.process
def test_a_killed_writer_leaves_a_readable_ring_and_the_next_one_is_found(hammer) -> None:
    process, shared = hammer
    reader = shared.reader()
    while reader.count < 100:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    last = reader.latest()
    assert last is not None
    assert np.all(last.payload == last.seq)
    writer = shared.writer()
    assert writer.seq == last.seq + 1  # numbers go on
    writer.write(7, writer.seq)
    after = reader.latest()
    assert after is not None
    assert (after.seq, after.t_ns, reader.generation) == (last.seq + 1, 7, 2)


def test_a_frozen_writer_that_wakes_up_is_fenced(tmp_path: Path) -> None:
    old = ring(tmp_path).writer()
    reader = ring(tmp_path).reader()
    old.write(1, 1.0)
    assert reader.latest() is not None
    new = ring(tmp_path).writer()
    old.write(2, 2.0)  # it keeps writing, faster than the new one
    assert old.fenced()
    assert not new.fenced()
    assert reader.latest() is None
    new.write(3, 3.0)
    old.write(4, 4.0)
    record = reader.latest()
    assert record is not None
    assert record.t_ns == 3


def test_a_half_written_record_is_not_visible(tmp_path: Path) -> None:
    writer, reader = ring(tmp_path).writer(), ring(tmp_path).reader()
    writer.write(1, 1.0)
    writer.slot()[:] = 99.0
    record = reader.latest()
    assert record is not None
    assert record.seq == 0
    assert reader.at(1) is None
    writer.commit(2)
    assert reader.at(1) is not None


def test_history_is_ordered_and_bounded(tmp_path: Path) -> None:
    writer, reader = ring(tmp_path, slots=4).writer(), ring(tmp_path, slots=4).reader()
    for k in range(10):
        writer.write(100 + k, float(k))
    assert [r.seq for r in reader.since(7)] == [8, 9]
    assert [r.seq for r in reader.since(2)] == [6, 7, 8, 9]
    assert reader.at(5) is None
    assert reader.at(10) is None
    seq, t_ns, payload = reader.history()
    assert seq.tolist() == [6, 7, 8, 9]
    assert t_ns.tolist() == [106, 107, 108, 109]
    assert payload[:, 0].tolist() == [6, 7, 8, 9]


def test_a_copy_is_not_touched_by_later_writes(tmp_path: Path) -> None:
    writer, reader = ring(tmp_path, slots=2).writer(), ring(tmp_path, slots=2).reader()
    writer.write(1, 1.0)
    record = reader.latest()
    assert record is not None
    for _ in range(4):
        writer.write(2, 2.0)
    assert record.payload.tolist() == [1, 1, 1]


def test_a_checked_ring_refuses_a_payload_that_does_not_match(tmp_path: Path) -> None:
    writer = ring(tmp_path, checked=True).writer()
    reader = ring(tmp_path).reader()  # the file says that it is checked, not the reader
    writer.write(1, 1.0)
    assert reader.latest() is not None
    writer._map.payload(0)[0] = 5.0  # what weak memory order would look like
    assert reader.latest() is None
    assert reader.torn > 0


def test_structured_payloads(tmp_path: Path) -> None:
    dtype = np.dtype([("q", "<f8", 7), ("underruns", "<i8"), ("coasting", "?")])
    shared = SharedRing(tmp_path / "arm", (), dtype)
    writer, reader = shared.writer(), shared.reader()
    slot = writer.slot()
    slot["q"][...] = np.arange(7.0)
    slot["underruns"], slot["coasting"] = 3, True
    writer.commit(5)
    record = reader.latest()
    assert record is not None
    assert record.payload["q"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert (int(record.payload["underruns"]), bool(record.payload["coasting"])) == (3, True)
    assert reader.history()[2]["q"].shape == (1, 7)


def test_a_reader_may_come_first(tmp_path: Path) -> None:
    reader = ring(tmp_path).reader()
    assert reader.latest() is None
    assert reader.since(-1) == []
    assert reader.count == 0
    ring(tmp_path).writer().write(1, 1.0)
    assert reader.latest() is not None


def test_another_shape_or_a_file_that_is_no_ring_is_refused(tmp_path: Path) -> None:
    ring(tmp_path).writer()
    with pytest.raises(WireError, match="shape"):
        SharedRing(tmp_path / "ring", (4,), np.dtype("<f8"), 4).reader().latest()
    with pytest.raises(WireError, match="slots"):
        ring(tmp_path, slots=5).reader().latest()
    (tmp_path / "ring").write_bytes(b"garbage" * 1000)
    with pytest.raises(WireError, match="not a ring"):
        ring(tmp_path).reader().latest()


def test_a_missing_directory_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="runtime_dir"):
        ring(tmp_path / "nowhere").writer()


def test_image_ring(tmp_path: Path) -> None:
    spec = CameraSpec("front", 4, 6, 30.0, 0)
    writer, reader = ImageRing.of(tmp_path, spec).writer(), ImageRing.of(tmp_path, spec).reader()
    writer.slot()[...] = 7
    writer.commit(123)
    frame = reader.latest()
    assert frame is not None
    assert (frame.image.shape, frame.image.dtype) == ((4, 6, 3), np.uint8)
    assert (frame.t_capture_ns, frame.seq, int(frame.image.sum())) == (123, 0, 7 * 72)
    assert [f.seq for f in reader.since(-1)] == [0]
