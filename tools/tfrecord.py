"""TFRecord files and the `tf.train.Example` in each record, without TensorFlow.

A record is its length (uint64), the length's checksum, the bytes, their checksum (uint32 each, all
little-endian); checksums are CRC-32C, masked (tensorflow/core/lib/io/record_writer.h). An Example
is the protocol buffer of tensorflow/core/example/{example,feature}.proto: a map of names to lists
of bytes, floats or integers.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tandem.runtime.errors import WireError

Value = list[bytes] | np.ndarray  # floats are float32, integers int64
Example = dict[str, Value]

_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
_MASK_DELTA = 0xA282EAD8


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """As stored: a checksum of data that itself holds checksums would be weak."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + _MASK_DELTA) & 0xFFFFFFFF


def records(path: Path) -> Iterator[bytes]:
    """
    Raises:
        WireError: the file is cut short or damaged; the message says where.
    """
    with path.open("rb") as file:
        while header := file.read(12):
            at = file.tell() - len(header)
            length = _checked(header, 8, path, at)
            (size,) = struct.unpack("<Q", length)
            yield _checked(file.read(size + 4), size, path, at)


def examples(path: Path) -> Iterator[Example]:
    """The Examples of a file, one a record."""
    for record in records(path):
        yield parse_example(record)


def parse_example(record: bytes) -> Example:
    """{name: values}; a feature without values is an empty list."""
    example: Example = {}
    for features in _fields(record, 1):
        for entry in _fields(features, 1):
            (name,), value = _fields(entry, 1), _fields(entry, 2)
            example[name.decode()] = _feature(value[0]) if value else []
    return example


def _checked(block: bytes, size: int, path: Path, at: int) -> bytes:
    if len(block) < size + 4:
        raise WireError(f"{path} ends inside the record at byte {at}; copy the file again")
    data = block[:size]
    if struct.unpack("<I", block[size:])[0] != masked_crc32c(data):
        raise WireError(f"{path}: the record at byte {at} is damaged; copy the file again")
    return data


def _feature(message: bytes) -> Value:
    for content in _fields(message, 1):
        return _fields(content, 1)
    for content in _fields(message, 2):
        return np.frombuffer(b"".join(_fields(content, 1)), "<f4")
    for content in _fields(message, 3):
        packed = (_varints(run) for run in _fields(content, 1))
        return np.array([value for run in packed for value in run], np.int64)
    return []


def _fields(message: bytes, wanted: int) -> list[bytes]:
    """Contents of the field numbered `wanted`, every time that it occurs."""
    found, at = [], 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        start = at
        match kind:
            case 0:  # varint: handed on as it is, to be read like a packed run of one
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                size, start = _varint(message, at)
                at = start + size
            case 5:
                at += 4
            case _:
                raise WireError(f"a record is no Example: wire type {kind} at byte {at}")
        if at > len(message):
            raise WireError(f"a record is no Example: field {number} runs over its end")
        if number == wanted:
            found.append(message[start:at])
    return found


def _varints(run: bytes) -> list[int]:
    values, at = [], 0
    while at < len(run):
        value, at = _varint(run, at)
        values.append(value - (1 << 64) if value >> 63 else value)
    return values


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if at >= len(message) or shift > 63:
            raise WireError(f"a record is no Example: the number at byte {at} has no end")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
