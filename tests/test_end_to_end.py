"""The whole daemon as a user runs it: processes, simulator, verbs, and what is left behind.

Systems 1 and 2 are mostly scripted (a sweep of all joints), so that little depends on weights.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
import yaml
from tandem.drivers.sim.scene import random_layout
from tandem.tools.faults.rig import CONFIG

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
ENGAGED = "hold → policy"
STARVED = ("ask again", "did not answer", "wait until it rests")


class Terminal:
    """Somebody's shell: runs the daemon in the background, and the other verbs beside it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        here = str(Path(__file__).parent)  # where a user's own classes would be: beside the config
        self.folder = base / "faults"
        self.config = base / "faults.yaml"
        self.config.write_text(yaml.safe_dump(CONFIG))
        self._environment = os.environ | {
            "TANDEM_RUNTIME_DIR": str(base),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": here,
        }
        self._log = base / "said.txt"
        self._daemon: subprocess.Popen[bytes] | None = None

    def run(self, *options: str, config: str = "") -> None:
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(
                self._command("run", config or str(self.config), *options),
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def tandem(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """To its end; a daemon that is starved says so, and is asked again."""
        for _ in range(5):
            command = self._command(*words)
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=60, env=self._environment
            )
            if not any(told in done.stderr for told in STARVED):
                break
            time.sleep(0.5)
        return done

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline_s = time.monotonic() + seconds
        while not condition():
            assert self._daemon is not None
            assert self._daemon.poll() is None or condition(), self.said()
            assert time.monotonic() < deadline_s, self.said()
            time.sleep(0.05)

    def until_said(self, words: str) -> None:
        self.until(lambda: words in self.said())

    def signal(self, number: int) -> None:
        assert self._daemon is not None
        self._daemon.send_signal(number)

    def ended(self, timeout_s: float = 30.0) -> int:
        """Its exit status; fails if anything of it is left."""
        assert self._daemon is not None
        status = self._daemon.wait(timeout_s)
        assert not self.folder.exists(), self.said()
        deadline_s = time.monotonic() + 5.0  # of what was killed something may show for a moment
        while left := self.processes():
            assert time.monotonic() < deadline_s, (left, self.said())
            time.sleep(0.05)
        return status

    def processes(self) -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.base) in line:
                found.append(line)
        return found

    def kill_everything(self) -> None:
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.terminate()
            try:
                self._daemon.wait(20)
            except subprocess.TimeoutExpired:
                self._daemon.kill()

    @staticmethod
    def _command(*words: str) -> list[str]:
        return [sys.executable, "-m", "tandem.tools.main", *words]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(prefix="tandem-e-", dir="/dev/shm") as base:
        terminal = Terminal(Path(base))
        yield terminal
        terminal.kill_everything()


def inside_limits(report: dict) -> bool:
    """The plant's own record, at its own rate: velocity, acceleration and jerk."""
    shares = [report["plant"][f"{n}_share"] for n in ("velocity", "acceleration", "jerk")]
    return report["plant"]["samples"] > 1000 and max(shares) <= 1.0


def test_a_day_in_the_life(terminal: Terminal) -> None:
    """
    1. The daemon starts and holds; a second one is refused and names the first.
    2. What the policy does not understand moves nothing, and the person is told what it said.
    3. go engages, hold holds, go without words takes up again, status tells.
    4. stop brakes and ends it; its report and film are there, and nothing else.
    """
    report, film = terminal.base / "report.json", terminal.base / "film.mp4"
    terminal.run("--report", str(report), "--video", str(film))
    terminal.until_said("ready: holding")
    second = terminal.tandem("run", str(terminal.config))
    assert second.returncode == 1
    assert "already runs as process" in second.stderr

    refused = terminal.tandem("go")
    assert refused.returncode == 1
    assert "nothing to do yet" in refused.stderr
    refused = terminal.tandem("go", "make tea")
    assert refused.returncode == 1
    assert "policy refuses: say 'sweep'" in refused.stderr
    status = _status(terminal)
    assert status["mode"] == "hold"
    assert not status["holding_for"].startswith("engaged")

    engaged = terminal.tandem("go", "sweep")
    assert engaged.stdout == "engaged: sweep\n", engaged.stderr
    time.sleep(1.5)
    assert terminal.tandem("hold").stdout.startswith("holding")
    terminal.until(lambda: _status(terminal)["mode"] == "hold")
    for _ in range(4):
        assert terminal.tandem("go").stdout == "engaged: sweep\n"
        status = _status(terminal)
        if status["mode"] == "policy":  # a starved one loses it at once
            break
    assert status["mode"] == "policy"
    assert {child["state"] for child in status["children"].values()} == {"ready"}
    assert "instruction  sweep" in terminal.tandem("status").stdout

    assert terminal.tandem("stop").stdout == "stopped\n"
    assert terminal.ended() == 0
    told = json.loads(report.read_text())
    assert inside_limits(told)
    assert told["loops"]["executor"]["counters"]["chunks_joined"] > 5
    assert told["latency_ms"]["executor.camera_command"]["n"] > 5
    assert [c["to"] for c in told["modes"]["changes"]].count("policy") >= 2
    assert told["faults"] == []
    video = cv2.VideoCapture(str(film))
    assert video.read()[0]
    video.release()


