"""A real run, recorded, then decided again: to the last bit, or told which decision differs."""

import json
from pathlib import Path

import pytest
from tandem.runtime.errors import ConfigError
from tandem.tools.faults import sweep
from tandem.tools.record.reader import Recording
from tandem.tools.replay import executor, s1, s2
from tandem.tools.replay.source import settings_of

from tests.tools.recorded_run import HERE, tandem, without

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]


def test_every_chunk_is_planned_again_to_the_last_bit(folder: Path, tmp_path: Path) -> None:
    chunks = sum(1 for _ in Recording(folder).entries("chunk"))
    done = tandem("replay", str(folder), "--part", "s1", "--json", base=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["compared"] == chunks > 5
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
    modes = [entry.message.mode for entry in Recording(folder).entries("state")]
    held = len(modes) - modes.index("hold")
    done = tandem("replay", str(folder), "--part", "executor", "--json", base=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert held - 60 < verdict["compared"] <= held  # all but the first, before both hold
    assert verdict["differences"] == []
    assert verdict["largest"] < 1e-9


def test_another_limit_drives_another_path(folder: Path) -> None:
    recording = Recording(folder)
    slower = settings_of(recording, ["robot.limits.speed_scale=0.1"])
    verdict = executor.replay(recording, slower)
    assert len(verdict.differences) > 100
    assert any("path differs by up to" in difference.what for difference in verdict.differences)


@pytest.mark.parametrize("stream", ["state", "event"])
def test_a_tick_or_a_request_that_is_missing_is_refused(
    folder: Path, tmp_path: Path, stream: str
) -> None:
    """Requests are events of the executor."""
    own = [e for e in Recording(folder).entries(stream) if e.source == "executor"]
    lost, topic = own[-2].message.seq, f"/tandem/{stream}/executor"
    cut = without(folder, tmp_path / "cut", lambda name, n: name == topic and n == lost)
    told = f"{stream} of executor: 1 messages are missing before number {lost + 1}"
    with pytest.raises(ConfigError, match=told):
        executor.replay(cut, settings_of(cut, []))


def test_what_a_tick_heard_must_be_there(folder: Path, tmp_path: Path) -> None:
    """Even where no number tells that it is missing: none comes after it."""
    recording, topic = Recording(folder), "/tandem/chunk/s1"
    states = (entry.message for entry in recording.entries("state"))
    heard = {stamp for state in states for stamp in state.heard.get("chunk", [])}
    chunks = [entry.message for entry in recording.entries("chunk")]
    lost = max(chunk.seq for chunk in chunks if chunk.t_ns in heard)
    cut = without(folder, tmp_path / "cut", lambda name, n: name == topic and n >= lost)
    with pytest.raises(ConfigError, match=r"the chunk of \d+, .* was not recorded"):
        executor.replay(cut, settings_of(cut, []))


# -- System 2 --------------------------------------------------------------------------------------


def test_every_thought_is_thought_again(folder: Path, tmp_path: Path) -> None:
    """By a policy that remembers every picture and state: one that is missing would tell."""
    thoughts = sum(1 for _ in Recording(folder).entries("conditioning"))
    done = tandem("replay", str(folder), "--part", "s2", "--json", base=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["compared"] == thoughts > 5
    assert verdict["differences"] == []
    assert verdict["largest"] == 0


def test_a_state_that_system_2_was_told_must_be_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)
    recording = Recording(folder)
    told = [entry.message.t_state_ns for entry in recording.entries("conditioning")]
    (lost,) = [e.message.seq for e in recording.entries("state") if e.message.t_ns == told[-2]]
    cut = without(
        folder, tmp_path / "cut", lambda t, n: t == "/tandem/state/executor" and n == lost
    )
    with pytest.raises(ConfigError, match=r"state behind conditioning \d+ was not recorded"):
        s2.replay(cut, settings_of(cut, []))


def test_a_picture_that_system_2_saw_must_be_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)
    seen = [entry.message.frame_seq for entry in Recording(folder).entries("conditioning")]
    lost = seen[len(seen) // 2]
    cut = without(folder, tmp_path / "cut", lambda t, n: t == "/camera/front" and n == lost)
    with pytest.raises(ConfigError, match=f"frame {lost}, behind conditioning .* was not recorded"):
        s2.replay(cut, settings_of(cut, []))
