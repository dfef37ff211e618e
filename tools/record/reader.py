"""Reads a recording back: whole ones by their index, cut ones from front to back.

A recorder that was killed leaves a file without an end. Whatever was handed to the kernel is whole,
record by record, so reading simply ends where the file does; `cut` says that it did.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcap.exceptions import EndOfFile, McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Metadata
from mcap.records import Message as McapMessage
from mcap.stream_reader import CRCValidationError, StreamReader
from tandem.runtime import messages
from tandem.runtime.errors import ConfigError
from tandem.runtime.streams import STREAMS
from tandem.tools.record import channels

_DECIDE = ("chunk", "conditioning", "operator", "task", "state")
_FROM_THE_FIRST = ("chunk", "conditioning", "task")
_CUT = (EndOfFile, McapError, CRCValidationError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded message; `arrival_ns` on CLOCK_MONOTONIC, in the order in which they came."""

    stream: str
    source: str
    message: Any
    arrival_ns: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One recorded frame."""

    camera: str
    seq: int
    t_capture_ns: int
    arrival_ns: int
    encoded: bytes


@dataclass
class _File:
    """One segment: its metadata, and whether it was closed properly."""

    path: Path
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    whole: bool = False

    def __post_init__(self) -> None:
        self.whole = self._has_end()
        with self.path.open("rb") as stream:
            for record in _until_the_cut(StreamReader(stream, emit_chunks=True)):
                if isinstance(record, Metadata):
                    self.facts[record.name] = dict(record.metadata)
                    if record.name == "segment":  # the last that is written before any message
                        return
        raise ConfigError(f"{self.path} is not a recording of Tandem, or has only just begun")

    def messages(self, topics: list[str] | None) -> Iterator[tuple[str, McapMessage]]:
        """(topic, record) in the order of writing."""
        with self.path.open("rb") as stream:
            if self.whole:
                found = SeekingReader(stream).iter_messages(topics, log_time_order=False)
                yield from ((channel.topic, message) for _, channel, message in found)
                return
            names: dict[int, str] = {}
            for record in _until_the_cut(StreamReader(stream, validate_crcs=True)):
                if isinstance(record, Channel):
                    names[record.id] = record.topic
                elif isinstance(record, McapMessage) and (
                    topics is None or names[record.channel_id] in topics
                ):
                    yield names[record.channel_id], record

    def topics(self) -> Counter[str]:
        """How many messages each topic has."""
        if not self.whole:
            return Counter(topic for topic, _ in self.messages(None))
        with self.path.open("rb") as stream:
            summary = SeekingReader(stream).get_summary()
        assert summary is not None
        assert summary.statistics is not None
        counts = summary.statistics.channel_message_counts
        return Counter({c.topic: counts.get(i, 0) for i, c in summary.channels.items()})

    def _has_end(self) -> bool:
        try:
            with self.path.open("rb") as stream:
                return SeekingReader(stream).get_summary() is not None
        except _CUT:
            return False


class Recording:
    """A folder of segments, or one of them. Times in and out are CLOCK_MONOTONIC of its boot.

    Raises:
        ConfigError: there is no recording.
    """

    def __init__(self, path: Path) -> None:
        paths = sorted(path.glob("*.mcap")) if path.is_dir() else [path]
        if not paths or not all(p.is_file() for p in paths):
            raise ConfigError(f"no recording at {path}: give a folder of .mcap files, or one file")
        self.path = path
        self._files = [_File(p) for p in paths]
        self.facts = self._files[0].facts
        self.offset_ns = int(self.facts["tandem"]["utc_minus_monotonic_ns"])

    @property
    def config_yaml(self) -> str:
        return self.facts["config"]["yaml"]

    @property
    def cut(self) -> bool:
        """The recorder was killed: the last half second may be missing."""
        return not all(file.whole for file in self._files)

    @property
    def cameras(self) -> list[str]:
        prefix = channels.CAMERA
        return sorted(t.removeprefix(prefix) for t in self.topics() if t.startswith(prefix))

    def topics(self) -> Counter[str]:
        """How many messages each topic has."""
        return sum((file.topics() for file in self._files), Counter())

    def entries(self, *streams: str, since_ns: int = 0, until_ns: int = 1 << 62) -> Iterator[Entry]:
        """Messages in the order of arrival; without names, of all streams.

        Raises:
            WireError: written by another schema of messages.
        """
        wanted = [t for t in self.topics() if _stream(t) in (streams or STREAMS)]
        for topic, record in self._messages(wanted):
            arrival_ns = record.log_time - self.offset_ns
            if since_ns <= arrival_ns < until_ns:
                name, _, source = topic.removeprefix(channels.PREFIX).partition("/")
                stream = STREAMS[name]
                message = messages.decode(stream.kind, record.data, stream.max_bytes)
                yield Entry(name, source, message, arrival_ns)

    def pictures(
        self, *cameras: str, since_ns: int = 0, until_ns: int = 1 << 62
    ) -> Iterator[Picture]:
        """Frames as they were seen; of all cameras without names."""
        wanted = [channels.CAMERA + name for name in cameras or self.cameras]
        for topic, record in self._messages(wanted) if wanted else ():
            t_capture_ns = record.publish_time - self.offset_ns
            if since_ns <= t_capture_ns < until_ns:
                camera, arrival_ns = topic.removeprefix(channels.CAMERA), record.log_time
                encoded = channels.picture(record.data)
                yield Picture(
                    camera, record.sequence, t_capture_ns, arrival_ns - self.offset_ns, encoded
                )

    def holes(self, *streams: str) -> list[str]:
        """What of the deciding streams is missing, in words; empty: nothing."""
        found = []
        first = int(self.facts["segment"]["number"])
        if first:
            found.append(f"its first {first} files were dropped (record.max_gib)")
        numbers = [int(file.facts["segment"]["number"]) for file in self._files]
        if numbers != list(range(first, first + len(numbers))):
            found.append(f"files are missing: there are {numbers}")
        last: dict[tuple[str, str], int] = {}
        for entry in self.entries(*(streams or _DECIDE)):
            key, seq = (entry.stream, entry.source), entry.message.seq
            before = last.get(key)
            newborn = before is None or seq < before
            expected = 0 if newborn or before is None else before + 1
            last[key] = seq
            if seq > expected and not (newborn and entry.stream not in _FROM_THE_FIRST):
                at = f"{entry.stream} of {entry.source}"
                found.append(f"{at}: {seq - expected} messages are missing before number {seq}")
        return found

    def _messages(self, topics: list[str]) -> Iterator[tuple[str, McapMessage]]:
        for file in self._files:
            yield from file.messages(topics)


def _stream(topic: str) -> str:
    return topic.removeprefix(channels.PREFIX).split("/")[0] if topic.startswith("/tandem/") else ""


def _until_the_cut(reader: StreamReader) -> Iterator[Any]:
    """Records until the file's end, wherever that is."""
    records = reader.records
    while True:
        try:
            yield next(records)
        except StopIteration:
            return
        except _CUT:
            return
