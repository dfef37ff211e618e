"""One file of a recording: a whole one is read by its index, a cut one from front to back.

A recorder that was killed leaves a file without an end. Whatever was handed to the kernel is whole,
record by record, so reading simply ends where the file does.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mcap.exceptions import EndOfFile, McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Metadata
from mcap.records import Message as McapMessage
from mcap.stream_reader import CRCValidationError, StreamReader
from tandem.runtime.errors import ConfigError

_CUT = (EndOfFile, McapError, CRCValidationError, ValueError, OSError)


@dataclass
class File:
    """One segment: its metadata, and whether it was closed properly."""

    path: Path
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    whole: bool = False

    @property
    def number(self) -> int:
        return int(self.facts["segment"]["number"])

    @property
    def anew(self) -> bool:
        """The recorder was started (again) with this file."""
        return self.facts["segment"].get("begun") == "start"

    @property
    def offset_ns(self) -> int:
        """UTC minus CLOCK_MONOTONIC, as its recorder measured it when it was started."""
        return int(self.facts["tandem"]["utc_minus_monotonic_ns"])

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

    @cached_property
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


def readable(paths: list[Path]) -> list[File]:
    """All that hold something; a recorder that is killed as it begins one leaves an empty file.

    Raises:
        ConfigError: none does.
    """
    found, problem = [], ConfigError("")
    for path in paths:
        try:
            found.append(File(path))
        except ConfigError as error:
            problem = error
    if not found:
        raise problem
    return found


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
