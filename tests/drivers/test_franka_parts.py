"""The parts of the Franka driver that need no robot."""

import contextlib
import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.drivers.franka import envelope, words
from tandem.drivers.franka.beat import Beat
from tandem.drivers.franka.errand import FR3_SERVER, PORT, Errand
from tandem.drivers.franka.make import franka_arm
from tandem.drivers.franka.sockets import Opened
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import ConfigError, DeviceError
from tandem.tools.fci_emulator.models import FR3, urdf

from tests.drivers.franka_rig import MODELS, fresh_host


@pytest.mark.parametrize("speed", [1.0, 1.0005, 0.9995])
def test_stamps_follow_a_clock_of_another_rate_without_steps(speed):
    rng = np.random.default_rng(1)
    beat, errors, rates = Beat(), [], []
    for tick in range(60_000):
        true_ns = NS_PER_S + tick * NS_PER_MS / speed
        late_ns = rng.exponential(50_000) + (8e6 if rng.random() < 1e-3 else 0)
        stamp_ns = beat.stamp(tick, round(true_ns + late_ns))
        errors.append(stamp_ns - true_ns)
        rates.append(beat.rate)
    assert np.abs(errors[20_000:]).max() < 1.5 * NS_PER_MS
    assert np.abs(np.diff(rates)).max() <= 1.01e-6
    assert np.mean(rates[-20_000:]) == pytest.approx(1 / speed, abs=1e-4)


def test_a_robot_that_was_away_begins_anew_and_time_never_goes_back():
    beat = Beat()
    first = beat.stamp(5000, 10 * NS_PER_S)
    assert beat.stamp(5003, 10 * NS_PER_S + 3 * NS_PER_MS) == first + 3 * NS_PER_MS
    assert beat.stamp(7, 12 * NS_PER_S) == 12 * NS_PER_S  # the robot was restarted
    beat.restart()
    assert beat.stamp(8, 11 * NS_PER_S) > 12 * NS_PER_S


def test_a_robot_that_stood_still_is_not_late_for_ever():
    beat = Beat()
    for tick in range(100):
        beat.stamp(tick, NS_PER_S + tick * NS_PER_MS)
    after_ns = 3 * NS_PER_S  # its clock goes on where it was, ours did not wait
    stamps = [beat.stamp(100 + k, after_ns + k * NS_PER_MS) for k in range(10)]
    assert (np.diff(stamps) > 0).all()
    assert stamps[-1] == after_ns + 9 * NS_PER_MS


@settings(deadline=None, max_examples=200)
@given(joint=st.integers(0, 6), ahead=st.floats(0, 1), speed=st.floats(0, 1), up=st.booleans())
def test_inside_the_box_an_fr3_may_always_have_the_speed_that_can_be_braked(
    joint, ahead, speed, up
):
    spec = envelope.inside(MODELS["fr3"].spec, envelope.parse(urdf(FR3), 7))
    edge, way = (spec.q_max, -1.0) if up else (spec.q_min, 1.0)
    to_end = ahead * (spec.q_max - spec.q_min)[joint]
    dq = speed * min(spec.dq_max[joint], np.sqrt(2 * spec.ddq_max[joint] * to_end))
    q = edge.copy()
    q[joint] += way * to_end
    slowest, fastest = FR3.dq_range(q)
    assert dq <= (fastest if up else -slowest)[joint] + 1e-9


def test_limits_come_from_the_robot_not_from_the_file():
    told = urdf(FR3).replace(f'upper="{FR3.q_max[6]}"', 'upper="2.0"')
    spec = envelope.inside(MODELS["fr3"].spec, envelope.parse(told, 7))
    assert spec.q_max[6] < 2.0


@pytest.mark.parametrize("text", ["", "<robot/>", urdf(FR3).replace("velocity=", "speed=")])
def test_a_description_without_limits_is_refused(text):
    with pytest.raises(DeviceError, match=r"limits|read|joints"):
        envelope.parse(text, 7)


def test_nobody_there_is_said_with_what_to_check():
    with pytest.raises(DeviceError, match=r"robot\.arm\.host"):
        Errand(fresh_host(), FR3_SERVER, NS_PER_S).run()


def test_errors_of_the_robot_become_words():
    text = words.of_errors(["communication_constraints_violation", "something_new"])
    assert "late or not at all" in text
    assert "something new" in text
    assert "tandem reset" in text


def test_a_driver_without_a_host_says_which_key_is_missing():
    pytest.importorskip("pylibfranka")
    with pytest.raises(ConfigError, match=r"robot\.arm\.host"):
        franka_arm("franka_fr3", MODELS["fr3"].spec, "")


def test_what_the_bus_opens_while_the_library_connects_is_not_taken_for_the_robot():
    host = fresh_host()
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server((host, n))) for n in (0, PORT)]
        opened = Opened()
        stack.callback(opened.close)
        with opened.watching():
            for family in (socket.AF_UNIX, socket.AF_INET):
                for ours in _connected(family, listeners[0].getsockname()):
                    stack.enter_context(ours)
            library = stack.enter_context(socket.create_connection((host, PORT)))
            states = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            states.bind((host, 0))
        robot = stack.enter_context(listeners[1].accept()[0])
        assert not opened.wait(0)
        assert not opened.hung_up()
        states.sendto(b"state", states.getsockname())
        assert opened.wait(NS_PER_S)
        opened.hang_up()
        assert robot.recv(1) == b""
        assert library.recv(1) == b""


def _connected(family: socket.AddressFamily, where) -> tuple[socket.socket, ...]:
    """As the bus has them; with one that has been hung up on."""
    if family == socket.AF_INET:
        return (socket.create_connection(where),)
    one, other = socket.socketpair(socket.AF_UNIX)
    other.close()
    return (one, *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
