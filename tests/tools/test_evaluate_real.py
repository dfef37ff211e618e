"""`tandem eval` as a user calls it, in simulated time, and in real time on a daemon of its own."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.process
_EVAL = (sys.executable, "-m", "tandem.tools.main", "eval", "--seed", "11")
_BUSY_S = 3.0  # until the workers have begun
_END_S = 30.0


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_EVAL, *arguments], capture_output=True, text=True, timeout=110, check=False
    )


def test_the_promised_keys_go_to_stdout_and_the_table_elsewhere() -> None:
    done = _run("--episodes", "1", "--jobs", "1", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["episodes"] == 1
    assert 0 <= data["successes"] <= 1
    assert data["wrong_object"] == 0
    assert 0 <= data["ci95"][0] < data["ci95"][1] <= 1
    assert "plant rate" in done.stderr


def test_in_real_time_a_change_of_light_is_noticed(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    arguments = ("--episodes", "1", "--clock", "real", "--disturb", "light")
    done = _run(*arguments, "--json", str(result), "--grid", str(tmp_path / "failures.png"))
    assert done.returncode == 0, done.stderr
    data = json.loads(result.read_text())
    (record,) = data["records"]
    assert record["error"] is None
    assert record["phases"]["arm"]["frames"] > 0
    assert "light" in {change["kind"] for change in record["changes"]}
    assert 0 < data["velocity_share"] < 1
    assert 0 < data["jerk_share"] < 1
    assert (tmp_path / "failures.png").stat().st_size > 1000


def test_whoever_ends_an_evaluation_ends_its_workers() -> None:
    ours = subprocess.Popen([*_EVAL, "--episodes", "50", "--jobs", "2"])
    try:
        workers: list[Path] = []
        while len(workers) < 2:
            assert ours.poll() is None
            time.sleep(0.1)
            workers = [process for process in _children(ours.pid) if _is_worker(process)]
        time.sleep(_BUSY_S)
    finally:
        ours.terminate()
        ours.wait(_END_S)
    deadline_s = time.monotonic() + _END_S
    while left := [process for process in workers if _is_worker(process)]:
        assert time.monotonic() < deadline_s, left
        time.sleep(0.1)


def _children(pid: int) -> list[Path]:
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path("/proc", pid) for pid in pids]


def _is_worker(process: Path) -> bool:
    """It lives, and plays episodes: the others of an evaluation only keep its books."""
    try:
        return b"spawn_main" in (process / "cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--json", "/nowhere/x.json"), "no such folder"),
        (("--grid", "x.txt"), ".png"),
        (("--config", "sim_pando"), "sim_panda"),
    ],
)
def test_mistakes_are_told_before_anything_runs(arguments: tuple[str, ...], words: str) -> None:
    done = _run("--episodes", "1", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
