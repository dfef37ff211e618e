"""A recording on disk: a folder of MCAP files, each whole in itself, of bounded size together.

Why the oldest file goes when the bound is reached, and recording does not stop: a recording is
looked into after something happened, and what happened is at its end. Whoever needs the beginning
too gives it the room (`record.max_gib`); replay refuses what is not there, it never guesses.

Chunks are closed and handed to the kernel every half second, so whatever kills this process (even
SIGKILL) costs half a second. The file then lacks its end; readers that go from front to back, ours
among them, read it all the same. A recorder that is started again goes on in the same folder, with
a new file that says so: what was said meanwhile is missing.
"""

import contextlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcap.writer import CompressionType, Writer
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import ConfigError, TandemError

_CHUNK_BYTES = 1 << 20
_SEGMENT_BYTES = 256 << 20
_SEGMENTS = 8  # of which the oldest may go
_RESERVE_BYTES = 512 << 20  # a disk is never filled: logs and others live on it, too
_FLUSH_NS = 500 * NS_PER_MS
_LEAST_BYTES = 4 << 20  # of a segment: smaller ones are mostly their own index
GIB = 1 << 30


class RecordError(TandemError):
    """Nothing more can be recorded; the message says why. The robot goes on."""


@dataclass(frozen=True)
class Channel:
    """What a channel is called and holds: schema encoding "jsonschema" or "protobuf"."""

    topic: str
    encoding: str  # of messages: msgpack, json, protobuf
    schema: str
    schema_encoding: str
    schema_data: bytes


@dataclass(frozen=True)
class Bounds:
    """Room that a recording may take, and that it must leave to others on the disk."""

    max_bytes: int
    reserve_bytes: int = _RESERVE_BYTES

    @property
    def segment_bytes(self) -> int:
        return max(min(self.max_bytes // _SEGMENTS, _SEGMENT_BYTES), _LEAST_BYTES)


class Segments:
    """Writes messages; begins a new file when one is full, drops the oldest when all are.

    `facts` go into each file as metadata. `dropped` counts files that had to go; `resumed` is for
    how many seconds nothing had been written when this recording was gone on with, None: it is new.

    Raises:
        ConfigError: the folder cannot be made, or the bound is too small for two files.
    """

    def __init__(
        self, folder: Path, name: str, bounds: Bounds, facts: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.folder, self.dropped, self.messages = folder, 0, 0
        self.resumed: float | None = None
        self._name, self._bounds, self._facts = name, bounds, facts
        self._files: list[Path] = []
        self._sizes: dict[Path, int] = {}
        self._number = 0
        self._unflushed_bytes = 0
        self._flushed_ns = time.monotonic_ns()
        if bounds.max_bytes < 2 * bounds.segment_bytes:
            least = 2 * bounds.segment_bytes / GIB
            raise ConfigError(f"record.max_gib is too small: at least {least:g} are needed")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._go_on()
            self._begin("start")
        except OSError as error:
            raise ConfigError(f"cannot record to {folder}: {error}") from error

    @property
    def bytes(self) -> int:
        """On disk or on the way there."""
        closed = sum(self._sizes.values())
        return closed + self._file.tell() + self._unflushed_bytes

    def write(
        self, channel: Channel, data: bytes, sequence: int, log_ns: int, publish_ns: int
    ) -> None:
        """Times are UTC.

        Raises:
            RecordError: the disk is full or fails.
        """
        try:
            if self._is_full(len(data)):
                self._end()
                self._begin("full")
            self._writer.add_message(
                self._id(channel), log_ns, data, max(publish_ns, 0), sequence & 0xFFFFFFFF
            )
        except OSError as error:
            raise self._failed(error) from error
        self.messages += 1
        self._unflushed_bytes += len(data) + 64

    def flush(self, now_ns: int, force: bool = False) -> None:
        """Hand everything to the kernel, twice a second; call it often.

        Raises:
            RecordError: the disk is full or fails, or would be full soon.
        """
        if now_ns - self._flushed_ns < _FLUSH_NS and not force:
            return
        self._flushed_ns = now_ns
        try:
            self._writer.flush()
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise self._failed(error) from error
        self._unflushed_bytes = 0
        if free < self._bounds.reserve_bytes:
            raise RecordError(
                f"the disk of {self.folder} has only {free / GIB:.2f} GiB left: recording has "
                f"stopped, what was recorded is whole. Free some, or set record.path elsewhere"
            )

    def close(self) -> None:
        """Give the last file its end; what cannot be written any more is left out."""
        try:
            self._end()
        except OSError:
            with contextlib.suppress(OSError):  # it tries once more to write what it holds
                self._file.close()

    def _failed(self, error: OSError) -> RecordError:
        return RecordError(
            f"cannot write to {self.folder}: {error}. Recording has stopped, what was written "
            "until half a second ago can be read. Free the disk, or set record.path elsewhere"
        )

    # -- files -------------------------------------------------------------------------------------

    def _is_full(self, more_bytes: int) -> bool:
        reached = self._file.tell() + self._unflushed_bytes + more_bytes + self._index_bytes()
        return self._unflushed_bytes + self._file.tell() > _CHUNK_BYTES and (
            reached > self._bounds.segment_bytes
        )

    def _index_bytes(self) -> int:
        """What the end of a file takes, at most: its index grows by the chunk."""
        chunks = 4 + (self._flushed_ns - self._begun_ns) // _FLUSH_NS
        return (16 << 10) + int(chunks) * 16 * max(len(self._ids), 16)

    def _go_on(self) -> None:
        """After files that a recorder left here which was killed, or ended too early."""
        self._files = sorted(self.folder.glob(f"{self._name}-*.mcap"))
        if not self._files:
            return
        self._sizes = {path: path.stat().st_size for path in self._files}
        self._number = int(self._files[-1].stem.rpartition("-")[2]) + 1
        self.resumed = time.time() - self._files[-1].stat().st_mtime

    def _begin(self, why: str) -> None:
        """`why` it is not part of the file before: that one was "full", or this is a "start"."""
        self._make_room()
        path = self.folder / f"{self._name}-{self._number:04}.mcap"
        self._number += 1
        self._file = path.open("xb")
        self._files.append(path)
        self._ids: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._unflushed_bytes = 0
        self._begun_ns = self._flushed_ns = time.monotonic_ns()
        self._writer = Writer(self._file, _CHUNK_BYTES, CompressionType.ZSTD)
        self._writer.start(profile="", library="tandem")
        for name, facts in self._facts.items():
            self._writer.add_metadata(name, dict(facts))
        self._writer.add_metadata("segment", {"number": str(self._number - 1), "begun": why})
        self._writer.flush()

    def _end(self) -> None:
        self._writer.finish()
        self._file.close()
        self._sizes[self._files[-1]] = self._files[-1].stat().st_size
        self._unflushed_bytes = 0

    def _make_room(self) -> None:
        allowed = self._bounds.max_bytes - self._bounds.segment_bytes
        while self._files and sum(self._sizes.values()) > allowed:
            oldest = self._files.pop(0)
            oldest.unlink(missing_ok=True)
            del self._sizes[oldest]
            self.dropped += 1

    def _id(self, channel: Channel) -> int:
        known = self._ids.get(channel.topic)
        if known is not None:
            return known
        schema = self._schemas.get(channel.schema)
        if schema is None:
            schema = self._schemas[channel.schema] = self._writer.register_schema(
                channel.schema, channel.schema_encoding, channel.schema_data
            )
        made = self._ids[channel.topic] = self._writer.register_channel(
            channel.topic, channel.encoding, schema
        )
        return made
