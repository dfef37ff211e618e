"""`python -m tandem.tools.record.main CONFIG FOLDER`: the recorder, a process beside the daemon.

It hears and never speaks but for its own telemetry and events; killed, it costs the robot nothing,
and the recording a hole: whoever starts it again gives it the same folder.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from tandem.runtime import arm_file, config, streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import MonotonicClock, ahead_ns
from tandem.runtime.errors import WireError
from tandem.runtime.messages import Event, RobotState, decode
from tandem.runtime.telemetry import EventLog, Tap
from tandem.tools.observer import Watch, image_readers, observe
from tandem.tools.record import channels, facts
from tandem.tools.record.ear import HEARD_FROM, Ear, Heard
from tandem.tools.record.eyes import Eye
from tandem.tools.record.segments import GIB, Bounds, Channel, RecordError, Segments

_ROUND_S = 0.02
_ACQUAINTED_S = 0.3  # until sockets have found each other: what is said after that counts
_PRESSED_BYTES = 32 << 20  # with so much waiting, pictures are left out
_VIEW_EVERY = 4  # states per view: 50 Hz is what an eye can follow
# Whose first messages may be missed, as by every late joiner: nobody has a task yet when states
# begin, nor a lease when an operator does.
_EARLY = ("state", "beat", "tick", "event", "operator")


@dataclass
class Sequences:
    """Who has sent how much: a gap in the numbers is a loss, a start over is a new life."""

    lost: int = 0
    _last: dict[tuple[str, str], int] = field(default_factory=dict)

    def heard(self, stream: str, source: str, seq: int) -> int:
        """How many are missing before this one."""
        last = self._last.get((stream, source))
        self._last[stream, source] = seq
        newborn = last is None or seq < last
        if newborn and stream in _EARLY:
            return 0
        missing = max(seq - (-1 if newborn or last is None else last) - 1, 0)
        self.lost += missing
        return missing


class Recorder:
    """Puts what is heard and seen into segments, round by round."""

    def __init__(self, settings: config.Config, segments: Segments, offset_ns: int) -> None:
        self.segments, self.sequences = segments, Sequences()
        self.counts: Counter[str] = Counter()
        kind, rings = settings.record.images, image_readers(settings)
        self.eyes = [Eye(name, ring, kind) for name, ring in rings.items()]
        self._names = arm_file.load(Path(settings.robot.limits.file)).spec.joint_names
        self._offset_ns = offset_ns
        self._states = 0
        self._channels = {(s.name, source): _raw(s, source) for s, source in HEARD_FROM}

    def put(self, heard: Heard) -> int:
        """Write one message, and the view of it; returns how many are missing before it.

        Raises:
            RecordError: the disk is full or fails.
        """
        name = heard.stream.name
        try:
            head = channels.header(heard.data)
        except msgspec.MsgspecError:
            self.counts["malformed"] += 1
            return 0
        log_ns, sent_ns = heard.arrival_ns + self._offset_ns, head.t_ns + self._offset_ns
        channel = self._channels[name, heard.source]
        self.segments.write(channel, heard.data, head.seq, log_ns, sent_ns)
        self.counts[name] += 1
        self._view(heard, log_ns, sent_ns)
        return self.sequences.heard(name, heard.source, head.seq)

    def look(self, pressed: bool) -> None:
        """Write what the cameras saw since the last look."""
        for eye in self.eyes:
            for frame, encoded in eye.look(pressed):
                utc_ns = frame.t_capture_ns + self._offset_ns
                data = channels.image(encoded, eye.kind, eye.name, utc_ns)
                now_ns = time.monotonic_ns() + self._offset_ns
                self.segments.write(_camera(eye.name), data, frame.seq, now_ns, utc_ns)
                self.counts["image"] += 1

    @property
    def dropped_images(self) -> int:
        return sum(eye.dropped for eye in self.eyes)

    def _view(self, heard: Heard, log_ns: int, sent_ns: int) -> None:
        """People's copy; what cannot be decoded is in the recording all the same."""
        name = heard.stream.name
        self._states += name == streams.STATE.name
        due = name == streams.STATE.name and self._states % _VIEW_EVERY == 0
        if not due and name != streams.EVENT.name:
            return
        try:
            message = decode(heard.stream.kind, heard.data, heard.stream.max_bytes)
        except WireError:
            self.counts["malformed"] += 1
            return
        if isinstance(message, Event):
            self._show(LOG, channels.log(message, sent_ns), log_ns, sent_ns)
        if isinstance(message, RobotState):
            for channel, make in ((JOINTS, channels.joints), (COMMANDS, channels.commands)):
                self._show(channel, make(message, self._names, sent_ns), log_ns, sent_ns)

    def _show(self, channel: Channel, data: bytes, log_ns: int, sent_ns: int) -> None:
        self.segments.write(channel, data, 0, log_ns, sent_ns)


