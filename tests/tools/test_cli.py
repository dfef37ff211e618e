"""The `tandem` command as a person meets it: help, mistakes, and the shapes of what it prints."""

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console
from tandem.runtime.folder import RuntimeFolder
from tandem.runtime.messages import Conditioning, Event, RobotState, Tick
from tandem.runtime.summary import Summary
from tandem.tools import report, status_line
from tandem.tools.judge import understood
from tandem.tools.video import Film, tile


@pytest.fixture
def base() -> Iterator[Path]:
    """Runtime folders of our own, with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="tandem-test-", dir="/dev/shm"))
    yield path
    path.rmdir()  # fails if anything was left behind


def tandem(*words: str, base: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tandem.tools.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={"TANDEM_RUNTIME_DIR": str(base), "PATH": "/usr/bin:/bin", "TERM": "dumb"},
    )


def test_help_lists_every_verb(base: Path) -> None:
    answer = tandem("--help", base=base)
    assert answer.returncode == 0
    for verb in ("run", "go", "hold", "reset", "stop", "status", "train", "eval", "bench"):
        assert f" {verb} " in answer.stdout


@pytest.mark.parametrize("verb", ["go", "hold", "reset", "stop", "status"])
def test_without_a_daemon_the_verbs_say_how_to_start_one(base: Path, verb: str) -> None:
    answer = tandem(verb, base=base)
    assert answer.returncode == 1
    assert answer.stderr == "tandem: no daemon runs here; start one: tandem run sim_panda\n"


def test_with_several_daemons_one_must_be_named(base: Path) -> None:
    held = [RuntimeFolder(base / name, name, "x.yaml") for name in ("left", "right")]
    try:
        answer = tandem("status", base=base)
        assert "several daemons run here, say which with --robot NAME: left, right" in answer.stderr
        answer = tandem("status", "--robot", "middle", base=base)
        assert "no daemon called middle runs here; running: left, right" in answer.stderr
        answer = tandem("status", "--robot", "left", base=base)
        assert "supervisor did not answer" in answer.stderr
    finally:
        for folder in held:
            folder.remove()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no configuration nowhere"),
        (["sim_panda", "--config-override", "executor.rate_h=3"], "did you mean executor.rate_hz?"),
        (["sim_panda", "--report", "/nowhere/r.json"], "--report /nowhere/r.json: there is no"),
        (["sim_panda", "--video", "/nowhere/v.mp4"], "--video /nowhere/v.mp4: there is no folder"),
        (["fake", "--demo"], "--demo needs the simulated arm"),
        (["fake", "--go", "wave"], "fake has no s1"),
        (["fake", "--video", "v.mp4"], "--video: fake has no cameras"),
    ],
)
def test_run_refuses_mistakes_before_it_starts_anything(
    base: Path, words: list[str], message: str
) -> None:
    answer = tandem("run", *words, base=base)
    assert answer.returncode == 1
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def summary() -> Summary:
    """A run of two loops, one refresh, one fault."""
    heard, seven = Summary(), np.zeros(7)
    for k in range(10):
        heard.fold(
            k * 10**8,
            Tick(
                source="executor",
                seq=k,
                t_ns=k * 10**8,
                rate_hz=200,
                lateness_ns=np.full(20, 50_000 * (k + 1)),
                work_ns=np.full(20, 300_000),
                missed=k // 9,
                counters={"chunks_joined": k},
                gauges={"seam_sent_q_rad": 0.002},
                samples_ns={"camera_command": np.array([90_000_000])},
            ),
        )
        heard.fold(
            k * 10**8,
            Conditioning(
                seq=k,
                t_ns=k * 10**8,
                t_capture_ns=k * 10**8 - 70_000_000,
                latent=np.zeros((1, 1), np.float16),
                latent_id="x",
                instruction_id=1,
                frame_seq=k,
                version=[1, 1],
                age_frames=[k, k],
                gate=[0.1, 0.2],
                refreshed=[k == 0, k % 5 == 0],
                macs=30,
                macs_full=100,
            ),
        )
    for mode, fault in (("hold", None), ("policy", None), ("fault", "the arm is in reflex")):
        state = RobotState(
            q=seven,
            dq=seven,
            tau=seven,
            q_cmd=seven,
            dq_cmd=seven,
            ddq_cmd=seven,
            gripper_cmd=1.0,
            width_m=0.08,
            mode=mode,
            epoch=1,
            fault=fault,
            t_ns=10**9,
        )
        heard.fold(10**9, state)
    heard.fold(10**9, Event(source="s2", level="info", kind="refresh", text="cache refreshed"))
    return heard


def built() -> dict[str, object]:
    tasks = [
        {"instruction": "pick up the red cube", "success": True, "wrong_object": None},
        {"instruction": "pick up the blue cube", "success": False, "wrong_object": "red"},
        {"instruction": "pick up the green cube", "success": None, "wrong_object": None},
    ]
    plant = {"samples": 9, "velocity_share": 0.3, "acceleration_share": 0.2, "jerk_share": 0.1}
    return report.build(summary(), "sim_panda", 1.0, plant, tasks, {"s1": 1})


def test_the_report_is_json_and_holds_the_figures(tmp_path: Path) -> None:
    report.write(built(), tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    executor = read["loops"]["executor"]
    assert executor["ticks"] == 200
    assert executor["missed_ticks"] == 1
    assert executor["lateness_ms"]["max"] == pytest.approx(0.5, rel=0.01)
    assert read["latency_ms"]["executor.camera_command"]["p50"] == pytest.approx(90, rel=0.01)
    assert read["s2"]["refreshes"] == [1, 2]
    assert read["s2"]["macs_saved"] == pytest.approx(0.7)
    assert read["faults"] == ["the arm is in reflex"]
    assert [change["to"] for change in read["modes"]["changes"]] == ["hold", "policy", "fault"]
    assert (read["tasks"]["tried"], read["tasks"]["succeeded"]) == (2, 1)


def test_the_report_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=io.StringIO(), width=110)
    report.show(built(), console)
    text = console.file.getvalue()
    for words in (
        "executor",
        "camera_command",
        "70.0%",
        "1 of 2 done",
        "hold → policy → fault",
    ):
        assert words in text


def test_a_report_of_nothing_is_still_a_report() -> None:
    console = Console(file=io.StringIO(), width=110)
    report.show(report.build(Summary(), "fake", 0.0), console)
    assert "duration" in console.file.getvalue()


def test_the_status_line_says_what_matters() -> None:
    line = status_line.describe(summary(), "pick up the red cube", 10**9)
    for words in ("fault", "FAULT the arm is in reflex", "pick up the red cube", "saves 70%"):
        assert words in line
    assert "S2 10.0 Hz" in line
    assert "silent for 4.0 s" in status_line.describe(summary(), "", 5 * 10**9)
    assert status_line.describe(Summary(), "", 0) == "no state yet"


def test_the_status_line_in_a_pipe_is_plain_lines() -> None:
    out = io.StringIO()
    line = status_line.StatusLine(out)
    line.show("one")
    line.show("two, too soon")
    line.say("something lasting")
    assert out.getvalue() == "one\nsomething lasting\n"


def test_a_film_can_be_read_again(tmp_path: Path) -> None:
    film = Film(tmp_path / "film.mp4", 30.0)
    small, large = np.full((64, 64, 3), 200, np.uint8), np.full((128, 160, 3), 20, np.uint8)
    for _ in range(5):
        film.add(tile([small, large], "policy: pick up the red cube"))
    film.close()
    video = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    ok, frame = video.read()
    assert ok
    assert frame.shape[0] >= 256
    assert frame[100, 100].mean() > 150  # the bright picture is on the left
    assert frame[100, -20].mean() < 60
    video.release()


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ("pick up the red cube", ("pick", "red")),
        ("Put the blue cube into the bin.", ("bin", "blue")),
        ("wave", None),
        ("put the red cube on the blue cube", None),
    ],
)
def test_instructions_that_can_be_judged(words: str, task: tuple[str, str] | None) -> None:
    assert understood(words) == task
