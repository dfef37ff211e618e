"""systemd's files, by systemd's own tools, and the real daemon speaking its protocol."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tandem.runtime.folder import RuntimeFolder, running
from tandem.runtime.rundir import prepare_runtime_dir

SYSTEMD = Path(__file__).parent.parent / "systemd"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="apt-get install systemd")
_OTHER_UID = 12345


@pytest.fixture
def base() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tandem-test-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as an instance, with a command that exists here."""
    text = (SYSTEMD / "tandem@.service").read_text()
    command = tmp_path / "tandem"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    file = tmp_path / "tandem@cell_a.service"
    file.write_text(text.replace("/opt/tandem/bin/tandem", str(command)))
    return file


def values(key: str) -> list[str]:
    text = (SYSTEMD / "tandem@.service").read_text()
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def analyze(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(ANALYZE), *words], capture_output=True, text=True, timeout=60)


@needs_systemd
def test_the_unit_is_what_systemd_understands(unit: Path) -> None:
    answer = analyze("verify", "--man=no", str(unit))
    assert (answer.returncode, answer.stderr) == (0, "")


@needs_systemd
def test_the_sandbox_is_tight(unit: Path) -> None:
    """systemd's own score, 0 (tight) … 10; above 2.5 somebody has opened a door."""
    answer = analyze("security", "--offline=true", "--no-pager", "--threshold=25", str(unit))
    assert answer.returncode == 0, answer.stdout


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="apt-get install systemd")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_users_and_folders_are_what_systemd_understands(tmp_path: Path) -> None:
    """Applied to an empty root: the user, its groups and the folders are there after."""
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    subprocess.run(
        ["systemd-sysusers", root, str(SYSTEMD / "tandem.sysusers")], check=True, timeout=30
    )
    users = (tmp_path / "etc/passwd").read_text()
    assert re.search(r"^tandem:.*:/var/lib/tandem:/usr/sbin/nologin$", users, re.MULTILINE)
    groups = (tmp_path / "etc/group").read_text()
    assert all(re.search(rf"^{g}:.*tandem", groups, re.MULTILINE) for g in ("video", "render"))
    subprocess.run(
        ["systemd-tmpfiles", root, "--create", str(SYSTEMD / "tandem.tmpfiles")],
        check=True,
        timeout=30,
    )
    assert (tmp_path / "run/tandem").stat().st_mode & 0o7777 == 0o770
    assert (tmp_path / "etc/tandem").is_dir()


def test_make_service_puts_every_file_where_it_belongs(tmp_path: Path) -> None:
    root = SYSTEMD.parent
    subprocess.run(["make", "-s", "-C", str(root), "service", f"DESTDIR={tmp_path}"], check=True)
    placed = {
        "etc/systemd/system/tandem@.service": "tandem@.service",
        "usr/lib/sysusers.d/tandem.conf": "tandem.sysusers",
        "usr/lib/tmpfiles.d/tandem.conf": "tandem.tmpfiles",
        "etc/udev/rules.d/60-tandem.rules": "60-tandem.rules",
        "etc/security/limits.d/50-tandem.conf": "50-tandem.conf",
    }
    for place, name in placed.items():
        assert (tmp_path / place).read_text() == (SYSTEMD / name).read_text()
    assert (tmp_path / "opt/tandem").readlink() == root / ".venv"
    assert {p.name for p in SYSTEMD.iterdir()} == {*placed.values(), "activate.sh"}
    subprocess.run(["bash", "-n", str(SYSTEMD / "activate.sh")], check=True)


def test_every_udev_rule_is_a_list_of_matches_and_settings() -> None:
    token = r'[A-Z]+(\{[^}]+\})?(==|!=|\+=|=)"[^"]*"'
    for line in (SYSTEMD / "60-tandem.rules").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(rf"{token}(, {token})*", line), line
            assert re.search(r'(GROUP|ATTR\{[^}]+\})="', line), f"sets nothing: {line}"


def test_limits_let_the_group_have_what_the_executor_asks_for() -> None:
    lines = (SYSTEMD / "50-tandem.conf").read_text().splitlines()
    rules = {tuple(line.split()) for line in lines if line and not line.startswith("#")}
    assert {("@tandem", "-", "rtprio", "99"), ("@tandem", "-", "memlock", "unlimited")} <= rules


def test_a_restart_never_moves() -> None:
    """What is started again holds: nothing in the unit gives an instruction."""
    (start,) = values("ExecStart")
    assert start.split()[1:] == ["run", "/etc/tandem/%i.yaml"]
    assert values("Restart") == ["on-failure"]


def test_a_stop_leaves_time_to_come_to_rest_and_reaches_the_supervisor_alone() -> None:
    assert values("KillMode") == ["mixed"]
    # Rest 3 s, then stages one after the other: 3 s for each, 2 s more if one has to be killed.
    assert int(values("TimeoutStopSec")[0]) >= 15
    assert int(values("TimeoutStartSec")[0]) > 90  # System 2 loads
    # An executor notices after 2 s that its supervisor is gone, and brakes within 1 s.
    assert all("sleep 4" in values(key)[0] for key in ("ExecStop", "ExecStopPost"))


def test_real_time_is_not_locked_out() -> None:
    assert values("LimitRTPRIO") == ["99"]
    assert values("LimitMEMLOCK") == ["infinity"]
    assert values("RestrictRealtime") == []
    assert values("PrivateDevices") == []
    assert "/dev/cpu_dma_latency rw" in values("DeviceAllow")


