"""`tandem run --record`, `tandem export trace`: a real run, read back by others' readers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from mcap.reader import make_reader
from tandem.tools.record import channels
from tandem.tools.record.reader import Recording

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]
SWEEP = [
    "cameras={front: {driver: sim, size: [32, 32]}}",
    "s2={policy: 'tandem.tools.faults.sweep:SweepS2', cameras: [front]}",
    "s1={policy: 'tandem.tools.faults.sweep:SweepS1'}",
    "robot.limits.tool_speed_m_s=0.6",
]


def tandem(*words: str, base: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tandem.tools.main", *words],
        capture_output=True,
        text=True,
        timeout=80,
        env=os.environ | {"TANDEM_RUNTIME_DIR": str(base)},
    )


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tandem-test-", dir="/dev/shm"))
    yield path
    path.rmdir()


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A recording of the simulated arm swept by scripted minds, and the run's own report."""
    tmp_path = tmp_path_factory.mktemp("recorded")
    options = [word for override in SWEEP for word in ("--config-override", override)]
    options += ["--record-to", str(tmp_path), "--report", str(tmp_path / "report.json")]
    done = tandem("run", "sim_panda", "--go", "sweep", "--seconds", "3", *options, base=base)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.glob("sim_panda-*")
    assert f"recorded in {folder}" in done.stdout
    return folder, json.loads((tmp_path / "report.json").read_text())


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
    assert channels.picture(last["/camera/front"].data).startswith(b"\xff\xd8")
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
    assert abs(sum(steps) / len(steps) - 5000) < 50  # 200 Hz
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


def test_a_killed_recorder_is_told_and_costs_the_robot_nothing(base: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tandem.tools.main", "run", "fake", "--seconds", "3"]
    words += ["--record-to", str(tmp_path), "--report", str(tmp_path / "report.json")]
    environment = os.environ | {"TANDEM_RUNTIME_DIR": str(base)}
    daemon = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    deadline_s = time.monotonic() + 20
    while not (found := _recorders(tmp_path)) or not list(tmp_path.glob("*/*.mcap")):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    time.sleep(2.0)
    os.kill(found[0], signal.SIGKILL)
    told, _ = daemon.communicate(timeout=30)
    assert daemon.returncode == 0
    assert "recorder died (signal SIGKILL)" in told
    (folder,) = tmp_path.glob("fake-*")
    recording = Recording(folder)
    assert recording.cut
    assert recording.holes() == []
    assert recording.topics()["/tandem/state/executor"] > 50
    executor = json.loads((tmp_path / "report.json").read_text())["loops"]["executor"]
    assert executor["ticks"] > 500


def _recorders(folder: Path) -> list[int]:
    """Processes that record below `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = entry.read_bytes()
            if b"tandem.tools.record.main" in line and str(folder).encode() in line:
                found.append(int(entry.parent.name))
    return found
