"""`tandem run --record`, `tandem export trace`: a real run, read back by others' readers."""

import contextlib
import json
import os
import signal
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from mcap.reader import make_reader
from tandem.runtime.errors import ConfigError, DeviceTimeoutError, RefusedError
from tandem.tools import control
from tandem.tools.record import channels
from tandem.tools.record.reader import Recording
from tandem.tools.replay import executor
from tandem.tools.replay.source import settings_of

from tests.tools.recorded_run import processes, started, tandem

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]
RECORDER = "tandem.tools.record.main"


def batches(recording: Recording) -> dict[str, list[int]]:
    """Ticks per message, by loop."""
    found: dict[str, list[int]] = {}
    for entry in recording.entries("tick"):
        found.setdefault(entry.source, []).append(entry.message.work_ns.size)
    return found


def test_counts_agree_with_the_report(run: tuple[Path, dict[str, Any]]) -> None:
    """But for the first words of a process: whoever listens may find its socket a little later."""
    folder, report = run
    recording = Recording(folder)
    for name, sizes in batches(recording).items():
        if name != "recorder":  # it goes on telling while it writes its last
            assert abs(sum(sizes) - report["loops"][name]["ticks"]) <= sum(sizes[:3]), name
    events = Counter(f"{e.message.source}.{e.message.kind}" for e in recording.entries("event"))
    assert all(events[kind] >= n - 1 for kind, n in report["events"].items())
    assert abs(events["executor.mode"] - report["events"]["executor.mode"]) <= 1
    asked = [e.message.data for e in recording.entries("event") if e.message.kind == "request"]
    assert [(a["verb"], a["text"]) for a in asked if a["ok"]] == [("go", "sweep"), ("stop", "")]
    chunks = sum(1 for _ in recording.entries("chunk"))
    assert chunks >= report["chunks"]["joined"] > 10
    assert recording.holes() == []
    thoughts = [entry.message for entry in recording.entries("conditioning")]
    assert report["s2"]["refreshes"] == np.sum([t.refreshed for t in thoughts], axis=0).tolist()


def test_opened_by_the_reader_of_mcap(run: tuple[Path, dict[str, Any]]) -> None:
    """And by schemas alone, as Foxglove would: it knows nothing of us."""
    (file,) = run[0].glob("*.mcap")
    with file.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        schemas = {s.name: s for s in summary.schemas.values()}
        facts = {m.name: m.metadata for m in reader.iter_metadata()}
        last: dict[str, Any] = {c.topic: m for _, c, m in reader.iter_messages()}
    assert summary.statistics.message_count == sum(Recording(run[0]).topics().values())
    assert {"tandem.RobotState", "tandem.ActionChunk", "foxglove.Log"} <= set(schemas)
    files = descriptor_pb2.FileDescriptorSet.FromString(schemas["foxglove.CompressedImage"].data)
    fields = {f.name: f.number for f in files.file[-1].message_type[0].field}
    assert fields == {"timestamp": 1, "data": 2, "format": 3, "frame_id": 4}
    assert channels.picture(last["/camera/front"].data).startswith(b"\x89PNG")
    joints = json.loads(last["/view/joint_states"].data)
    assert len(joints["name"]) == len(joints["position"]) == 7
    properties = json.loads(schemas["tandem.JointStates"].data)["properties"]
    assert set(joints) == set(properties)
    assert "driver: sim" in facts["config"]["yaml"]
    assert set(facts["tandem"]) >= {"revision", "boot_id", "utc_minus_monotonic_ns"}


