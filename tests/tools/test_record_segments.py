"""A recording's files: bounded together, each whole in itself, opened by MCAP's own reader."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from tandem.runtime.errors import ConfigError
from tandem.tools.record.main import Sequences
from tandem.tools.record.reader import Recording
from tandem.tools.record.segments import Bounds, Channel, RecordError, Segments

CHANNEL = Channel("/tandem/state/executor", "msgpack", "x", "jsonschema", b"{}")
FACTS = {"tandem": {"utc_minus_monotonic_ns": "0"}}
MIB = 1 << 20


def fill(segments: Segments, megabytes: int) -> int:
    """What no compressor makes smaller; returns the most that ever lay on the disk."""
    most = 0
    for i in range(megabytes * 8):
        segments.write(CHANNEL, os.urandom(MIB // 8), i, i, i)
        if i % 4 == 0:
            segments.flush(time.monotonic_ns(), force=True)
        most = max(most, sum(f.stat().st_size for f in segments.folder.glob("*.mcap")))
    return most


def test_the_oldest_file_goes_and_the_bound_holds(tmp_path: Path) -> None:
    bound = 16 * MIB
    segments = Segments(tmp_path / "r", "r", Bounds(bound, 0), FACTS)
    assert fill(segments, 40) <= bound
    segments.close()
    files = sorted((tmp_path / "r").glob("*.mcap"))
    assert sum(f.stat().st_size for f in files) <= bound
    assert segments.dropped == 40 // 4 + 1 - len(files) or segments.dropped > 5
    numbers = []
    for file in files:
        with file.open("rb") as stream:
            reader = make_reader(stream)
            statistics = reader.get_summary().statistics
            found = [m.sequence for _, _, m in reader.iter_messages()]
            assert statistics.message_count == len(found)
            numbers += found
    assert numbers == list(range(numbers[0], 320))  # the end is there, without a gap
    recording = Recording(tmp_path / "r")
    assert recording.holes("task") == [
        f"its first {segments.dropped} files were dropped (record.max_gib)"
    ]


def test_a_disk_is_never_filled(tmp_path: Path) -> None:
    segments = Segments(tmp_path / "r", "r", Bounds(64 * MIB, 1 << 60), FACTS)
    with pytest.raises(RecordError, match="GiB left: recording has stopped"):
        segments.flush(time.monotonic_ns(), force=True)
    segments.close()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"record\.max_gib is too small"):
        Segments(tmp_path / "r", "r", Bounds(MIB), FACTS)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot record to"):
        Segments(tmp_path / "file" / "r", "r", Bounds(64 * MIB), FACTS)
    with pytest.raises(ConfigError, match="no recording at"):
        Recording(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="is not a recording of Tandem"):
        Recording(tmp_path / "file")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.sets(st.integers(0, 29)))
def test_every_gap_in_the_numbers_is_counted(lives: list[int], lost: set[int]) -> None:
    """Lives start at 0; whatever is missing below a later number of that life counts."""
    sequences, expected = Sequences(), 0
    for n in lives:
        arrived = [seq for seq in range(n) if seq not in lost]
        if not arrived:
            continue
        if arrived[0] > 0 and sequences._last:  # a restart cannot be told from going on
            return
        for seq in arrived:
            sequences.heard("chunk", "s1", seq)
        expected += arrived[-1] + 1 - len(arrived)
        if len(arrived) and arrived[-1] == 0:  # one message, repeated: as latched streams do
            return
    assert sequences.lost == expected