def _json_channel(topic: str, schema: str, data: bytes) -> Channel:
    return Channel(topic, "json", schema, "jsonschema", data)


JOINTS = _json_channel("/view/joint_states", "tandem.JointStates", channels.JOINTS)
COMMANDS = _json_channel("/view/commands", "tandem.Commands", channels.COMMANDS)
LOG = _json_channel("/view/log", "foxglove.Log", channels.LOG)


def _raw(stream: streams.Stream, source: str) -> Channel:
    name, schema = channels.schema_of(stream)
    return Channel(channels.topic(stream, source), "msgpack", name, "jsonschema", schema)


def _camera(name: str) -> Channel:
    schema, data = channels.image_schema()
    return Channel(channels.CAMERA + name, "protobuf", schema, "protobuf", data)


# -- the process -----------------------------------------------------------------------------------


class Voice:
    """What the recorder says of itself."""

    def __init__(self, bus: ZmqBus) -> None:
        self.tap = Tap("recorder", 0.0, bus.publisher(streams.TICK))
        self.log = EventLog("recorder", bus.publisher(streams.EVENT))

    def report(self, recorder: Recorder, ear: Ear, now_ns: int) -> None:
        for name, n in recorder.counts.items():
            self.tap.counter(f"recorded_{name}", n)
        self.tap.counter("lost", recorder.sequences.lost)
        self.tap.counter("dropped_images", recorder.dropped_images)
        self.tap.counter("dropped_files", recorder.segments.dropped)
        self.tap.counter("holes", int(recorder.segments.resumed is not None))
        self.tap.gauge("size_gib", recorder.segments.bytes / GIB)
        self.tap.gauge("backlog_mib", ear.backlog_bytes / (1 << 20))
        self.tap.flush(now_ns)


def record(settings: config.Config, folder: Path, watch: Watch) -> None:
    """Until SIGTERM or the daemon's end. A full disk ends the recording, not the process.

    Raises:
        ConfigError: the folder cannot be used.
    """
    # Taken once: a clock that is set later moves no recorded order.
    offset_ns = ahead_ns(time.CLOCK_REALTIME)
    bounds = Bounds(round(settings.record.max_gib * GIB))
    segments = Segments(folder, folder.name, bounds, facts.facts(settings, offset_ns))
    bus, ear = ZmqBus(settings.folder, "recorder"), Ear(settings.folder)
    voice = Voice(bus)
    recorder = Recorder(settings, segments, offset_ns)
    time.sleep(_ACQUAINTED_S)
    watch.line.ready({"recording": str(folder)})
    if segments.resumed is not None:
        text = f"goes on in a new file; {segments.resumed:.1f} s are missing: replay will refuse it"
        voice.log.say(time.monotonic_ns(), "warn", "record", text)
    try:
        _record(recorder, ear, voice, watch)
        _listen_on(ear, voice, watch)
    finally:
        segments.close()
        ear.close()
        bus.close()


def _record(recorder: Recorder, ear: Ear, voice: Voice, watch: Watch) -> None:
    """Round by round until the end, or until nothing can be written any more."""
    going = True
    while going:
        going = watch.goes_on()
        time.sleep(_ROUND_S)
        began_ns = time.monotonic_ns()
        try:
            _round(recorder, ear, voice, force=not going)
        except RecordError as error:
            voice.log.say(began_ns, "error", "record", str(error))
            print(error, file=sys.stderr)
            return
        now_ns = time.monotonic_ns()
        voice.tap.work(now_ns - began_ns)
        voice.report(recorder, ear, now_ns)


def _round(recorder: Recorder, ear: Ear, voice: Voice, force: bool) -> None:
    pressed = ear.backlog_bytes > _PRESSED_BYTES
    missing = sum([recorder.put(heard) for heard in ear.take()])
    recorder.look(pressed)
    now_ns = time.monotonic_ns()
    if missing:
        voice.log.complain(
            now_ns, "record", f"{missing} messages never came: replay will refuse this recording"
        )
    if pressed:
        voice.log.complain(now_ns, "record", "the disk is too slow: pictures are left out")
    recorder.segments.flush(now_ns, force)


def _listen_on(ear: Ear, voice: Voice, watch: Watch) -> None:
    """Recording is over, the daemon is not: stay, so that nobody takes it for a death."""
    clock = MonotonicClock()
    while watch.goes_on():
        time.sleep(_ROUND_S)
        ear.take()
        voice.tap.gauge("stopped", 1.0)
        voice.tap.flush(clock.now_ns())


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(observe(lambda watch: record(config.load(arguments[0]), Path(arguments[1]), watch)))
