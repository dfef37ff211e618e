"""TFRecord and Example: read back what was written by the book, and told what is damaged."""

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime.errors import WireError
from tandem.tools import tfrecord


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(values) -> bytes:
    if values and isinstance(values[0], bytes):
        return field(1, b"".join(field(1, value) for value in values))
    if values and isinstance(values[0], float):
        return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
    return field(3, field(1, b"".join(varint(value) for value in values)))


def example(features: dict) -> bytes:
    entries = (field(1, name.encode()) + field(2, feature(v)) for name, v in features.items())
    return field(1, b"".join(field(1, entry) for entry in entries))


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    sums = (struct.pack("<I", tfrecord.masked_crc32c(part)) for part in (length, data))
    return length + next(sums) + data + next(sums)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "film.tfrecord-00000-of-00001"
    path.write_bytes(content)
    return path


def test_the_checksum_is_castagnolis():
    assert tfrecord.crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4 has the same code
    assert tfrecord.crc32c(bytes(32)) == 0x8A9136AA


FEATURES = {
    "steps/observation/image_0": [b"one", b"", b"three"],
    "steps/action": [0.5, -2.0, 1e6],
    "steps/reward": [1, -1, 2**40],
}


def test_what_was_written_is_read(tmp_path):
    path = written(tmp_path, record(example(FEATURES)) + record(example({})))
    first, second = tfrecord.examples(path)
    assert first["steps/observation/image_0"] == FEATURES["steps/observation/image_0"]
    assert np.array_equal(first["steps/action"], np.array(FEATURES["steps/action"], np.float32))
    assert first["steps/reward"].tolist() == FEATURES["steps/reward"]
    assert second == {}


def test_numbers_need_not_be_packed():
    floats = field(2, b"".join(varint(1 << 3 | 5) + struct.pack("<f", v) for v in (1.5, 2.5)))
    integers = field(3, b"".join(varint(1 << 3) + varint(v) for v in (3, 300)))
    entries = [field(1, b"f") + field(2, floats), field(1, b"i") + field(2, integers)]
    message = field(1, b"".join(field(1, entry) for entry in entries))
    found = tfrecord.parse_example(message)
    assert found["f"].tolist() == [1.5, 2.5]
    assert found["i"].tolist() == [3, 300]


WHOLE = record(example(FEATURES))


@given(place=st.integers(0, len(WHOLE) - 1), flipped=st.integers(1, 255))
def test_any_damage_is_noticed(place, flipped):
    content = bytearray(WHOLE)
    content[place] ^= flipped
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), bytes(content))
        with pytest.raises(WireError, match="copy the file again"):
            list(tfrecord.examples(path))


@given(st.integers(1, 100))
def test_a_file_cut_short_is_told(missing):
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), WHOLE[:-missing])
        with pytest.raises(WireError, match="ends inside"):
            list(tfrecord.records(path))


@given(st.binary(max_size=60))
def test_nonsense_is_an_error_of_ours_or_empty(data):
    try:
        tfrecord.parse_example(data)
    except (WireError, UnicodeDecodeError, ValueError):
        return
