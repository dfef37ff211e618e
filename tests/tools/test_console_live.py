"""The console on real sockets: it comes, it goes, the daemon too, and it only listens."""

import ast
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import tandem.tools.console
import zmq
from tandem.tools.console import app as console_app
from tandem.tools.console import gpu, ink
from tandem.tools.console.app import ConsoleApp
from tandem.tools.console.machine import Meter
from tandem.tools.console.watch import Watch

from tests.tools import console_speaker as speaker

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]
SIZES = [(80, 24), (200, 50)]
PATIENCE_S = 15.0


@pytest.fixture
def base(monkeypatch):
    """Where the robots' folders are; short, for the sake of the sockets' names."""
    with tempfile.TemporaryDirectory(prefix="tandem-console-") as made:
        monkeypatch.setenv("TANDEM_RUNTIME_DIR", made)
        yield Path(made)


@contextlib.contextmanager
def speaking(base, name="cell"):
    process = subprocess.Popen([sys.executable, speaker.__file__, str(base / name), name])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def console(*words):
    command = [sys.executable, "-m", "tandem.tools.main", "console", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=40)


def looked(watch, condition):
    """Look until the snapshot is as wanted."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition(shown := watch.snapshot()):
        assert time.monotonic() < end_s, shown
        watch.look()
        time.sleep(0.05)
    return shown


# -- for scripts ----------------------------------------------------------------------------------


def test_json_of_a_known_run_in_another_process(base):
    with speaking(base):
        looked(watch := Watch(), lambda s: s.loops)
        watch.close()
        for seconds in ("2", "10"):  # a starved one may hear too little in the shorter
            done = console("--once", "--json", "--seconds", seconds)
            if '"macs_saved": 0.6' in done.stdout:
                break
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["presence"], told["name"]) == ("attached", "cell")
    loop = told["loops"][0]
    late, work = loop["lateness"]["attached"], loop["work"]["window"]
    assert loop["asked_hz"] == speaker.RATE_HZ
    assert late["n"] % speaker.BATCH == 0
    for figure, expected_ms in (
        (late["p50_ms"], 0.150),
        (late["p99_ms"], 0.297),
        (late["max_ms"], 0.300),
        (work["p50_ms"], 0.100),
        (work["p999_ms"], 0.200),
    ):
        assert figure == pytest.approx(expected_ms, rel=0.02)
    assert told["latency"]["total"]["window"]["p50_ms"] == 104
    assert told["robot"]["instruction"] == "sort"
    assert told["cache"]["macs_saved"] == 0.6
    assert told["malformed"] == 0
    assert loop["process"]["pid"] == told["pid"]


def test_a_real_daemon_and_its_own_report(base):
    """The console waits for it, watches all of it, and keeps its figures when it has gone."""
    file, watch = base / "report.json", Watch("fake")
    looked(watch, lambda s: s.presence == "waiting")
    command = [sys.executable, "-m", "tandem.tools.main", "run", "fake", "--report", str(file)]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        looked(watch, lambda s: s.loops and s.loops[0].ticks > 200 and s.robot.mode)
        text = console("--robot", "fake", "--once", "--seconds", "3")
        nobody = console("other", "--json", "--seconds", "0.3")
        looked(watch, lambda s: s.loops[0].ticks > 400)
        daemon.send_signal(signal.SIGINT)
        shown = looked(watch, lambda s: s.presence == "gone")
        assert daemon.wait(30) == 0
    finally:
        daemon.terminate()
        daemon.wait(30)
        watch.close()
    said, loop = json.loads(file.read_text())["loops"]["executor"], shown.loops[0]
    assert (loop.name, loop.asked_hz) == ("executor", said["asked_hz"])
    assert "HOLD" in text.stdout
    assert "executor" in text.stdout
    assert nobody.returncode == 1
    assert "no daemon called other runs here" in nobody.stderr


def test_figures_agree_with_the_run_report_within_two_per_cent(base):
    """Another process's figures of the same ticks. Either may miss a first or a last batch: then it
    was not the same window, and is tried again; if it never was, the medians must still agree."""
    for _ in range(5):
        loop, said = watched_run(base)
        same = loop.ticks == said["ticks"]
        if same:
            break
    assert loop.rate_hz == pytest.approx(said["rate_hz"], rel=0.02)
    assert loop.missed_ticks == said["missed_ticks"] or not same
    names = ("p50", "p99", "p999", "max") if same else ("p50",)
    for here, there in ((loop.lateness, said["lateness_ms"]), (loop.work, said["work_ms"])):
        for name in names:
            value_ms = getattr(here.attached, f"{name}_ms")
            assert value_ms == pytest.approx(there[name], rel=0.02, abs=1e-4), (name, same)


def watched_run(base):
    """Two seconds at 1 kHz: the executor as the console saw it, and as the run reports it."""
    file, watch = base / "report.json", Watch("fake")
    words = ["--seconds", "2", "--config-override", "executor.rate_hz=1000", "--report", str(file)]
    command = [sys.executable, "-m", "tandem.tools.main", "run", "fake", *words]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        looked(watch, lambda s: s.presence == "gone")
        assert daemon.wait(30) == 0
        return watch.snapshot().loops[0], json.loads(file.read_text())["loops"]["executor"]
    finally:
        daemon.kill()
        daemon.wait()
        watch.close()


def test_without_a_daemon_a_script_is_told(base):
    done = console("--once", "--seconds", "0.3")
    assert done.returncode == 1
    assert "no daemon runs here" in done.stderr


def test_without_a_terminal_it_says_what_scripts_use(base):
    done = console()
    assert done.returncode == 1
    assert "--once --json" in done.stderr


def test_several_daemons_need_a_name(base):
    with speaking(base, "left"), speaking(base, "right"):
        looked(left := Watch("left"), lambda s: s.loops)
        looked(right := Watch("right"), lambda s: s.loops)
        anyone = Watch()
        shown = looked(anyone, lambda s: "several" in s.note)
        for watch in (left, right, anyone):
            watch.close()
    assert "left, right" in shown.note


# -- it only listens ------------------------------------------------------------------------------


def test_watching_leaves_nothing_in_the_robots_folder_and_binds_nothing(base, monkeypatch):
    kinds, real = [], zmq.Context.socket

    def socket(context, kind, *rest, **more):
        kinds.append(kind)
        return real(context, kind, *rest, **more)

    monkeypatch.setattr(zmq.Context, "socket", socket)
    with speaking(base):
        looked(first := Watch(), lambda s: s.loops)
        before = sorted(p.name for p in (base / "cell").iterdir())
        looked(second := Watch(), lambda s: s.loops)
        assert sorted(p.name for p in (base / "cell").iterdir()) == before
        for watch in (first, second):
            watch.close()
    assert set(kinds) <= {zmq.SUB, zmq.PAIR}  # PAIR: opened and closed at once, starts the thread


def test_no_module_of_it_can_command():
    forbidden = {"publisher", "server", "client", "request", "ZmqPublisher", "ZmqClient"}
    forbidden |= {"ZmqServer", "Publisher", "Client", "Server"}
    modules = list(Path(tandem.tools.console.__file__).parent.glob("*.py"))
    assert len(modules) > 10
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = {alias.name.rpartition(".")[2] for alias in node.names}
            else:
                names = {getattr(node, "attr", getattr(node, "id", ""))}
            assert not names & forbidden, (module.name, node.lineno)


def test_it_starts_without_physics_networks_and_commands():
    script = """
