"""How a daemon may end, or not even begin: signals at random moments, its own death, bad ground."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import pytest
from tandem.drivers.sim import blackbox
from tandem.drivers.sim.panda import panda_spec
from tandem.runtime.messages import Event
from tandem.tools.faults import inject
from tandem.tools.faults.campaign import BRAKING
from tandem.tools.faults.daemon import CONFIG
from tandem.tools.faults.motion import sweep
from tandem.tools.faults.rig import Rig
from tandem.tools.faults.sweep import RAMP_S
from tandem.tools.faults.verdict import Path as Followed
from tandem.tools.faults.verdict import Stop, judge

pytestmark = pytest.mark.process
_RNG = random.Random()
_TICKS_S, _LEAD_S = 0.02, 0.01


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.end()
    assert not _left(made), "processes were left behind"


def _left(rig: Rig) -> list[int]:
    """Ids of processes of this daemon that still run."""
    ours = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(rig.base).encode() in entry.read_bytes():
                ours.append(int(entry.parent.name))
    return ours


def _gone_within(rig: Rig, seconds: float) -> bool:
    deadline_s = time.monotonic() + seconds
    while _left(rig) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return not _left(rig)


def _sweep(rig: Rig) -> None:
    rig.start()
    sweep(rig, RAMP_S + _RNG.uniform(0.1, 0.6), fast_rad_s=0.4)


def _stop(record: blackbox.Record, t_fault_ns: int, within_s: float) -> Stop:
    """The stop in the record, braking from the first moment at which it slowed for good."""
    newest = record.era == record.era[-1]
    path = Followed(record.t_ns[newest], record.q[newest])
    return judge(path, panda_spec(), BRAKING, t_fault_ns, t_fault_ns + round(within_s * 1e9))


def _stopping(rig: Rig, since_ns: int) -> list[Event]:
    """The executor's word that it brakes."""
    return [e for e in rig.events if e.t_ns >= since_ns and "→ stopping" in e.text]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_motion_brakes_then_ends(rig: Rig, number: int) -> None:
    """1. The supervisor asks the executor to stop. 2. Rest. 3. All end. 4. Nothing is left."""
    _sweep(rig)
    with rig.kept_record() as record:
        t_fault_ns = time.monotonic_ns()
        rig.signal(number)
        rig.until(lambda: bool(_stopping(rig, t_fault_ns)), 10.0, "stopping")
        assert rig.wait() == 0, rig.said()
        began_s = (_stopping(rig, t_fault_ns)[0].t_ns - t_fault_ns) / 1e9 + _LEAD_S
        stop = _stop(record(), t_fault_ns, within_s=began_s)
    assert stop.fastest_rad_s > 0.2
    # Sent by the supervisor at its next look, taken at the executor's next tick; or both starve.
    assert began_s < 4.0
    assert stop.braking_s < stop.allowed_s + _TICKS_S
    assert stop.extremes.inside
    assert not rig.folder.exists()


def test_ctrl_c_twice_ends_at_once_and_the_arm_brakes_by_itself(rig: Rig) -> None:
    _sweep(rig)
    with rig.kept_record() as record:
        t_fault_ns = time.monotonic_ns()
        rig.signal(signal.SIGINT)
        time.sleep(0.005)
        rig.signal(signal.SIGINT)
        rig.wait(30)
        followed = record()
    assert _gone_within(rig, 20)
    # The simulated arm dies with its process: only what it followed until then can be judged.
    before = followed.between(t_fault_ns - 500_000_000, 1 << 62)
    assert len(before.t_ns) > 400


def test_a_signal_while_starting_leaves_nothing(rig: Rig) -> None:
    rig.launch()
    time.sleep(_RNG.uniform(0.2, 2.0))
    rig.signal(_RNG.choice([signal.SIGINT, signal.SIGTERM]))
    rig.wait(40)
    assert _gone_within(rig, 20), rig.said()
    assert not rig.folder.exists()


def test_a_killed_supervisor_leaves_an_arm_at_rest_and_room_for_the_next(rig: Rig) -> None:
    """The executor loses its line, brakes, and leaves; so do the others; a new daemon starts."""
    _sweep(rig)
    with rig.kept_record() as record:
        inject.kill(rig.pid)
        t_fault_ns = time.monotonic_ns()
        rig.wait(20)
        assert _gone_within(rig, 20)
        followed = record()
    moving = abs(followed.dq).max(axis=1) > 1e-4
    t_rest_ns = int(followed.t_ns[moving][-1])
    assert t_rest_ns - t_fault_ns < 500_000_000, "the arm went on without a supervisor"
    assert _stop(followed, t_fault_ns, within_s=0.0).extremes.inside
    rig.start()
    assert rig.is_ready()


def test_a_wrong_key_is_named_before_anything_starts(rig: Rig) -> None:
    rig.config = deepcopy(CONFIG)
    rig.config["robot"]["limitz"] = rig.config["robot"].pop("limits")
    said = subprocess.run(
        rig.command, env=rig.environment, capture_output=True, timeout=30, check=False
    )
    assert said.returncode != 0
    assert b"robot.limitz" in said.stderr
    assert b"robot.limits" in said.stderr
    assert b"Traceback" not in said.stderr
    assert not rig.folder.exists()


def test_a_policy_that_cannot_be_loaded_is_named_and_nothing_is_left(rig: Rig) -> None:
    rig.config = deepcopy(CONFIG)
    rig.config["s1"]["policy"] = "tandem.tools.faults.sweep:Sweeep"
    rig.launch()
    assert rig.wait(60) != 0
    assert "Sweeep" in rig.said()
    assert _gone_within(rig, 20)
    assert not rig.folder.exists()


def test_a_runtime_folder_that_cannot_be_made_is_told(rig: Rig, tmp_path: Path) -> None:
    """Nobody may write below a plain file, not even root."""
    blocked = tmp_path / "file"
    blocked.touch()
    environment = rig.environment | {"TANDEM_RUNTIME_DIR": str(blocked)}
    said = subprocess.run(
        rig.command, env=environment, capture_output=True, timeout=30, check=False
    )
    assert said.returncode != 0
    assert str(blocked).encode() in said.stderr
    assert b"Traceback" not in said.stderr, said.stderr.decode()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv drops the permission")
def test_without_real_time_it_runs_all_the_same_and_says_how_to_get_it(rig: Rig) -> None:
    dropped = ["setpriv", "--inh-caps=-all", "--bounding-set=-sys_nice,-ipc_lock,-sys_admin"]
    dropped += ["prlimit", "--rtprio=0:0"] if shutil.which("prlimit") else []
    rig.wrap = dropped if os.getuid() == 0 else dropped[3:]
    _sweep(rig)
    assert rig.mode() == "policy"
    granted = rig.status()["children"]["executor"]["facts"]
    assert "refused" in str(granted).lower(), granted
    rig.hold()
    rig.until(lambda: rig.mode() == "hold", 10.0, "in hold")