def test_a_killed_executor_comes_back_holding(terminal: Terminal) -> None:
    """The arm brakes by itself meanwhile; it moves again only after a new go."""
    report = terminal.base / "report.json"
    terminal.run("--go", "sweep", "--report", str(report))
    terminal.until_said(ENGAGED)
    time.sleep(1.0)
    os.kill(_status(terminal)["children"]["executor"]["pid"], signal.SIGKILL)
    terminal.until_said("executor runs again")
    terminal.until(lambda: _status(terminal)["mode"] == "hold")
    time.sleep(0.5)
    assert _status(terminal)["mode"] == "hold"
    assert terminal.tandem("go").stdout == "engaged: sweep\n"
    time.sleep(0.3)
    assert terminal.tandem("stop").returncode == 0
    assert terminal.ended() == 0
    told = json.loads(report.read_text())
    assert inside_limits(told)
    assert told["restarts"] == {"executor": 1}


OBEDIENT = (
    "--config-override",
    "s1.policy=obedient:ObedientS1",
    "--config-override",
    "s2.policy=obedient:ObedientS2",
)


def test_the_demo_moves_soon_and_steps_aside_for_a_person(terminal: Terminal) -> None:
    """
    1. From the command to the moving arm in under 15 s, on a scene of its own making.
    2. Its first screen says how to stop, hold, give another instruction, see the pictures.
    3. A person's hold is respected, and so is their instruction.
    """
    for _ in range(3):  # the machine may be busy with something else
        begun_s = time.monotonic()
        terminal.run("--demo", *OBEDIENT)
        terminal.until_said(ENGAGED)
        if (took_s := time.monotonic() - begun_s) < 15:
            break
        terminal.signal(signal.SIGTERM)
        assert terminal.ended() == 0
    assert took_s < 15
    for words in ("Ctrl-C", "tandem stop", "tandem hold", "tandem go", "--rerun", "scene 1: put"):
        terminal.until_said(words)
    time.sleep(1.0)
    assert terminal.tandem("hold").stdout.startswith("holding")
    terminal.until_said("yours now")
    assert terminal.tandem("go", "wave to the people").returncode == 0
    assert terminal.tandem("stop").returncode == 0
    assert terminal.ended() == 0


def test_the_shipped_minds_understand_and_move(terminal: Terminal) -> None:
    """System 2 and 1 as shipped, in real processes; how well they do is for `tandem eval`."""
    report = terminal.base / "report.json"
    colour = sorted(random_layout(0).cubes)[0]
    words = ("--go", f"pick up the {colour} cube", "--report", str(report))
    terminal.run(*words, config="sim_panda")
    terminal.until_said(ENGAGED)
    time.sleep(4.0)
    terminal.signal(signal.SIGTERM)
    assert terminal.ended() == 0
    told = json.loads(report.read_text())
    assert inside_limits(told)
    assert told["faults"] == []
    assert told["chunks"]["joined"] > 5
    assert told["s2"]["frames"] > 10
    assert told["s2"]["macs_saved"] > 0.3
    assert told["tasks"]["list"][0]["instruction"] == f"pick up the {colour} cube"
    assert not (terminal.base / "sim_panda").exists()


def test_the_viewer_gets_pictures_arm_plan_and_path(terminal: Terminal) -> None:
    pytest.importorskip("rerun")
    terminal.run("--go", "sweep")
    terminal.until_said(ENGAGED)
    entities = {"/cameras/front", "/world/arm", "/world/planned", "/world/executed"}
    for seconds in (0.5, 5.0, 10.0):  # one that is starved sees nothing in so short a time
        printed = viewed(terminal, seconds)
        if all(entity in printed for entity in entities):
            break
    assert all(entity in printed for entity in entities), printed
    terminal.signal(signal.SIGTERM)
    assert terminal.ended() == 0


def viewed(terminal: Terminal, seconds: float) -> str:
    """What a viewer has put down, in words."""
    file = terminal.base / f"{seconds:g}.rrd"
    words = [sys.executable, "-m", "tandem.tools.viewer", str(terminal.folder / "config.yaml")]
    viewer = subprocess.Popen([*words, str(file)])
    terminal.until(lambda: file.exists() and file.stat().st_size > 10_000)
    time.sleep(seconds)
    viewer.terminate()
    assert viewer.wait(30) == 0
    print_it = [sys.executable, "-m", "rerun", "rrd", "print", str(file)]
    return subprocess.run(print_it, capture_output=True, text=True, timeout=60).stdout


def test_an_arm_without_anything_else_runs_too_and_for_the_time_asked_for(
    terminal: Terminal,
) -> None:
    terminal.run("--seconds", "0.5", config="fake")
    terminal.until_said("ready: holding")
    assert terminal.ended() == 0
    assert "loops: how late" in terminal.said()


def _status(terminal: Terminal) -> dict:
    return json.loads(terminal.tandem("status", "--json").stdout)
