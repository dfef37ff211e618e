"""Pictures of a recording (MCAP) as a camera: those of one topic, as far apart as they were taken.

Reads what `tandem run --record` writes, and any other MCAP file with foxglove.CompressedImage under
/camera/<name>. A file that was cut off in the middle of a word is shown up to there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Message
from mcap.stream_reader import StreamReader
from tandem.drivers.cameras.film import FilmCamera
from tandem.drivers.cameras.picture import Fit, put
from tandem.runtime.clock import Clock
from tandem.runtime.errors import AbsentError, DeviceError
from tandem.runtime.interfaces import CameraSpec

_TOPIC = "/camera/"
_CUT = (EndOfFile, McapError, ValueError)


def _compressed_image() -> Any:
    """Of foxglove.CompressedImage what is needed here: field 2, the file's bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="tandem/picture.proto", syntax="proto3")
    file.message_type.add(name="Picture").field.add(
        name="data",
        number=2,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Picture"))


_PICTURE = _compressed_image()


class RecordedFilm:
    """Implements film.Film."""

    def __init__(self, path: str, camera: str, fit: Fit) -> None:
        self._path, self._topic, self._fit = Path(path), _TOPIC + camera, fit
        self._coming: Iterator[Message] = iter(())
        self._record: Message | None = None
        self._first_ns: int | None = None

    def open(self) -> str:
        files = sorted(self._path.glob("*.mcap")) if self._path.is_dir() else [self._path]
        if not files or not all(file.is_file() for file in files):
            raise AbsentError(
                f"there is no recording at {self._path}; correct the camera's `path`: "
                "a folder of .mcap files, or one of them"
            )
        self._coming, self._first_ns = self._messages(files), None
        return f"{self._topic} of {self._path}"

    def advance(self) -> int | None:
        self._record = next(self._coming, None)
        if self._record is None:
            if self._first_ns is None:
                raise AbsentError(
                    f"{self._path} has no pictures under {self._topic}{self._others()}"
                )
            return None
        if self._first_ns is None:
            self._first_ns = self._record.publish_time
        return self._record.publish_time - self._first_ns

    def show(self, out: np.ndarray) -> None:
        assert self._record is not None
        encoded = np.frombuffer(_PICTURE.FromString(self._record.data).data, np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB) if len(encoded) else None
        if image is None:
            raise DeviceError(f"a picture of {self._path} cannot be decoded; its file is damaged")
        put(image, out, self._fit, "rgb")

    def close(self) -> None:
        self._coming = iter(())

    def _messages(self, files: list[Path]) -> Iterator[Message]:
        self._topics: set[str] = set()
        for file in files:
            with file.open("rb") as stream:
                yield from self._until_the_cut(StreamReader(stream))

    def _until_the_cut(self, reader: StreamReader) -> Iterator[Message]:
        ours: set[int] = set()
        try:
            for record in reader.records:
                if isinstance(record, Channel):
                    self._topics.add(record.topic)
                    ours |= {record.id} if record.topic == self._topic else set()
                elif isinstance(record, Message) and record.channel_id in ours:
                    yield record
        except _CUT:
            return

    def _others(self) -> str:
        names = sorted(t.removeprefix(_TOPIC) for t in self._topics if t.startswith(_TOPIC))
        return f"; write camera: {' or '.join(names)}" if names else ", nor of any other camera"


def recording(
    spec: CameraSpec,
    latency_ns: int | None,
    path: str,
    camera: str = "",
    loop: bool = True,
    fit: Fit = "crop",
    clock: Clock | None = None,
) -> FilmCamera:
    """`camera`: its name in the recording; "": the name that it has here."""
    return FilmCamera(spec, RecordedFilm(path, camera or spec.name, fit), latency_ns, loop, clock)
