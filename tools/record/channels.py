"""The channels of a recording: our own messages without loss, and views of them for people.

`/tandem/<stream>/<source>` holds each message's own bytes (msgpack, see runtime/messages.py): these
are what replay and exports read. `/view/…` are the same facts as JSON, thinned to what an eye can
follow, and `/camera/<name>` the pictures as foxglove.CompressedImage, so that Foxglove shows a
recording without knowing us.
"""

import json
from typing import Any

import msgspec
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.messages import Event, Message, RobotState
from tandem.runtime.streams import Stream

PREFIX = "/tandem/"
CAMERA = "/camera/"
_LOG_LEVEL = {"info": 2, "warn": 3, "error": 4}  # foxglove.Log

_ARRAY = {
    "type": "object",
    "description": "an array: data holds its bytes in C order",
    "properties": {
        "dtype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "string", "contentEncoding": "binary"},
    },
}
_TIME = {
    "type": "object",
    "title": "time",
    "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_NAMES = {"type": "array", "items": {"type": "string"}}


def _object(**properties: Any) -> bytes:
    return json.dumps({"type": "object", "properties": {"timestamp": _TIME} | properties}).encode()


JOINTS = _object(name=_NAMES, position=_NUMBERS, velocity=_NUMBERS, effort=_NUMBERS)
COMMANDS = _object(
    name=_NAMES,
    position=_NUMBERS,
    velocity=_NUMBERS,
    acceleration=_NUMBERS,
    gripper={"type": "number"},
    mode={"type": "string"},
    operator={"type": "string"},
    pace={"type": "number"},
)
LOG = _object(level={"type": "integer"}, message={"type": "string"}, name={"type": "string"})


def topic(stream: Stream, source: str) -> str:
    return f"{PREFIX}{stream.name}/{source}"


def schema_of(stream: Stream) -> tuple[str, bytes]:
    """Name and JSON schema of a stream's messages; the bytes themselves are msgpack."""
    kind = stream.kind
    schema = msgspec.json.schema(kind, schema_hook=_array_schema)
    return f"tandem.{kind.__name__}", json.dumps(schema).encode()


def _array_schema(kind: type) -> dict[str, Any]:
    if kind is not np.ndarray:
        raise NotImplementedError(f"no schema for {kind}")
    return _ARRAY


# -- views -----------------------------------------------------------------------------------------


def stamp(utc_ns: int) -> dict[str, int]:
    return {"sec": utc_ns // NS_PER_S, "nsec": utc_ns % NS_PER_S}


def joints(state: RobotState, names: tuple[str, ...], utc_ns: int) -> bytes:
    """What was measured."""
    return _json(
        timestamp=stamp(utc_ns), name=names, position=state.q, velocity=state.dq, effort=state.tau
    )


def commands(state: RobotState, names: tuple[str, ...], utc_ns: int) -> bytes:
    """What the arm was made to follow, and who steered."""
    return _json(
        timestamp=stamp(utc_ns),
        name=names,
        position=state.q_cmd,
        velocity=state.dq_cmd,
        acceleration=state.ddq_cmd,
        gripper=state.gripper_cmd if np.isfinite(state.gripper_cmd) else None,
        mode=state.mode,
        operator=state.operator or "",
        pace=state.pace,
    )


def log(event: Event, utc_ns: int) -> bytes:
    level = _LOG_LEVEL[event.level]
    text = f"{event.kind}: {event.text}"
    return _json(timestamp=stamp(utc_ns), level=level, message=text, name=event.source)


def _json(**fields: Any) -> bytes:
    return msgspec.json.encode(fields, enc_hook=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} has no place in a view")


def header(data: bytes) -> Message:
    """Only what every message carries: number, stamp, validity.

    Raises:
        msgspec.MsgspecError: these bytes are no message.
    """
    return _HEADER.decode(data)


_HEADER = msgspec.msgpack.Decoder(Message)

# -- pictures --------------------------------------------------------------------------------------


def _image_file() -> descriptor_pb2.FileDescriptorProto:
    """foxglove/CompressedImage.proto, field by field."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="foxglove/CompressedImage.proto",
        package="foxglove",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    kind = file.message_type.add(name="CompressedImage")
    for name, number, what in (
        ("timestamp", 1, field.TYPE_MESSAGE),
        ("frame_id", 4, field.TYPE_STRING),
        ("data", 2, field.TYPE_BYTES),
        ("format", 3, field.TYPE_STRING),
    ):
        kind.field.add(name=name, number=number, type=what, label=field.LABEL_OPTIONAL)
    kind.field[0].type_name = ".google.protobuf.Timestamp"
    return file


_IMAGE_FILE = _image_file()


def image_schema() -> tuple[str, bytes]:
    """Name and serialised FileDescriptorSet of foxglove.CompressedImage."""
    time_file = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(time_file)
    files = descriptor_pb2.FileDescriptorSet(file=[time_file, _IMAGE_FILE])
    return "foxglove.CompressedImage", files.SerializeToString()


def _image_class() -> Any:
    """In a pool of its own: a program that reads us may have brought Foxglove's own class."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_IMAGE_FILE.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("foxglove.CompressedImage"))


_IMAGE: Any = _image_class()


def image(encoded: bytes, kind: str, camera: str, utc_ns: int) -> bytes:
    """One picture, of kind jpeg or png; `utc_ns` is mid-exposure."""
    made = _IMAGE(frame_id=camera, data=encoded, format=kind)
    made.timestamp.seconds, made.timestamp.nanos = utc_ns // NS_PER_S, utc_ns % NS_PER_S
    return made.SerializeToString()  # type: ignore[no-any-return]


def picture(data: bytes) -> bytes:
    """The file's bytes in what `image` made."""
    return bytes(_IMAGE.FromString(data).data)