import sys
import tandem.tools.console.main, tandem.tools.console.app
heavy = ("torch", "mujoco", "onnxruntime", "ruckig", "cv2", "tandem.runtime.executor",
         "tandem.runtime.supervisor", "tandem.runtime.desk", "tandem.tools.control")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# -- what the kernel says -------------------------------------------------------------------------


def test_processes_as_the_kernel_knows_them():
    core = min(os.sched_getaffinity(0))
    spin = f"import os; os.sched_setaffinity(0, {{{core}}}); os.nice(7)\nwhile True: pass"
    niceness = f"nice {min(os.nice(0) + 7, 19)}"
    with subprocess.Popen([sys.executable, "-c", spin]) as spinner, contextlib.ExitStack() as stack:
        stack.callback(spinner.kill)
        meter = Meter()
        end_s = time.monotonic() + PATIENCE_S
        pids = {"executor": spinner.pid, "gone": 2**22}
        while True:
            meter.look(time.monotonic_ns(), pids, priority=80)
            found = meter.processes["executor"]
            if found.cpu and found.scheduling == niceness and meter.machine.cpu is not None:
                break
            assert time.monotonic() < end_s, found
            time.sleep(0.1)
        meter.close()
    assert set(meter.processes) == {"executor"}
    assert (found.pid, found.cores, found.threads) == (spinner.pid, str(core), 1)
    assert found.refused  # its configuration asks for FIFO 80
    assert not found.awake
    assert 1 < found.memory_mib < 1000
    assert meter.machine.memory_total_mib > meter.machine.memory_mib > 0


