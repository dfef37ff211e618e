"""Laws of the wire: what goes in comes out, and nothing else gets in."""

import contextlib
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime import messages
from tandem.runtime.errors import WireError
from tandem.runtime.messages import (
    SCHEMA,
    ActionChunk,
    Conditioning,
    Event,
    Message,
    OperatorCommand,
    Reply,
    Request,
    RobotState,
    Task,
    Tick,
    decode,
    encode,
)

KINDS = (
    ActionChunk,
    Conditioning,
    Event,
    OperatorCommand,
    Reply,
    Request,
    RobotState,
    Task,
    Tick,
)
INT = st.integers(-(2**63), 2**63 - 1)
COUNT = st.integers(0, 2**63 - 1)
FLOAT = st.floats(allow_nan=False)
TEXT = st.text(max_size=20)
ARRAY = st.builds(
    lambda shape, dtype: np.arange(math.prod(shape)).reshape(shape).astype(dtype),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(["<f8", "<f4", "<f2", "<i8", "|u1", "|b1"]),
)


def value_of(annotation: Any) -> st.SearchStrategy[Any]:
    """A strategy for one field of a message."""
    match annotation:
        case msgspec.inspect.IntType(ge=0):
            return COUNT
        case msgspec.inspect.IntType():
            return INT
        case msgspec.inspect.FloatType():
            return FLOAT
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.StrType():
            return TEXT
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.CustomType():
            return ARRAY
        case msgspec.inspect.ListType(item_type=item):
            return st.lists(value_of(item), max_size=3)
        case msgspec.inspect.DictType(value_type=item):
            return st.dictionaries(TEXT, value_of(item), max_size=3)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([value_of(t) for t in types])
        case msgspec.inspect.AnyType():
            return st.one_of(st.integers(0, 9), FLOAT, TEXT, st.booleans())
    raise AssertionError(f"no strategy for {annotation}")


def message_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    fields = {f.name: value_of(f.type) for f in info.fields if f.name != "schema"}
    return st.builds(kind, **fields)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind: type[Message]) -> None:
    @given(message_of(kind))
    def law(message: Message) -> None:
        back = decode(kind, encode(message))
        for field in kind.__struct_fields__:
            assert same(getattr(message, field), getattr(back, field)), field

    law()


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_is_a_wire_error_and_nothing_else(kind: type[Message]) -> None:
    @given(st.binary(max_size=200))
    def law(data: bytes) -> None:
        with pytest.raises(WireError):
            decode(kind, data)

    law()


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_message_never_raises_anything_but_wire_errors(at: int, byte: int) -> None:
    data = bytearray(encode(chunk()))
    data[at % len(data)] = byte
    with contextlib.suppress(WireError):
        decode(ActionChunk, bytes(data))


def chunk(**changes: Any) -> ActionChunk:
    fields = {"actions": np.zeros((16, 8)), "t0_ns": 1, "dt_ns": 1, "epoch": 0, "instruction_id": 1}
    return ActionChunk(**(fields | changes))


def test_messages_are_born_invalid() -> None:
    assert chunk().valid is False
    assert chunk().schema == SCHEMA
    assert len(chunk().boot_id) == 8


def test_another_schema_is_refused_and_unknown_fields_are_ignored() -> None:
    with pytest.raises(WireError, match="schema 2"):
        decode(Request, encode(Request(verb="ping", schema=2)))
    newer = msgspec.msgpack.encode({"verb": "ping", "schema": 1, "a_field_of_tomorrow": [1, 2]})
    assert decode(Request, newer).verb == "ping"


def test_the_size_cap_comes_before_decoding() -> None:
    with pytest.raises(WireError, match="at most 100"):
        decode(ActionChunk, encode(chunk()), max_bytes=100)


@pytest.mark.parametrize(
    "array",
    [
        {"dtype": "|O", "shape": [1], "data": b"\0" * 8},
        {"dtype": "<f8", "shape": [2], "data": b"\0" * 8},
        {"dtype": "<f8", "shape": [-1], "data": b"\0" * 8},
        {"dtype": "<f8", "shape": [1.0], "data": b"\0" * 8},
        {"dtype": "<f8", "shape": [1] * 5, "data": b"\0" * 8},
        {"dtype": "<f8", "shape": [True], "data": b"\0" * 8},
        {"dtype": ["<f8"], "shape": [1], "data": b"\0" * 8},
        {"dtype": "<f8", "shape": 1, "data": b"\0" * 8},
        {"dtype": "<f8", "shape": [1], "data": 5},
        {"dtype": "<f8", "shape": [1 << 40, 1 << 40], "data": b""},
        {"shape": [1], "data": b"\0" * 8},
        [1.0, 2.0],
        None,
    ],
)
def test_an_array_that_is_not_one_is_refused(array: Any) -> None:
    fields = {"actions": array, "t0_ns": 1, "dt_ns": 1, "epoch": 0, "instruction_id": 1}
    with pytest.raises(WireError):
        decode(ActionChunk, msgspec.msgpack.encode(fields))


def test_decoded_arrays_are_read_only() -> None:
    back = decode(ActionChunk, encode(chunk()))
    with pytest.raises(ValueError, match="read-only"):
        back.actions[0, 0] = 1.0


def test_objects_never_go_on_the_wire() -> None:
    with pytest.raises(TypeError, match="cannot go on the wire"):
        encode(Event(source="s1", level="info", kind="x", text="", data={"x": object()}))
    assert messages.decode(
        Event,
        encode(Event(source="a", level="info", kind="x", text="", data={"x": np.float64(1.5)})),
    ).data == {"x": 1.5}
