"""Policy and operator take turns at a running daemon in the simulator, whose own record is the law.

System 1 is scripted (a sweep of all joints), so that nothing depends on weights.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
from tandem.drivers.sim.blackbox import extremes_of
from tandem.runtime import arm_file, config
from tandem.tools.faults.rig import Rig

from tests.tools.teleop_terminal import Operator

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def operator(rig: Rig) -> Iterator[Operator]:
    operator = Operator(rig.base, "--want", "standby")
    operator.until_sees("· keyboard")
    yield operator
    operator.close()


def sweeping(rig: Rig) -> None:
    rig.until(lambda: rig.mode() in ("hold", "policy"), 10, "holding")
    rig.until(rig.is_ready, 30, "ready")
    rig.go()
    rig.watch(1.2)
    assert rig.mode() == "policy"


def kill_the_minds(rig: Rig) -> None:
    """As often as the supervisor starts them again, until the policy is lost."""

    def lost() -> bool:
        for role, pid in rig.pids().items():
            if role in ("s1", "s2"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return rig.mode() != "policy"

    rig.until(lost, 10, "lost")


def test_with_both_minds_dead_the_arm_is_in_the_operators_hand(rig, operator):
    """In standby with the dead-man held; the commands never pause, and the hand moves the arm."""
    sweeping(rig)
    operator.down("space")
    operator.until_sees("you have the arm")
    kill_the_minds(rig)
    assert rig.mode() == "teleop", rig.said()
    operator.until_sees("you drive")
    begin = rig.state.q_cmd
    operator.down("a")
    rig.watch(0.6)
    assert abs(rig.state.q_cmd - begin).max() > 0.01
    operator.up("a")
    operator.up("space")
    rig.until(lambda: rig.mode() == "hold", 3, "holding")
    stamps_ns = np.array([state.t_ns for state in rig.states])
    modes = [state.mode for state in rig.states]
    around = slice(modes.index("policy"), len(modes) - 1 - modes[::-1].index("teleop"))
    assert np.diff(stamps_ns[around]).max() < 100e6


def test_an_absent_operator_is_called_and_gives_the_arm_back_on_purpose(rig, operator):
    """The bell rings, in reverse video; who takes over gives back with one key, in motion."""
    sweeping(rig)
    operator.forget()
    kill_the_minds(rig)
    assert rig.mode() == "hold"
    operator.until_sees("take over with")
    assert b"\a" in operator.shown
    assert b"\x1b[7m starved" in operator.shown or b"\x1b[7m the conditioning" in operator.shown
    operator.tap("tab")
    operator.down("d")
    rig.until(lambda: rig.mode() == "teleop", 3, "driven by hand")
    rig.until(rig.is_ready, 30, "ready again")
    operator.tap("g")
    rig.until(lambda: rig.mode() == "policy", 8, "given back")
    operator.until_sees("the policy drives: sweep")
    operator.until_sees("want standby")
    rig.watch(0.5)
    assert rig.mode() == "policy", "the hand that still presses is in standby"
    operator.up("d")
    operator.tap("tab")
    operator.until_sees("want drive")
    time.sleep(0.2)
    operator.down("d")
    asked_s = time.monotonic()
    rig.until(lambda: rig.mode() == "teleop", 3, "taken over")
    assert time.monotonic() - asked_s < 1
    operator.up("d")
    rig.until(lambda: rig.mode() == "hold", 3, "holding")


def test_what_the_arm_followed_meanwhile_was_smooth(rig):
    """By the plant's own record, at its own rate, hand-overs included."""
    spec = arm_file.load(config.PACKAGED / "limits" / "panda.yaml").spec
    peaks = extremes_of(rig.record())
    assert peaks.rows > 5000
    assert (peaks.velocity <= spec.dq_max).all()
    assert (peaks.acceleration <= spec.ddq_max).all()
    assert (peaks.jerk <= spec.jerk_max).all()
