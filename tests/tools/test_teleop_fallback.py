"""Policy and operator take turns at a running daemon in the simulator, whose own record is the law.

System 1 is scripted (a sweep of all joints), so that nothing depends on weights.
"""

import contextlib
import os
import re
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from tandem.drivers.sim.blackbox import extremes_of
from tandem.runtime import arm_file, config
from tandem.tools.faults.rig import Rig

from tests.tools.teleop_terminal import Operator, presses

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
    """Under way; a starved machine loses the policy, and is asked again."""
    for _ in range(4):
        rig.until(lambda: rig.mode() in ("hold", "policy"), 10, "holding")
        rig.until(rig.is_ready, 30, "ready")
        rig.until(lambda: rig.go() is None, 10, "engaged")
        rig.watch(1.2)
        if rig.mode() == "policy":
            return
    raise AssertionError(rig.said())


def until_mode(rig: Rig, mode: str, seconds: float = 10.0) -> None:
    rig.until(lambda: rig.mode() == mode, seconds, mode)


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
    """In standby with the dead-man held; the commands never pause, and the hand moves the arm.

    A machine that stands still for 0.1 s takes the arm from anybody: then once more.
    """
    for _ in range(3):
        if not (problem := taken_over(rig, operator)):
            break
    assert not problem, rig.said()


def taken_over(rig: Rig, operator: Operator) -> str:
    """What went wrong."""
    rig.states.clear()
    sweeping(rig)
    operator.forget()
    presses(operator, "space", lambda: operator.until_sees("you have the arm", 3))
    kill_the_minds(rig)
    given, begin = rig.mode() == "teleop", rig.state.q_cmd
    if given:
        operator.until_sees("you drive")
        operator.down("a")
        rig.watch(0.6)
    operator.up("a", "space")
    until_mode(rig, "hold")
    if not given:
        return "nobody was given the arm"
    if abs(rig.state.q_cmd - begin).max() < 0.01:
        return "the hand does not move the arm"
    stamps_ns = np.array([state.t_ns for state in rig.states])
    modes = [state.mode for state in rig.states]
    around = slice(modes.index("policy"), len(modes) - 1 - modes[::-1].index("teleop"))
    return "a pause" if np.diff(stamps_ns[around]).max() >= 100e6 else ""


def test_an_absent_operator_is_called_and_gives_the_arm_back_on_purpose(rig, operator):
    """The bell rings, in reverse video; who takes over gives back with one key, in motion."""
    sweeping(rig)
    operator.forget()
    kill_the_minds(rig)
    assert rig.mode() == "hold"
    operator.until_sees("take over with")
    operator.until_sees("\a")
    assert re.search(rb"\x1b\[7m (starved|the conditioning|the executor was away)", operator.shown)
    operator.tap("tab")
    presses(operator, "d", lambda: until_mode(rig, "teleop", 3))
    rig.until(rig.is_ready, 30, "ready again")
    operator.forget()
    presses(operator, "g", lambda: until_mode(rig, "policy", 8))
    operator.until_sees("the policy drives: sweep")
    operator.until_sees("want standby")
    rig.watch(0.5)
    assert rig.mode() != "teleop", "the hand that still presses is in standby"
    operator.forget()
    operator.up("d")
    operator.tap("tab")
    operator.until_sees("want drive")
    presses(operator, "d", lambda: until_mode(rig, "teleop", 1))
    operator.up("d")
    until_mode(rig, "hold")


def test_what_the_arm_followed_meanwhile_was_smooth(rig):
    """By the plant's own record, at its own rate, hand-overs included."""
    spec = arm_file.load(config.PACKAGED / "limits" / "panda.yaml").spec
    peaks = extremes_of(rig.record())
    assert peaks.rows > 5000
    assert (peaks.velocity <= spec.dq_max).all()
    assert (peaks.acceleration <= spec.ddq_max).all()
    assert (peaks.jerk <= spec.jerk_max).all()