def test_the_trace_leads_from_the_camera_to_the_command(
    run: tuple[Path, dict[str, Any]], base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "trace.json"
    done = tandem("export", "trace", str(run[0]), str(out), base=base)
    assert done.returncode == 0, done.stderr
    events = json.loads(out.read_text())["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    ticks = [e for e in slices if e["name"] == "tick" and e["cat"] == "executor"]
    assert len(ticks) == sum(batches(Recording(run[0]))["executor"])
    steps = [b["ts"] - a["ts"] for a, b in pairwise(ticks)]
    assert abs(np.median(steps) - 5000) < 50  # 200 Hz, wherever no tick was skipped
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert {"camera", "s2", "s1", "executor"} <= set(names.values())
    arrows: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        if event["ph"] in "stf":
            arrows.setdefault(event["id"], []).append(event)
    assert len(arrows) >= run[1]["chunks"]["joined"] - 2
    for stations in arrows.values():
        assert [names[s["pid"]] for s in stations] == ["camera", "s2", "s1", "executor"]
        for station in stations:
            row = [s for s in slices if s["tid"] == station["tid"]]
            assert any(s["ts"] <= station["ts"] <= s["ts"] + s["dur"] for s in row)
    again = tandem("export", "trace", str(run[0]), str(out), base=base)
    assert "exists; name something new" in again.stderr


def test_the_robot_goes_on_without_a_recorder(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    where = str(tmp_path / "file")
    done = tandem("run", "fake", "--seconds", "0.3", "--record-to", where, base=base)
    assert done.returncode == 0
    assert "going on without recorder: recorder cannot start: cannot record to" in done.stdout


def test_a_killed_recorder_starts_again_with_a_counted_hole(base: Path, tmp_path: Path) -> None:
    """1. It is killed: a cut file. 2. It goes on in a new one, and says so. 3. Ctrl-C: a whole one.

    The robot does not notice.
    """
    report = tmp_path / "report.json"
    words = ["run", "fake", "--record-to", str(tmp_path), "--report", str(report)]
    daemon = started(*words, base=base)
    try:
        (first,) = until(lambda: processes(RECORDER, str(tmp_path)), "*/*-0000.mcap", tmp_path)
        until(lambda: status(base).get("mode") == "hold", "*/*-0000.mcap", tmp_path)
        time.sleep(1.5)
        os.kill(first, signal.SIGKILL)
        (second,) = until(lambda: processes(RECORDER, str(tmp_path)), "*/*-0001.mcap", tmp_path)
        assert second != first
        until(lambda: is_ready(base, second), "*/*-0001.mcap", tmp_path)
        time.sleep(1.0)
        daemon.send_signal(signal.SIGINT)
        told, _ = daemon.communicate(timeout=30)
        assert daemon.returncode == 0, told
    finally:
        daemon.kill()
        daemon.wait()
    assert "recorder died (signal SIGKILL)" in told
    assert "recorder runs again (start 2)" in told
    assert "are missing: replay will refuse it" in told
    (folder,) = tmp_path.glob("fake-*")
    parts = [Recording(path) for path in sorted(folder.glob("*.mcap"))]
    assert [part.cut for part in parts] == [True, False]
    recording = Recording(folder)
    assert "killed and started again 1 times, with file 0001" in recording.holes()[0]
    assert any("messages are missing before number" in hole for hole in recording.holes("state"))
    with pytest.raises(ConfigError, match="has a hole: the recorder was killed"):
        executor.replay(recording, settings_of(recording, []))
    stamps = [entry.arrival_ns for entry in recording.entries("state")]
    assert stamps == sorted(stamps)
    told_of = json.loads(report.read_text())
    assert told_of["restarts"] == {"recorder": 1}
    assert told_of["loops"]["recorder"]["counters"]["holes"] == 1
    assert told_of["loops"]["executor"]["ticks"] > 300
    assert list(parts[1].entries("state"))[-1].message.mode == "idle"  # it heard the last word


def is_ready(base: Path, pid: int) -> bool:
    """The recorder, and the supervisor has heard it."""
    told = status(base).get("children", {}).get("recorder", {})
    return (told.get("pid"), told.get("state")) == (pid, "ready")


def status(base: Path) -> dict[str, Any]:
    """Nothing, of a daemon that does not answer yet."""
    with contextlib.suppress(RefusedError, DeviceTimeoutError):
        return control.ask(base / "fake", "status").data
    return {}


def until(look: Any, pattern: str, folder: Path) -> Any:
    """What is found, once there is a file."""
    deadline_s = time.monotonic() + 20
    while not (found := look()) or not list(folder.glob(pattern)):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return found
