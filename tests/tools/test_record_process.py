"""The recorder as a process: what it hears is in the file, whatever becomes of it."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tandem.runtime import messages, streams
from tandem.runtime.clock import NS_PER_S
from tandem.tools.record import eyes
from tandem.tools.record.reader import Recording

from tests.tools.recorder_rig import SIZE, Rig, chunk, conditioning, noise, state, task

pytestmark = pytest.mark.process
Make = Callable[..., Rig]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Rig] = []

    def rig(*overrides: str, **options: int) -> Rig:
        made.append(Rig(tmp_path, *overrides, **options))
        return made[-1]

    yield rig
    for one in made:
        one.close()


def test_messages_come_back_to_the_last_bit_and_in_their_order(make: Make) -> None:
    rig = make()
    latent = noise(256)
    said = [(streams.TASK, task()), (streams.CONDITIONING, conditioning(latent))]
    said += [
        (streams.CHUNK, chunk(actions=np.random.default_rng(i).random((16, 8)))) for i in range(50)
    ]
    for stream, message in said:
        rig.say(stream, message)
        if stream is not streams.CHUNK:  # between two sockets there is no order
            rig.until(lambda name=stream.name: rig.recorded(f"recorded_{name}") == 1)
    rig.until(lambda: rig.recorded("recorded_chunk") == 50)
    written_ns = time.monotonic_ns()
    assert rig.end() == 0
    recording = Recording(rig.folder)
    assert not recording.cut
    assert recording.holes() == []
    heard = list(recording.entries("task", "conditioning", "chunk"))
    assert [e.stream for e in heard] == ["task", "conditioning"] + ["chunk"] * 50
    for entry, (_, message) in zip(heard, said, strict=True):
        assert messages.encode(entry.message) == messages.encode(message)
        assert message.t_ns <= entry.arrival_ns <= written_ns


def test_kill_9_costs_less_than_a_second(make: Make) -> None:
    rig = make()
    end_ns = time.monotonic_ns() + 2 * NS_PER_S
    while time.monotonic_ns() < end_ns:
        last = state()
        n = rig.say(streams.STATE, last)
        time.sleep(0.005)
    rig.say(streams.CHUNK, chunk())
    rig.until(lambda: rig.recorded("recorded_chunk") == 1)  # it is not behind
    rig.end(signal.SIGKILL)
    recording = Recording(rig.folder)
    assert recording.cut
    assert recording.holes() == []
    found = list(recording.entries("state"))
    assert found[-1].message.seq <= n
    assert last.t_ns - found[-1].message.t_ns < NS_PER_S
    assert recording.facts["tandem"]["robot"] == "fake"


def test_a_missing_message_is_found_and_told(make: Make) -> None:
    rig = make()
    rig.say(streams.CHUNK, chunk())
    rig._out[streams.CHUNK]._outbox._seq += 3  # as if three had been lost on the way
    rig.say(streams.CHUNK, chunk())
    rig.until(lambda: rig.recorded("lost") == 3)
    rig.until(lambda: any("3 messages never came" in event.text for event in rig.events.poll()))
    rig.end()
    assert Recording(rig.folder).holes("chunk") == [
        "chunk of s1: 3 messages are missing before number 4"
    ]


def test_pictures_are_there_and_missing_ones_are_counted(make: Make) -> None:
    rig = make()
    frame = np.tile(np.arange(SIZE[0], dtype=np.uint8)[None, :, None], (SIZE[1], 1, 3))
    stamps = []
    for i in range(20):
        stamps.append(time.monotonic_ns())
        rig.ring.write(stamps[-1], frame + i)
        time.sleep(0.04)
    rig.until(lambda: rig.recorded("recorded_image") == 20)
    rig.process.send_signal(signal.SIGSTOP)  # the ring goes round twice meanwhile
    for _ in range(64):
        rig.ring.write(time.monotonic_ns(), frame)
    rig.process.send_signal(signal.SIGCONT)
    rig.until(lambda: rig.recorded("dropped_images") > 0)
    rig.end()
    found = list(Recording(rig.folder).pictures("front"))
    assert len(found) + rig.recorded("dropped_images") == 84
    assert [p.t_capture_ns for p in found[:20]] == stamps
    seen = eyes.decode(found[3].encoded).astype(int)
    assert abs(seen - (frame + 3)).max() <= 8


def test_a_full_disk_is_told_and_what_was_written_can_be_read(make: Make) -> None:
    """The kernel refuses to let the file grow, as it does when a disk is full."""
    rig = make(file_limit=1_500_000)
    told: list[str] = []

    def refused() -> bool:
        rig.say(streams.CONDITIONING, conditioning(noise(20_000)))
        told.extend(e.text for e in rig.events.poll() if e.kind == "record" and e.level == "error")
        return bool(told)

    rig.until(refused)
    assert "cannot write to" in told[0]
    assert "Recording has stopped" in told[0]
    time.sleep(0.2)
    assert rig.process.poll() is None  # nobody takes it for a death
    assert rig.end() == 0
    found = list(Recording(rig.folder).entries("conditioning"))
    assert found[0].message.seq == 0