def test_cards_are_asked_for_without_waiting(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    answer = tmp_path / "answer"
    waits = f"until [ -e {answer} ]; do sleep 0.02; done"
    tool.write_text(f"#!/bin/sh\n{waits}\necho 'NVIDIA H200, 37, 1024, 143771'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    query = gpu.Query()
    assert query.look(time.monotonic_ns()) == ()
    answer.touch()
    begun_s = time.monotonic()
    while not (cards := query.look(time.monotonic_ns())):
        assert time.monotonic() - begun_s < PATIENCE_S
        time.sleep(0.05)
    query.close()
    assert (cards[0].name, cards[0].busy) == ("NVIDIA H200", 0.37)


# -- on the screen --------------------------------------------------------------------------------


def on_screen(app):
    """What is drawn, as text."""
    lines = [
        segments.text.rstrip()
        for y in range(app.size.height)
        for segments in [app.screen._compositor.render_strips()[y]]
    ]
    return "\n".join(lines)


async def seen(app, pilot, *words):
    end_s = time.monotonic() + PATIENCE_S
    while not all(word in (screen := on_screen(app)) for word in words):
        assert time.monotonic() < end_s, screen
        await pilot.pause(0.05)
    return screen


@pytest.mark.parametrize("size", SIZES)
def test_a_daemon_comes_goes_and_comes_again(base, size):
    async def story():
        app = ConsoleApp(Watch())
        async with app.run_test(size=size) as pilot:
            await seen(app, pilot, "waiting", "no daemon runs here")
            with speaking(base) as daemon:
                await seen(app, pilot, "attached", "POLICY", "sort", "camera → S2", "L2 0.75")
                daemon.kill()
                daemon.wait()
                await seen(app, pilot, "gone since", f"pid {daemon.pid}", "camera → S2")
            begun_s = time.monotonic()
            with speaking(base) as daemon:
                await seen(app, pilot, "attached", "POLICY")
                assert app.snapshot.pid == daemon.pid
                assert app.snapshot.attached_s <= time.monotonic() - begun_s, "counted anew"
            await pilot.press("q")
        assert app.return_code == 0

    asyncio.run(story())


@pytest.mark.parametrize("size", SIZES)
def test_keys(base, size):
    async def story():
        app = ConsoleApp(Watch())
        async with app.run_test(size=size) as pilot:
            with speaking(base):
                await seen(app, pilot, "executor", "worst" if size[0] > 80 else "trend")
                await pilot.press("1")
                await seen(app, pilot, "1000 Hz asked for", "camera_command", "log of counts")
                await pilot.press("question_mark")
                await seen(app, pilot, "quit; the robot does not notice")
                await pilot.press("escape")
                await seen(app, pilot, "camera to command")
                await pilot.press("w")
                await seen(app, pilot, "loops, all" if size[0] < 140 else "since attach")
                await pilot.press("p")
                await seen(app, pilot, "paused")
                stands = app.snapshot
                await pilot.pause(0.5)
                assert app.snapshot is stands
                await pilot.press("p")
                end_s = time.monotonic() + PATIENCE_S
                while app.snapshot.loops[0].ticks <= stands.loops[0].ticks:
                    assert time.monotonic() < end_s
                    await pilot.pause(0.05)

    asyncio.run(story())


def test_a_screen_that_changes_its_size_is_filled_anew(base):
    async def story():
        app = ConsoleApp(Watch())
        with speaking(base):
            async with app.run_test(size=(80, 24)) as pilot:
                await seen(app, pilot, "executor")
                for width, height in ((200, 50), (100, 30), (60, 15), (80, 24)):
                    await pilot.resize_terminal(width, height)
                    screen = await seen(app, pilot, "executor", " q quit")
                    assert len(screen.splitlines()) <= height

    asyncio.run(story())


def test_only_lines_that_changed_are_painted_again():
    panel = console_app.Panel("x")
    painted = []
    panel.refresh = painted.append
    lines = [[("same", "")], [("one", "")]]
    panel.show(lines)
    painted.clear()
    panel.show([[("same", "")], [("two", "warn")]])
    assert [region.y for region in painted] == [1]
    assert ink.plain(panel.lines) == "same\ntwo"


def test_it_is_cheap_while_a_loop_runs_at_1_khz(base):
    """Of one core; the bar is a tenth, the test leaves room for a crowded machine."""
    with speaking(base):
        looked(watch := Watch(), lambda s: s.loops and s.loops[0].ticks > 500)
        begun_s, spent_s = time.monotonic(), time.process_time()
        while time.monotonic() - begun_s < 2.0:
            watch.look()
            watch.snapshot()
            time.sleep(0.2)
        share = (time.process_time() - spent_s) / (time.monotonic() - begun_s)
        watch.close()
    assert share < 0.15, f"{share:.1%}"
    assert os.getpid() != watch.snapshot().pid
