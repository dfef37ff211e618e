"""A real run, recorded, then decided again: to the last bit, or told which decision differs."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from mcap.reader import make_reader
from tandem.runtime.errors import ConfigError
from tandem.tools.faults import sweep
from tandem.tools.record.reader import Recording
from tandem.tools.record.segments import Bounds, Channel, Segments
from tandem.tools.replay import executor, s1, s2
from tandem.tools.replay.source import settings_of

HERE = str(Path(__file__).parent)  # where a user's own classes would be
pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]
OVERRIDES = [
    "cameras={front: {driver: sim, size: [32, 32]}}",
    "s2={policy: 'watchful:Watchful', cameras: [front]}",
    "record.images=png",
    "s1={policy: 'tandem.tools.faults.sweep:SweepS1'}",
    "robot.limits.tool_speed_m_s=0.6",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of the simulated arm, swept by scripted minds in processes of their own."""
    out = tmp_path_factory.mktemp("replay")
    base = Path(tempfile.mkdtemp(prefix="tandem-test-", dir="/dev/shm"))
    words = ["run", "sim_panda", "--go", "sweep", "--seconds", "3", "--record-to", str(out)]
    words += [word for override in OVERRIDES for word in ("--config-override", override)]
    done = tandem(*words, base=base)
    base.rmdir()
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("sim_panda-*")
    return made


def tandem(*words: str, base: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tandem.tools.main", *words],
        capture_output=True,
        text=True,
        timeout=80,
        env=os.environ | {"TANDEM_RUNTIME_DIR": str(base), "PYTHONPATH": HERE},
    )


def without(folder: Path, out: Path, gone: Callable[[str, int], bool]) -> Recording:
    """A copy of a recording in which some messages (topic, number) are missing."""
    (file,) = folder.glob("*.mcap")
    with file.open("rb") as stream:
        reader = make_reader(stream)
        facts = {m.name: m.metadata for m in reader.iter_metadata() if m.name != "segment"}
        copy = Segments(out, "copy", Bounds(1 << 30, 0), facts)
        for schema, channel, m in reader.iter_messages(log_time_order=False):
            if not gone(channel.topic, m.sequence):
                about = (schema.name, schema.encoding, schema.data)
                to = Channel(channel.topic, channel.message_encoding, *about)
                copy.write(to, m.data, m.sequence, m.log_time, m.publish_time)
        copy.close()
    return Recording(out)


def test_every_chunk_is_planned_again_to_the_last_bit(folder: Path, tmp_path: Path) -> None:
    chunks = sum(1 for _ in Recording(folder).entries("chunk"))
    done = tandem("replay", str(folder), "--part", "s1", "--json", base=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["compared"] == chunks > 20
    assert verdict["differences"] == []
    assert verdict["largest"] == 0


def test_other_decisions_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "AMPLITUDE_RAD", sweep.AMPLITUDE_RAD * 1.01)
    recording = Recording(folder)
    verdict = s1.replay(recording, settings_of(recording, []))
    assert len(verdict.differences) > 0.8 * verdict.compared
    assert 0 < verdict.largest < 0.01
    assert any("actions differs by up to" in line for line in verdict.lines())
    tolerant = s1.replay(recording, settings_of(recording, []), tolerance=0.01)
    assert tolerant.differences == []


@pytest.mark.parametrize("stream", ["chunk/s1", "conditioning/s2"])
def test_a_hole_is_refused(folder: Path, tmp_path: Path, stream: str) -> None:
    topic = f"/tandem/{stream}"
    cut = without(folder, tmp_path / "cut", lambda name, n: name == topic and n in (7, 8))
    with pytest.raises(ConfigError, match="2 messages are missing before number 9"):
        s1.replay(cut, settings_of(cut, []))


def test_a_state_that_decided_must_be_there(folder: Path, tmp_path: Path) -> None:
    recording = Recording(folder)
    behind = {entry.message.t0_ns for entry in recording.entries("chunk")}
    states = [e.message for e in recording.entries("state") if e.message.t_ns in behind]
    lost = states[len(states) // 2].seq
    cut = without(
        folder, tmp_path / "cut", lambda t, n: t == "/tandem/state/executor" and n == lost
    )
    with pytest.raises(ConfigError, match=r"the state behind chunk \d+ was not recorded"):
        s1.replay(cut, settings_of(cut, []))


# -- the executor ----------------------------------------------------------------------------------


def test_every_tick_is_decided_again(folder: Path, tmp_path: Path) -> None:
    """Mode, epoch, plan, pace, gripper, and the path that the arm made of the knots."""
    states = sum(1 for _ in Recording(folder).entries("state"))
    done = tandem("replay", str(folder), "--part", "executor", "--json", base=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert states - 60 < verdict["compared"] <= states  # all but the first, before both hold
    assert verdict["differences"] == []
    assert verdict["largest"] < 1e-9


def test_another_limit_drives_another_path(folder: Path) -> None:
    recording = Recording(folder)
    slower = settings_of(recording, ["robot.limits.speed_scale=0.1"])
    verdict = executor.replay(recording, slower)
    assert len(verdict.differences) > 100
    assert any("path differs by up to" in difference.what for difference in verdict.differences)


def test_a_request_that_is_missing_changes_everything(folder: Path, tmp_path: Path) -> None:
    """`go` is an event of the executor; without it, it would hold."""
    recording = Recording(folder)
    events = [e.message for e in recording.entries("event") if e.source == "executor"]
    (go,) = (event.seq for event in events if event.data.get("verb") == "go")
    topic = "/tandem/event/executor"
    cut = without(folder, tmp_path / "cut", lambda name, n: name == topic and n == go)
    verdict = executor.replay(cut, settings_of(cut, []))
    assert any("mode was policy, is hold" in difference.what for difference in verdict.differences)


@pytest.mark.parametrize(
    ("topic", "numbers", "told"),
    [
        ("/tandem/state/executor", (207, 208), "2 messages are missing before number 209"),
        ("/tandem/tick/executor", (17, 18), "ticks of the executor are missing before number 19"),
    ],
)
def test_a_tick_that_is_missing_is_refused(
    folder: Path, tmp_path: Path, topic: str, numbers: tuple[int, int], told: str
) -> None:
    cut = without(folder, tmp_path / "cut", lambda name, n: name == topic and n in numbers)
    with pytest.raises(ConfigError, match=told):
        executor.replay(cut, settings_of(cut, []))


# -- System 2 --------------------------------------------------------------------------------------


def test_every_thought_is_thought_again(folder: Path, tmp_path: Path) -> None:
    """By a policy that remembers every picture: one that is missing or differs would tell."""
    thoughts = sum(1 for _ in Recording(folder).entries("conditioning"))
    done = tandem("replay", str(folder), "--part", "s2", "--json", base=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["compared"] == thoughts > 20
    assert verdict["differences"] == []
    assert verdict["largest"] == 0


def test_a_picture_that_system_2_saw_must_be_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)
    seen = [entry.message.frame_seq for entry in Recording(folder).entries("conditioning")]
    lost = seen[len(seen) // 2]
    cut = without(folder, tmp_path / "cut", lambda t, n: t == "/camera/front" and n == lost)
    with pytest.raises(ConfigError, match=f"frame {lost}, behind conditioning .* was not recorded"):
        s2.replay(cut, settings_of(cut, []))
