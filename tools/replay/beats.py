"""The executor's ticks as they were: each state tells of its tick, and names what it took in.

States are published once a tick up to 200 Hz. A faster executor tells of every tick on a stream of
its own where `record.every_tick` asks for it; without, what it saw in between is not recorded.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import ConfigError
from tandem.runtime.messages import Event, Message, OperatorCommand, Request, RobotState
from tandem.runtime.streams import STREAMS, Stream
from tandem.tools.record.channels import topic
from tandem.tools.record.reader import Entry, Recording

_OVERTAKEN_NS = 5000 * NS_PER_MS  # between two sockets there is no order
_REMEMBERED = 1000  # messages of a stream that a tick may still take in
_HEARS = ("chunk", "operator", "task")


@dataclass(frozen=True, slots=True)
class Moment:
    """One tick: the state that it published, and what it took in before."""

    state: RobotState
    said: list[tuple[Stream, list[Message]]]
    asked: list[Request]


def stream_of(recording: Recording, rate_hz: float) -> Stream:
    """On which stream every tick told of itself.

    Raises:
        ConfigError: on none.
    """
    counts = recording.topics()
    if counts[topic(streams.BEAT, "executor")]:
        return streams.BEAT
    if rate_hz > streams.STATE.rate_hz:
        raise ConfigError(
            f"the executor ran at {rate_hz:g} Hz, of which states are published at "
            f"{streams.STATE.rate_hz:g}: what it saw in between is not recorded. For a recording "
            "that can be replayed: --config-override record.every_tick=true"
        )
    if not counts[topic(streams.STATE, "executor")]:
        raise ConfigError(f"{recording.path} holds no states: there was no executor")
    return streams.STATE


class Moments:
    """Every tick in order; the recording is read once and never held.

    `unheard` counts an operator's first commands that the executor heard and the recorder did not:
    its line to whoever sits down is made a moment later. Had one mattered, decisions would differ.
    """

    def __init__(self, recording: Recording, stream: Stream) -> None:
        self._entries = recording.entries(stream.name, *_HEARS, "event")
        self._stream, self._known = stream, _Known()

    @property
    def unheard(self) -> int:
        return self._known.unheard

    def __iter__(self) -> Iterator[Moment]:
        """Raises ConfigError: a tick took in something that was not recorded."""
        known, waiting = self._known, deque[tuple[int, RobotState]]()
        for entry in self._entries:
            if entry.stream == self._stream.name:
                waiting.append((entry.arrival_ns + _OVERTAKEN_NS, entry.message))
            else:
                known.learn(entry)
            while waiting and waiting[0][0] < entry.arrival_ns:
                yield known.moment(waiting.popleft()[1])
        for _, state in waiting:
            yield known.moment(state)


class _Known:
    """What was said and asked lately, by the stamps that states name."""

    def __init__(self) -> None:
        self.unheard = 0
        self._said: dict[str, dict[int, Message]] = {name: {} for name in _HEARS}
        self._asked: dict[int, list[Request]] = {}
        self._operator: Message | None = None  # the newest of its commands
        self._sat_down: list[tuple[int, int]] = []  # when one's first commands may be missing

    def learn(self, entry: Entry) -> None:
        if isinstance(entry.message, Event):
            self._note(entry.source, entry.message)
            return
        if isinstance(entry.message, OperatorCommand):
            self._sit_down(entry.message)
        known = self._said[entry.stream]
        known[entry.message.t_ns] = entry.message
        if len(known) > _REMEMBERED:
            del known[next(iter(known))]

    def moment(self, state: RobotState) -> Moment:
        if not state.t_wake_ns:
            raise ConfigError("its states do not tell of their ticks: an older version recorded it")
        said = [(STREAMS[name], self._heard(name, state)) for name in _HEARS if name in state.heard]
        return Moment(state, said, self._asked.pop(state.t_wake_ns, []))

    def _sit_down(self, command: OperatorCommand) -> None:
        before, self._operator = self._operator, command
        if command.seq and (before is None or command.seq < before.seq):
            self._sat_down.append((before.t_ns if before else 0, command.t_ns))

    def _note(self, source: str, event: Event) -> None:
        """An event that tells of a request, as that request; the event's stamp is its tick's."""
        if source == "executor" and event.kind == "request":
            asked = {name: event.data[name] for name in ("verb", "text", "t_ns")}
            self._asked.setdefault(event.t_ns, []).append(Request(**asked, valid=True))

    def _heard(self, name: str, state: RobotState) -> list[Message]:
        known, stamps = self._said[name], state.heard[name]
        lost = [stamp for stamp in stamps if stamp not in known]
        if name == "operator" and all(self._came_first(stamp) for stamp in lost):
            self.unheard += len(lost)
        elif lost:
            raise ConfigError(
                f"the {name} of {lost[0]}, which the tick of state {state.seq} heard, was not "
                "recorded: this recording has a hole"
            )
        return [known[stamp] for stamp in stamps if stamp in known]

    def _came_first(self, stamp_ns: int) -> bool:
        return any(after < stamp_ns < before for after, before in self._sat_down)
