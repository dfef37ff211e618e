"""The doctor's readers against a /proc and /sys of our making, and one real visit."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tandem.runtime import config
from tandem.runtime.folder import RuntimeFolder
from tandem.tools.doctor import cameras, cell, checks, daemons, installation, machine, network
from tandem.tools.doctor.probes import attempt


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tandem-test-", dir="/dev/shm"))
    monkeypatch.setenv("TANDEM_RUNTIME_DIR", str(path))
    yield path
    shutil.rmtree(path)


CPU = "sys/devices/system/cpu"
SICK = {
    "proc/sys/kernel/osrelease": "6.1.0-13-amd64\n",
    "proc/version": "Linux version 6.1.0 #1 SMP PREEMPT_DYNAMIC\n",
    "proc/sys/kernel/sched_rt_runtime_us": "500000\n",
    "proc/meminfo": "MemAvailable:  1024 kB\nSwapTotal: 2048 kB\nSwapFree: 0 kB\n",
    "proc/mounts": "tmpfs /dev/shm tmpfs rw 0 0\noverlay /dev/shm ext4 rw 0 0\n",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "powersave\n",
    f"{CPU}/isolated": "\n",
    f"{CPU}/cpu0/cpuidle/state1/latency": "2\n",
    f"{CPU}/cpu0/cpuidle/state2/latency": "170\n",
    f"{CPU}/cpu0/cpuidle/state3/latency": "900\n",
    f"{CPU}/cpu0/cpuidle/state3/disable": "1\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
}


def test_a_sick_machine_is_read_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, **SICK)
    facts = machine.read({}, {}, 50_000, tmp_path)
    assert facts.governors == ("performance", "powersave")
    assert facts.deepest_sleep_us == 170
    assert facts.swap_used_bytes == 2 << 20
    assert facts.memory_free_bytes == 1 << 20
    assert (facts.huge_pages, facts.clock_source, facts.shm_kind) == ("always", "hpet", "ext4")
    assert not facts.preempt_rt
    sick = {f.name for f in checks.all_of(facts) if f.verdict != "ok"}
    assert {"kernel", "CPU governor", "isolated cores", "swap", "clock source"} <= sick
    put(tmp_path, **{"sys/kernel/realtime": "1\n", f"{CPU}/isolated": "2-3\n"})
    facts = machine.read({}, {}, None, tmp_path)
    assert (facts.preempt_rt, facts.isolated) == (True, "2-3")


def test_an_empty_proc_is_survived(tmp_path: Path) -> None:
    facts = machine.read({}, {}, None, tmp_path)
    assert (facts.governors, facts.clock_source, facts.deepest_sleep_us) == ((), "", 0)
    checks.all_of(facts)


def test_what_crashes_hangs_or_fails_in_a_probe_is_an_answer() -> None:
    assert attempt("print(); print('[1, 2]')").answer == [1, 2]
    crash = f"import os; os.kill(os.getpid(), {signal.SIGSEGV})"
    assert attempt(crash).failed == "crashed by SIGSEGV"
    assert attempt("raise OSError('libEGL is missing')").failed == "OSError: libEGL is missing"
    assert "no answer within" in attempt("import time; time.sleep(9)", timeout_s=0.3).failed
    assert attempt("pass").failed == "it gave no answer"


def test_shipped_weights_are_found_where_the_policies_look(tmp_path: Path) -> None:
    settings = config.load("sim_panda")
    found = cell.weights(settings)
    assert set(found) == {"s1", "s2"}
    assert not any(w.missing for w in found.values())
    assert cell.weights(config.load("fake")) == {}
    elsewhere = config.load("sim_panda", [f"s1.weights={tmp_path}/none"])
    assert cell.weights(elsewhere)["s1"].missing == (
        "none.onnx",
        "none.safetensors",
        "none.json",
    )
    (tmp_path / "none.onnx").touch()
    (tmp_path / "none.safetensors").touch()
    (tmp_path / "none.json").write_text("{")
    assert cell.weights(elsewhere)["s1"].missing == ("none.json (damaged)",)


def test_every_required_package_is_installed_here() -> None:
    facts = installation.packages()
    assert {"numpy", "torch", "pyzmq"} <= set(facts.required)
    assert "pytest" not in facts.required
    assert installation.versions(facts).verdict != "wrong"


def test_daemons_dead_and_alive(base: Path) -> None:
    held = RuntimeFolder(base / "cell_a", "cell_a", "a.yaml")
    dead = base / "cell_b"
    dead.mkdir(mode=0o700)
    (dead / "daemon.lock").write_text("{}")
    facts = daemons.base()
    assert facts.stale == ("cell_b",)
    assert daemons.runtime_folder(facts).verdict == "ok"
    (running,) = daemons.running()  # it holds its lock, and answers nobody
    assert (running.robot, running.pid, running.status) == ("cell_a", os.getpid(), None)
    held.remove()
    assert daemons.running() == []


def test_cameras_as_the_kernel_lists_them(tmp_path: Path) -> None:
    usb = tmp_path / "sys/devices/pci0/usb2/2-1"
    put(
        usb, **{"speed": "480\n", "2-1:1.0/video4linux/video2/name": "Intel(R) RealSense(TM) 435\n"}
    )
    node = usb / "2-1:1.0/video4linux/video2"
    (node / "device").symlink_to(usb / "2-1:1.0")
    listed = tmp_path / "sys/class/video4linux"
    listed.mkdir(parents=True)
    (listed / "video2").symlink_to(node)
    put(tmp_path, **{"dev/video2": ""})
    (found,) = cameras.videos(tmp_path)
    assert found == cameras.Video("/dev/video2", "Intel(R) RealSense(TM) 435", True, 480)
    assert cameras.video(found).verdict == "advice"
    assert cameras.videos(tmp_path / "nowhere") == []


def test_the_most_specific_route_leads_to_the_robot(tmp_path: Path) -> None:
    rows = ["Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"]
    rows.append("eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0")
    rows.append("eth1 000010AC 00000000 0001 0 0 0 00FFFFFF 0 0 0")  # 172.16.0.0/24
    put(tmp_path, **{"proc/net/route": "\n".join(rows) + "\n"})
    assert network._interface("172.16.0.2", tmp_path) == "eth1"
    assert network._interface("8.8.8.8", tmp_path) == "eth0"
    assert network._interface("127.0.0.1", tmp_path) == "lo"


def visit(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tandem.tools.main", "doctor", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_a_real_visit(base: Path) -> None:
    """On this machine, whatever it is: every check answers, and the exit status says the same."""
    answer = visit("sim_panda", "--json", "--latency", "--seconds", "0.5")
    told = json.loads(answer.stdout)
    assert answer.returncode == (0 if told["healthy"] else 1)
    names = {f["name"] for f in told["findings"]}
    assert {"real time", "Python packages", "weights", "rendering", "disk speed"} <= names
    (wakes,) = (f["found"] for f in told["findings"] if f["name"] == "wake-ups, 1 kHz, 0.5 s")
    assert re.match(r"late p50 \d+, p99 \d+, p99\.9 \d+, max \d+ µs", wakes)
    assert "for 0.5 s" in answer.stderr, "whoever waits is told how long"
    for found in told["findings"]:
        assert found["verdict"] == "ok" or (found["why"] and found["fix"])
    assert "Traceback" not in answer.stderr


def test_something_wrong_is_exit_status_1_and_a_cure(base: Path) -> None:
    base.chmod(0o777)
    answer = visit("fake")
    assert answer.returncode == 1
    assert "→ chmod 700" in answer.stdout


def test_a_spoiled_limit_is_found_for_real(base: Path) -> None:
    """A process without any right to real time, by the kernel's own limits."""
    lose = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if lose and (shutil.which(lose[0]) is None or subprocess.run([*lose, "true"]).returncode):
        pytest.skip("root's rights cannot be given up here")
    limits = ["prlimit", "--rtprio=0:0", "--memlock=65536:65536"]
    answer = subprocess.run(
        [*limits, *lose, sys.executable, "-m", "tandem.tools.main", "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = {f["name"]: f for f in json.loads(answer.stdout)["findings"]}
    assert answer.returncode == 1
    assert found["real time"]["verdict"] == found["locked memory"]["verdict"] == "wrong"
    assert "rtprio" in found["real time"]["fix"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_one_core_and_a_small_shared_memory_are_found_for_real() -> None:
    """In a namespace of its own, as a container that was given too little."""
    spoil = 'mount -t tmpfs -o size=32m tmpfs /dev/shm && exec taskset -c "$0" "$@"'
    core = str(min(os.sched_getaffinity(0)))
    doctor = [sys.executable, "-m", "tandem.tools.main", "doctor", "fake", "--json"]
    words = ["unshare", "--mount", "sh", "-c", spoil, core]
    if subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("no namespace may be made here")
    answer = subprocess.run([*words, *doctor], capture_output=True, text=True, timeout=60)
    sick = {f["name"]: f for f in json.loads(answer.stdout)["findings"] if f["verdict"] == "wrong"}
    assert answer.returncode == 1
    assert sick["cores"]["found"] == "1"
    assert sick["/dev/shm"]["found"] == "32 MiB free"
    assert "--shm-size" in sick["/dev/shm"]["fix"]


def test_the_doctor_starts_fast() -> None:
    """No torch, no physics in the process that answers."""
    code = (
        "import sys; from tandem.tools.doctor import main; main.complaints();"
        "assert not {'torch', 'mujoco', 'cv2', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
