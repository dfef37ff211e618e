"""The emulated robot's own judgement, without sockets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.tools.fci_emulator.body import Kinematic
from tandem.tools.fci_emulator.dialect import Error, RobotMode
from tandem.tools.fci_emulator.judge import MAX_LOST, TICK_S, Judge
from tandem.tools.fci_emulator.models import FER, FR3, START_Q
from tandem.tools.fci_emulator.robot import Robot

shares = st.lists(st.floats(-0.9, 0.9), min_size=7, max_size=7).map(np.array)


def ramp(judge: Judge, jerk: np.ndarray, ticks: int) -> Error | None:
    """Drive at a constant jerk [7] for so many milliseconds."""
    q, dq, ddq = judge.q.copy(), judge.dq.copy(), judge.ddq.copy()
    for _ in range(ticks):
        ddq = ddq + jerk * TICK_S
        dq = dq + ddq * TICK_S
        q = q + dq * TICK_S
        if error := judge.command(q):
            return error
    return None


@pytest.mark.parametrize("model", [FER, FR3], ids=lambda m: m.name)
@settings(deadline=None, max_examples=50)
@given(share=shares)
def test_what_stays_inside_is_followed_and_its_share_is_kept(model, share):
    judge = Judge(model, START_Q)
    assert ramp(judge, share * model.jerk_max, 1) is None
    assert judge.tally.peaks.jerk == pytest.approx(abs(share).max(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("joint", range(7))
def test_each_limit_has_its_own_error(joint):
    axis = np.eye(7)[joint]
    judge = Judge(FER, START_Q)
    assert ramp(judge, 1.05 * axis * FER.jerk_max, 1) is Error.MG_ACCELERATION_DISCONTINUITY
    judge = Judge(FER, START_Q)
    gentle = 0.5 * axis * FER.jerk_max
    ticks = 2 + round(FER.ddq_max[joint] / gentle[joint] / TICK_S)
    assert ramp(judge, gentle, ticks) is Error.MG_VELOCITY_DISCONTINUITY
    judge = Judge(FER, START_Q)
    soft = axis * FER.ddq_max * 0.5  # reaches its top speed long before its top acceleration
    assert ramp(judge, soft, 2000) in (Error.MG_VELOCITY_LIMITS, Error.MG_POSITION_LIMITS)


def test_an_fr3_must_be_slower_near_the_end_of_its_range():
    slowest, fastest = FR3.dq_range(FR3.q_max - 1e-3)
    assert (fastest == 0).all()
    assert (slowest < -1).all()
    slowest, fastest = FR3.dq_range((FR3.q_min + FR3.q_max) / 2)
    assert (fastest[[0, 2]] == FR3.dq_max[[0, 2]]).all()


@settings(deadline=None, max_examples=30)
@given(share=shares, count=st.integers(1, MAX_LOST - 1))
def test_lost_packets_are_extrapolated_at_constant_acceleration(share, count):
    judge = Judge(FR3, START_Q)
    ramp(judge, share * 100, 20)
    q, dq, ddq = judge.q.copy(), judge.dq.copy(), judge.ddq.copy()
    for _ in range(count):
        assert judge.lose() is None
    n = np.arange(1, count + 1)
    expected = q + dq * TICK_S * count + ddq * TICK_S**2 * n.sum()
    np.testing.assert_allclose(judge.q, expected, atol=1e-12)
    assert judge.tally.longest_loss == count


def test_the_twentieth_lost_packet_in_a_row_is_one_too_many():
    judge = Judge(FR3, START_Q)
    judge.command(START_Q)
    results = [judge.lose() for _ in range(MAX_LOST)]
    assert results[:-1] == [None] * (MAX_LOST - 1)
    assert results[-1] is Error.COMMUNICATION


def test_the_robots_own_stop_keeps_its_acceleration_limit():
    judge = Judge(FR3, START_Q)
    ramp(judge, np.full(7, 200.0), 40)
    speeds = [judge.dq]
    while not judge.brake():
        speeds.append(judge.dq)
    steps = np.abs(np.diff(np.array(speeds), axis=0)) / TICK_S
    assert (steps <= FR3.ddq_max + 1e-6).all()


@settings(deadline=None, max_examples=30)
@given(rows=st.lists(shares, min_size=1, max_size=6))
def test_velocities_are_judged_as_the_positions_that_they_add_up_to(rows):
    by_velocity, by_position = Judge(FR3, START_Q), Judge(FR3, START_Q)
    q = START_Q.copy()
    for row in rows:
        dq = row * 5e-3  # up to 10 rad/s² and twice the jerk
        q = q + dq * TICK_S
        error = by_velocity.command_velocity(dq)
        assert error is by_position.command(q)
        if error is not None:
            break
    assert by_velocity.q == pytest.approx(by_position.q, abs=1e-12)
    assert by_velocity.tally.peaks.jerk == pytest.approx(by_position.tally.peaks.jerk, abs=1e-4)


def moving_robot(generator: int = 0) -> Robot:
    robot = Robot(FR3, Kinematic(START_Q))
    robot.handle("Move", 7, FR3.dialect.move.pack(0, generator, *[0.0] * 6, 0, *[0.0] * 7))
    assert [(r.word, r.request_id) for r in robot.outbox] == [("MotionStarted", 7)]
    robot.outbox.clear()
    return robot


def command(q: np.ndarray, last: bool = False) -> np.ndarray:
    row = np.zeros((), FR3.dialect.command)
    row["q_c"], row["motion_finished"] = q, last
    return row


def test_a_motion_ends_with_the_state_before_the_reply():
    robot = moving_robot()
    robot.tick(command(START_Q))
    assert robot.mode is RobotMode.MOVE
    robot.tick(command(START_Q, last=True))
    assert (robot.mode, robot.listening) == (RobotMode.IDLE, False)
    assert [r.word for r in robot.outbox] == ["Success"]


def test_a_motion_of_velocities_must_end_at_rest():
    for speed, word in ((1e-5, "Success"), (0.02, "Reflex")):
        robot = moving_robot(generator=1)
        for last in (False,) * 20 + (True,):
            row = np.zeros((), FR3.dialect.command)
            row["dq_c"] = robot.judge.dq + speed / 20 * (not last)
            row["motion_finished"] = last
            robot.tick(row)
        assert [r.word for r in robot.outbox] == [word]
        assert bool(robot.judge.tally.violations) is (word == "Reflex")


def test_a_leap_is_a_reflex_that_stays_until_recovery():
    robot = moving_robot()
    robot.tick(command(START_Q))
    robot.tick(command(START_Q + 0.05))
    assert robot.mode is RobotMode.REFLEX
    state = np.frombuffer(robot.state(1), FR3.dialect.state)[0]
    assert state["errors"].nonzero()[0].tolist() == [Error.MG_VELOCITY_LIMITS]
    assert [r.word for r in robot.outbox] == ["Reflex"]
    robot.outbox.clear()
    robot.handle("Move", 8, FR3.dialect.move.pack(0, 0, *[0.0] * 6, 0, *[0.0] * 7))
    assert [r.word for r in robot.outbox] == ["NotPossible"]
    robot.outbox.clear()
    robot.handle("AutomaticErrorRecovery", 9, b"")
    for _ in range(200):
        robot.tick(None)
    assert (robot.mode, [r.word for r in robot.outbox]) == (RobotMode.IDLE, ["Success"])
    state = np.frombuffer(robot.state(2), FR3.dialect.state)[0]
    assert not state["errors"].any()
    assert state["reflex_reason"].any()


def test_a_user_stop_ends_the_motion_and_recovery_is_refused_while_it_is_pressed():
    robot = moving_robot()
    robot.tick(command(START_Q))
    robot.user_stop(True)
    assert [r.word for r in robot.outbox] == ["Aborted"]
    robot.outbox.clear()
    robot.handle("AutomaticErrorRecovery", 9, b"")
    assert [r.word for r in robot.outbox] == ["NotPossible"]
    robot.user_stop(False)
    assert robot.mode is RobotMode.IDLE


def test_torques_are_refused_rather_than_pretended():
    robot = Robot(FR3, Kinematic(START_Q))
    robot.handle("Move", 7, FR3.dialect.move.pack(2, 4, *[0.0] * 6, 0, *[0.0] * 7))
    assert [r.word for r in robot.outbox] == ["InvalidArgument"]
    assert robot.mode is RobotMode.IDLE