class Daemon:
    """`tandem run fake` as systemd would start it, and all that it tells."""

    def __init__(self, base: Path, watchdog_us: int) -> None:
        self.base, self.heard = base, []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(base / "notify"))
        self._socket.settimeout(0.1)
        environment = {
            **os.environ,
            "TANDEM_RUNTIME_DIR": str(base / "run"),
            "NOTIFY_SOCKET": str(base / "notify"),
            "WATCHDOG_USEC": str(watchdog_us),
        }
        environment.pop("WATCHDOG_PID", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tandem.tools.main", "run", "fake"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, word: str, seconds: float = 20.0) -> None:
        """Listen until `word` was said."""
        deadline = time.monotonic() + seconds
        while not any(word in words for words in self.heard):
            assert time.monotonic() < deadline, f"{word} was not said: {self.heard}"
            self.listen()

    def fed(self) -> float:
        """Listen until the watchdog is fed once more; when, s."""
        n = len(self.heard)
        while not any("WATCHDOG=1" in words for words in self.heard[n:]):
            self.listen()
        return time.monotonic()

    def listen(self) -> None:
        try:
            self.heard.append(self._socket.recv(4096).decode())
        except TimeoutError:
            assert self.process.poll() is None, self.process.communicate()[0]

    def end(self) -> str:
        self.process.kill()
        out, _ = self.process.communicate(timeout=20)
        self._socket.close()
        return out


@pytest.mark.process
def test_the_daemon_tells_systemd_its_story(base: Path) -> None:
    """Ready once holding, alive twice a period, a part's death survived, stopping at SIGTERM."""
    daemon = Daemon(base, watchdog_us=400_000)
    try:
        daemon.until("READY=1")
        assert len(daemon.heard) == 1, "something was said before READY=1"
        daemon.until("STATUS=hold: no task")
        (found,) = running(base / "run")
        os.kill(found.holder.children["executor"], signal.SIGKILL)
        daemon.until("STATUS=without executor, starting again")
        daemon.heard = [daemon.heard[-1]]
        daemon.until("WATCHDOG=1")  # we live, though a part of us does not
        daemon.heard = [words for words in daemon.heard if "hold" not in words]
        daemon.until("STATUS=hold: no task")
        begun_s = time.monotonic()
        while _waiting(daemon):
            daemon.listen()
        fed_s = [daemon.fed() for _ in range(16)]  # 0.2 s apart, but where somebody stood still
        assert fed_s[-1] - begun_s > 2.4
        assert np.median(np.diff(fed_s)) < 0.3
        daemon.process.send_signal(signal.SIGTERM)
        daemon.until("STOPPING=1")
        assert daemon.process.wait(20) == 0
        assert not any("READY=1" in words for words in daemon.heard)
        assert running(base / "run") == []
    finally:
        out = daemon.end()
    assert "Traceback" not in out


@pytest.mark.process
def test_a_frozen_supervisor_starves_the_watchdog_and_its_executor_leaves(base: Path) -> None:
    """The silence that systemd acts on, and the leaving that ExecStopPost waits for."""
    daemon = Daemon(base, watchdog_us=400_000)
    try:
        daemon.until("READY=1")
        (found,) = running(base / "run")
        pid = found.holder.children["executor"]
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        while _waiting(daemon):  # what was said before it froze
            daemon.listen()
        time.sleep(1.0)
        assert not _waiting(daemon)
        daemon.process.kill()  # as systemd then does
        deadline = time.monotonic() + 4.0
        while Path(f"/proc/{pid}/stat").exists() and not _is_zombie(pid):
            assert time.monotonic() < deadline, "the executor outlives its supervisor"
            time.sleep(0.05)
    finally:
        daemon.end()


def _waiting(daemon: Daemon) -> bool:
    return bool(select.select([daemon._socket], [], [], 0)[0])


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_folder_made_for_a_group_is_shared_with_it_and_with_nobody_else(base: Path) -> None:
    base.chmod(0o770)
    held = RuntimeFolder(base / "cell_a", "cell_a", "a.yaml")
    try:
        assert held.path.stat().st_mode & 0o777 == 0o770
        assert (held.path / "daemon.lock").stat().st_mode & 0o007 == 0
    finally:
        held.remove()
    base.chmod(0o700)
    assert prepare_runtime_dir(base / "cell_b").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")
@pytest.mark.parametrize(
    ("member", "sees"), [(True, "['cell_a']"), (False, "join it: sudo usermod")]
)
def test_members_of_the_group_find_the_daemon_and_others_do_not(
    base: Path, member: bool, sees: str
) -> None:
    os.chown(base, -1, _OTHER_UID)
    base.chmod(0o770)
    held = RuntimeFolder(base / "cell_a", "cell_a", "a.yaml")
    os.chown(held.path, -1, _OTHER_UID)
    os.chown(held.path / "daemon.lock", -1, _OTHER_UID)
    code = (
        "import os, sys; from pathlib import Path; from tandem.runtime.folder import running;"
        "from tandem.runtime.rundir import prepare_runtime_dir;"
        f"os.setgroups([]); os.setgid({_OTHER_UID if member else _OTHER_UID + 1});"
        f"os.setuid({_OTHER_UID + 2}); base = Path({str(base)!r});"
        "found = running(base); prepare_runtime_dir(base / 'cell_a');"
        "print([d.holder.robot for d in found])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    held.remove()
    assert sees in answer.stdout + answer.stderr
