"""`tandem teleop` at a real pseudo-terminal, driving the arm of a running daemon."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tandem.runtime import streams
from tandem.runtime.errors import TandemError

from tests.tools.teleop_terminal import FakeRobot, Operator, presses

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]
MOVING = 0.02  # rad/s
GIVES_BACK_S = 3.0  # well before the lease of somebody who is only silent ends


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tandem-t-", dir="/dev/shm") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def robot(base: Path) -> Iterator[FakeRobot]:
    robot = FakeRobot(base)
    yield robot
    robot.close()


@pytest.fixture
def seats(base: Path, robot: FakeRobot) -> Iterator[Callable[..., Operator]]:
    """Sit down at terminals; all are cleared away afterwards."""
    sitting: list[Operator] = []

    def sit(*options: str, kitty: bool = True, waits: bool = True) -> Operator:
        sitting.append(operator := Operator(base, *options, kitty=kitty))
        if waits:
            operator.until_sees("· keyboard")
            robot.until(lambda s: (s.operator or "").endswith(f"/{operator.process.pid}"))
        return operator

    yield sit
    for operator in sitting:
        operator.close()
    robot.until(lambda s: s.operator is None, 8)


def drives(operator: Operator, robot: FakeRobot, key: str = "a") -> None:
    moves = partial(robot.until, lambda s: s.mode == "teleop" and abs(s.dq_cmd).max() > MOVING, 3)
    presses(operator, key, moves)


def stood(robot: FakeRobot, since_s: float = 0.0) -> None:
    robot.until(
        lambda s: s.mode == "hold" and abs(s.dq_cmd).max() < 1e-6 and s.t_ns / 1e9 > since_s
    )


def test_a_held_key_moves_the_arm_and_letting_go_stops_it(seats, robot):
    """And leaving gives back the lease, and the terminal as it was."""
    operator = seats("--name", "ann")
    assert (robot.state.operator or "").startswith("ann/")
    begin = robot.state.q_cmd
    drives(operator, robot)
    time.sleep(0.3)
    operator.up("a")
    stood(robot)
    assert abs(robot.state.q_cmd - begin).max() > 0.01
    assert operator.settings_now() != operator.before, "raw"
    operator.tap("q")
    assert operator.ends() == 0
    assert operator.settings_now() == operator.before
    operator.until_sees("\x1b[<u")
    operator.until_sees("\x1b[?25h")
    robot.until(lambda s: s.operator is None, GIVES_BACK_S)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_operator_who_vanishes_stops_the_arm_at_once(seats, robot, number):
    operator = seats()
    drives(operator, robot)
    time.sleep(0.2)
    os.kill(operator.process.pid, number)
    cut_s = time.monotonic()
    stood(robot, cut_s)
    t_s, speeds = robot.speeds()
    ticks = int(np.argmax(speeds[t_s > cut_s] < 1e-6))  # an executor that is starved makes fewer
    assert ticks / streams.STATE.rate_hz < 0.1 + 0.3, "the age limit, and a stop"
    if number == signal.SIGKILL:  # a closed link gives the lease back
        robot.until(lambda s: s.operator is None, GIVES_BACK_S)
    else:
        time.sleep(0.2)
        operator.forget()
        os.kill(operator.process.pid, signal.SIGCONT)
        operator.until_sees("stood still for")
        time.sleep(0.4)
        stood(robot)
        operator.up("a")
        time.sleep(0.1)
        drives(operator, robot)
        operator.up("a")
        stood(robot)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_every_polite_signal_stops_restores_and_releases(seats, robot, number):
    operator = seats()
    drives(operator, robot)
    os.kill(operator.process.pid, number)
    stood(robot)
    assert operator.ends() == 0
    assert operator.settings_now() == operator.before
    robot.until(lambda s: s.operator is None, GIVES_BACK_S)


def test_a_terminal_that_falls_silent_is_a_link_that_is_lost(seats, robot):
    """Over ssh a cut network sends no key release; but no answers either."""
    operator = seats()
    drives(operator, robot)
    operator.linked = False
    stood(robot)


def test_a_closed_window_stops_the_arm_and_gives_the_lease_back(seats, robot):
    operator = seats()
    drives(operator, robot)
    operator.hang_up()
    stood(robot)
    robot.until(lambda s: s.operator is None, GIVES_BACK_S)
    operator.ends()


def test_without_key_releases_each_key_is_one_small_step(seats, robot):
    operator = seats("--frame", "joint", "--sensitivity", "1", kitty=False)
    operator.until_sees("one step of at most")
    steps = [step(operator, robot) for _ in range(3)]
    assert np.median(steps) > np.radians(0.3)
    assert max(steps) < np.radians(2)


def step(operator: Operator, robot: FakeRobot) -> float:
    """Of joint 1, rad; who has stood still for a moment wants the key again."""
    begin = robot.state.q_cmd[0]
    for _ in range(4):
        before = len(robot.look())
        operator.tap("w")
        with contextlib.suppress(TandemError):
            robot.until(lambda _, n=before: any(s.mode == "teleop" for s in robot.states[n:]), 3)
            break
    stood(robot)
    return float(robot.state.q_cmd[0] - begin)


def test_standby_drives_nothing_until_it_is_asked_for_and_then_grips_too(seats, robot):
    operator = seats("--want", "standby")
    begin = robot.state.q_cmd
    operator.down("a")
    time.sleep(0.3)
    assert robot.state.mode == "hold"
    assert np.allclose(robot.state.q_cmd, begin)
    operator.up("a")
    operator.tap("tab")
    operator.until_sees("want drive")
    drives(operator, robot)
    operator.tap("h")
    stood(robot)
    time.sleep(0.3)
    assert robot.state.mode == "hold", "a hand that still presses after a hold"
    operator.until_sees("holding: at rest within")
    operator.up("a")
    for key, grip in (("c", 0.0), ("v", 1.0)):
        operator.forget()
        operator.until_sees("nobody presses")
        presses(operator, key, partial(robot.until, lambda s, g=grip: s.gripper_cmd == g, 3))
        operator.up(key)
        stood(robot)


def test_one_operator_at_a_time_and_a_frozen_one_is_replaced(seats, robot):
    """The others are told who; a frozen one's sockets stay open, the next is heard all the same.

    Of others a driver notices nothing; but a machine that stands still stops anybody: then again.
    """
    assert any(replaced(seats, robot) for _ in range(3)), "who drives is interrupted"


def replaced(seats, robot) -> bool:
    """Ann drives, Bob is refused, Ann freezes, Bob drives; and did both without a pause?"""
    ann = seats("--name", "ann")
    drives(ann, robot)
    begun = len(robot.look())
    bob = seats("--name", "bob", waits=False)
    assert bob.ends(15) == 1
    bob.until_sees("holds the lease")
    assert bob.sees(f"ann/{ann.process.pid}")
    assert bob.settings_now() == bob.before
    driven = robot.look()[begun:]
    os.kill(ann.process.pid, signal.SIGSTOP)
    stood(robot)
    bob = seats("--name", "bob")
    drives(bob, robot)
    begun = len(robot.look())
    os.kill(ann.process.pid, signal.SIGCONT)
    assert ann.ends() == 1, "who wakes up cannot drive again"
    ann.until_sees("bob/")
    driven += robot.look()[begun:]
    bob.tap("q")
    assert bob.ends() == 0
    stood(robot)
    return all(state.mode == "teleop" for state in driven)
