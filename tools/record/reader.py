"""Reads a recording back: its messages, its pictures, and what of it is missing."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcap.records import Message as McapMessage
from tandem.runtime import messages
from tandem.runtime.errors import ConfigError
from tandem.runtime.streams import STREAMS
from tandem.tools.record import channels
from tandem.tools.record.files import readable

_DECIDE = ("chunk", "conditioning", "operator", "task", "state", "beat", "event")
_FROM_THE_FIRST = ("chunk", "conditioning", "task")


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
        self._files = readable(paths)
        self.facts = self._files[0].facts

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
        return sum((file.topics for file in self._files), Counter())

    def entries(self, *streams: str, since_ns: int = 0, until_ns: int = 1 << 62) -> Iterator[Entry]:
        """Messages in the order of arrival; without names, of all streams.

        Raises:
            WireError: written by another schema of messages.
        """
        for topic, record, offset_ns in self._messages(self._topics_of(streams)):
            arrival_ns = record.log_time - offset_ns
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
        for topic, record, offset_ns in self._messages(wanted) if wanted else ():
            t_capture_ns = record.publish_time - offset_ns
            if since_ns <= t_capture_ns < until_ns:
                camera, arrival_ns = topic.removeprefix(channels.CAMERA), record.log_time
                encoded = channels.picture(record.data)
                yield Picture(
                    camera, record.sequence, t_capture_ns, arrival_ns - offset_ns, encoded
                )

    def holes(self, *streams: str) -> list[str]:
        """What of the deciding streams is missing, in words; empty: nothing."""
        return [*self._missing_files(), *self._missing_messages(streams or _DECIDE)]

    def _missing_files(self) -> Iterator[str]:
        numbers = [file.number for file in self._files]
        first = numbers[0]
        if first:
            yield f"its first {first} files were dropped (record.max_gib)"
        if numbers != list(range(first, first + len(numbers))):
            yield f"files are missing or hold nothing: there are {numbers}"
        again = [file.number for file in self._files[1:] if file.anew]
        if again:
            begun = ", ".join(f"{number:04}" for number in again)
            yield (
                f"the recorder was killed and started again {len(again)} times, with file {begun}: "
                "what was said meanwhile is not there"
            )

    def _missing_messages(self, streams: tuple[str, ...]) -> Iterator[str]:
        """By their numbers; a sender that was started again counts from 0."""
        last: dict[str, int] = {}
        for topic, record, _ in self._messages(self._topics_of(streams)):
            name, _, source = topic.removeprefix(channels.PREFIX).partition("/")
            if name == "event" and source != "executor":
                continue  # only its own tell of requests
            seq = channels.header(record.data).seq
            before = last.get(topic)
            newborn = before is None or seq < before
            expected = 0 if newborn or before is None else before + 1
            last[topic] = seq
            if seq > expected and not (newborn and name not in _FROM_THE_FIRST):
                missing = seq - expected
                yield f"{name} of {source}: {missing} messages are missing before number {seq}"

    def _topics_of(self, streams: tuple[str, ...]) -> list[str]:
        """Of these streams; without names, of all."""
        return [t for t in self.topics() if _stream(t) in (streams or STREAMS)]

    def _messages(self, topics: list[str]) -> Iterator[tuple[str, McapMessage, int]]:
        """(topic, record, UTC minus CLOCK_MONOTONIC) in the order of writing."""
        for file in self._files:
            for topic, record in file.messages(topics):
                yield topic, record, file.offset_ns


def _stream(topic: str) -> str:
    return topic.removeprefix(channels.PREFIX).split("/")[0] if topic.startswith("/tandem/") else ""
