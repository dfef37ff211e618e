"""`tandem teleop` at a real pseudo-terminal, driving the arm of a running daemon."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.tools.teleop_terminal import FakeRobot, Operator, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]
MOVING = 0.02  # rad/s


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
        sitting.append(Operator(base, *options, kitty=kitty))
        if waits:
            sitting[-1].until_sees("· keyboard")
            robot.until(lambda s: s.operator is not None)
        return sitting[-1]

    yield sit
    for operator in sitting:
        operator.close()
    robot.until(lambda s: s.operator is None, 8)


def drives(operator: Operator, robot: FakeRobot, key: str = "a") -> None:
    operator.down(key)
    robot.until(lambda s: s.mode == "teleop" and abs(s.dq_cmd).max() > MOVING)


def stood(robot: FakeRobot) -> None:
    robot.until(lambda s: s.mode == "hold" and abs(s.dq_cmd).max() < 1e-6, 3)


def test_a_held_key_moves_the_arm_and_letting_go_stops_it(seats, robot):
    """And leaving gives back the lease, and the terminal as it was."""
    operator = seats("--name", "ann")
    assert robot.state.operator.startswith("ann/")
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
    until(lambda: operator.sees("\x1b[<u"), 3)
    assert operator.sees("\x1b[?25h")
    robot.until(lambda s: s.operator is None, 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_operator_who_vanishes_stops_the_arm_at_once(seats, robot, number):
    operator = seats()
    drives(operator, robot)
    time.sleep(0.2)
    cut_s = time.monotonic()
    os.kill(operator.process.pid, number)
    stood(robot)
    t_s, speeds = robot.speeds()
    at_rest = t_s[(t_s > cut_s) & (speeds < 1e-6)]
    assert at_rest[0] - cut_s < 0.1 + 0.3, "the age limit, and a stop"
    if number == signal.SIGKILL:
        robot.until(lambda s: s.operator is None, 1)  # a closed link gives the lease back
    else:
        time.sleep(0.2)
        os.kill(operator.process.pid, signal.SIGCONT)
        time.sleep(0.4)
        stood(robot)
        operator.until_sees("stood still for")
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
    robot.until(lambda s: s.operator is None, 2)


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
    robot.until(lambda s: s.operator is None, 3)
    operator.ends()


def test_without_key_releases_each_key_is_one_small_step(seats, robot):
    operator = seats("--frame", "joint", "--sensitivity", "1", kitty=False)
    assert operator.sees("one step of at most")
    begin = robot.state.q_cmd
    moved = []
    for _ in range(3):
        operator.tap("w")
        robot.until(lambda s: s.mode == "teleop")
        stood(robot)
        moved.append(float((robot.state.q_cmd - begin)[0]))
    steps = np.diff([0, *moved])
    assert (steps > np.radians(0.3)).all()
    assert (steps < np.radians(2)).all()


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
    time.sleep(0.1)  # until that is understood, too
    for key, grip in (("c", 0.0), ("v", 1.0)):
        operator.down(key)
        robot.until(lambda s, grip=grip: s.gripper_cmd == grip, 3)
        operator.up(key)
        stood(robot)


def test_one_operator_at_a_time_and_a_frozen_one_is_replaced(seats, robot):
    """The others are told who; a frozen one's sockets stay open, the next is heard all the same."""
    ann = seats("--name", "ann")
    bob = seats("--name", "bob", waits=False)
    drives(ann, robot)
    assert bob.ends(15) == 1
    until(lambda: bob.sees("holds the lease"), 3)
    assert bob.sees(f"ann/{ann.process.pid}")
    assert bob.settings_now() == bob.before
    assert robot.state.mode == "teleop", "of all that ann has noticed nothing"
    os.kill(ann.process.pid, signal.SIGSTOP)
    stood(robot)
    bob = seats("--name", "bob")
    robot.until(lambda s: (s.operator or "").startswith("bob/"))  # nobody, for a moment
    drives(bob, robot)
    os.kill(ann.process.pid, signal.SIGCONT)
    assert ann.ends() == 1, "who wakes up cannot drive again"
    until(lambda: ann.sees("bob/"), 3)
    assert robot.state.mode == "teleop"
    bob.up("a")
    stood(robot)
