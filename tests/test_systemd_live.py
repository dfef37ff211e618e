"""The service under a systemd of its own: process 1 of its own namespaces, on an overlay of this
machine that is thrown away. Skipped where root may not make such a thing.

1. `make service`'s files are installed, the user is made, the unit starts: active means holding.
2. The supervisor is killed: systemd starts it again, and it holds again.
3. `systemctl stop` ends all of it, in order, and that is a success.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tandem.runtime import config

ROOT = Path(__file__).parent.parent
SYSTEMD = Path("/lib/systemd/systemd")
TOOLS = ("unshare", "nsenter", "systemd-sysusers", "systemd-tmpfiles", "systemctl", "setpriv")
BOOT = """
set -e
base=$0 repository=$1 python=$2 robot=$3 root=$0/root
mkdir -p $base/above $base/work $root
mount -t overlay overlay -o lowerdir=/,upperdir=$base/above,workdir=$base/work $root
for place in $repository $python; do
    mkdir -p $root$place; mount --bind $place $root$place
    way=$root$(dirname $place)
    while [ $way != $root ]; do chmod o+x $way; way=$(dirname $way); done
done
mount -t proc proc $root/proc
mount --rbind /sys $root/sys; mount -t cgroup2 none $root/sys/fs/cgroup
mount --rbind /dev $root/dev
for place in run tmp dev/shm; do mount -t tmpfs tmpfs $root/$place; done
rm -rf $root/etc/systemd/system/*; : > $root/etc/fstab
target=$root/etc/systemd/system/alone.target
printf '[Unit]\\nRequires=sysinit.target\\nAfter=sysinit.target\\n' > $target
for name in udevd udev-trigger timesyncd networkd resolved remount-fs sysctl modules-load; do
    ln -s /dev/null $root/etc/systemd/system/systemd-$name.service
done
make -s -C $repository service DESTDIR=$root
ln -sfn $(dirname $(dirname $4)) $root/opt/tandem
mkdir -p $root/etc/tandem; cp $robot $root/etc/tandem/cell_a.yaml
chroot $root systemd-sysusers tandem.conf
exec chroot $root env -i container=other PATH=$PATH /lib/systemd/systemd --unit=alone.target
"""
pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.skipif(
        not SYSTEMD.exists() or any(shutil.which(tool) is None for tool in TOOLS),
        reason="apt-get install systemd util-linux",
    ),
]


def own_group() -> Path:
    """A control group in which that systemd may make its own."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [words[1] for words in mounts if words[2] == "cgroup2"]
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    ours = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
    if not roots or not ours:
        pytest.skip("no cgroup2 is mounted here")
    group = Path(roots[0]) / ours[0].lstrip("/") / f"tandem-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group may be made here: {error}")
    return group


class Machine:
    """A systemd that is process 1 where it is, and what can be asked of it."""

    def __init__(self, base: Path) -> None:
        self._log = (base / "boot.log").open("wb")
        raw = yaml.safe_load((config.PACKAGED / "fake.yaml").read_text())
        raw["robot"]["limits"]["file"] = str(config.PACKAGED / "limits" / "panda.yaml")
        (base / "robot.yaml").write_text(yaml.safe_dump(raw))
        self._group = own_group()
        join = f'echo $$ > {self._group}/cgroup.procs; exec unshare --cgroup $0 "$@"'
        spaces = ("--fork", "--pid", "--mount", "--uts", "--ipc", "--kill-child")
        words = (base, ROOT, Path(sys.base_prefix).resolve(), base / "robot.yaml", sys.executable)
        self._outside = subprocess.Popen(
            ["bash", "-c", join, *spaces, "bash", "-c", BOOT, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def pid(self) -> int | None:
        """Of the systemd, as it is called out here."""
        children = Path(f"/proc/{self._outside.pid}/task/{self._outside.pid}/children")
        with contextlib.suppress(OSError):  # it has just ended
            found = children.read_text().split()
            if found and Path(f"/proc/{found[0]}/comm").read_text().strip() == "systemd":
                return int(found[0])
        return None

    def ended(self) -> bool:
        return self._outside.poll() is not None

    def ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        inside = ["nsenter", "-t", str(self.pid()), "-m", "-p", "-C", "-u", "-i", "-r", "-w"]
        return subprocess.run([*inside, *words], capture_output=True, text=True, timeout=60)

    def shows(self, key: str) -> str:
        unit = "tandem@cell_a"
        return self.ask("systemctl", "show", unit, "-p", key, "--value").stdout.strip()

    def close(self) -> None:
        self._outside.send_signal(signal.SIGKILL)  # its child, process 1, goes with it, and all
        self._outside.wait()
        self._log.close()
        end_s = time.monotonic() + 5.0
        while self._group.exists() and time.monotonic() < end_s:
            for group, _, _ in os.walk(self._group, topdown=False):
                with contextlib.suppress(OSError):  # until the last of them is gone
                    os.rmdir(group)
            time.sleep(0.05)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="tandem-sd-", dir="/dev/shm") as base:
        machine = Machine(Path(base))
        try:
            log = Path(base) / "boot.log"
            while machine.pid() is None or not machine.ask("systemctl", "show").stdout:
                if machine.ended():
                    pytest.skip(f"no systemd may run here: {log.read_text()[-300:]}")
                time.sleep(0.2)
            yield machine
        finally:
            machine.close()


def until(machine: Machine, key: str, wanted: str, seconds: float = 60.0) -> None:
    end_s = time.monotonic() + seconds
    while not (told := machine.shows(key)).startswith(wanted):  # inactive is not active
        assert time.monotonic() < end_s, (key, told, machine.ask("journalctl", "-n20").stdout)
        time.sleep(0.1)


def test_the_service_lives_dies_and_lives_again(machine: Machine) -> None:
    machine.ask("systemd-tmpfiles", "--create", "tandem.conf")
    answer = machine.ask("systemctl", "start", "tandem@cell_a")
    if machine.shows("ExecMainStatus") == "203":
        pytest.skip("this interpreter is where only its owner may read")
    assert answer.returncode == 0, answer.stderr
    until(machine, "StatusText", "hold: no task")
    pid = machine.shows("MainPID")
    assert machine.ask("stat", "-c", "%U %a", "/run/tandem").stdout.split() == ["tandem", "770"]
    status = ("setpriv", "--reuid", "tandem", "--regid", "tandem", "--init-groups", "env")
    words = ("TANDEM_RUNTIME_DIR=/run/tandem", "/opt/tandem/bin/tandem", "status")
    assert "hold (the arm is ready)" in machine.ask(*status, *words).stdout
    machine.ask("kill", "-9", pid)
    until(machine, "NRestarts", "1")
    until(machine, "ActiveState", "active")
    until(machine, "StatusText", "hold: no task")
    assert machine.shows("MainPID") != pid
    assert machine.ask("systemctl", "stop", "tandem@cell_a").returncode == 0
    assert (machine.shows("ActiveState"), machine.shows("Result")) == ("inactive", "success")
