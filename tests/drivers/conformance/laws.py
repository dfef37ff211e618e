"""What every arm's driver must do. Each law takes a subject and a way to make its client.

A law fails with an AssertionError, whatever the driver does; none looks inside a driver.
"""

import contextlib
import time
from collections.abc import Callable

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import DeviceError, DeviceTimeoutError, TandemError
from tandem.runtime.interfaces import Arm, ArmState, Knot
from tandem.runtime.interpolate import Dynamics, Motion, Stopper

from tests.drivers.conformance.subjects import Subject, next_state

_READ_NS = 10 * NS_PER_S  # an emulated robot may be starved
_SWING_RAD = 0.05
Path = Callable[[float], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Drive:
    """Sends what an executor would: one knot per period, planned from the newest state."""

    def __init__(self, given: Subject, arm: Arm) -> None:
        self.given, self.arm = given, arm
        arm.connect()
        self.state = next_state(given, arm)
        self.start = self.state.q_d.copy()
        self.states = [self.state]
        zero = np.zeros(len(self.start))
        self.follow(lambda t_s: (self.start, zero, zero), 0.06)

    def follow(self, path: Path, seconds: float) -> None:
        """Move along `path` for so long; knots of what comes after it may be on their way."""
        begin_ns = self.state.t_ns + self.given.lead_ns
        while self.state.t_ns < begin_ns + seconds * NS_PER_S:
            t_ns = self.state.t_ns + self.given.lead_ns
            self.send(t_ns, path((t_ns - begin_ns) / NS_PER_S))
            self.read()

    def send(self, t_ns: int, row: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        self.arm.send(Knot(t_ns, *row, gripper=float("nan"), underruns=self.state.underruns))

    def read(self) -> ArmState:
        self.given.wait()
        self.state = self.arm.read(_READ_NS)
        self.states.append(self.state)
        return self.state

    def moved(self, joint: int) -> np.ndarray:
        """By how much [D] rad a swing of this joint moved the arm.

        Again from rest where a stall of the machine made the arm brake by itself on the way.
        """
        for _ in range(5):
            before, underruns = self.given.truth(), self.state.underruns
            self.follow(self.swing(joint, seconds=0.35), 0.4)
            if self.state.underruns == underruns:
                break
            self.settle()
        return self.given.truth() - before

    def settle(self) -> None:
        """Let the arm come to rest by itself, then hold it there."""
        for _ in range(2000):
            if np.abs(self.read().dq_d).max() < 1e-9:
                break
        rest, zero = self.state.q_d.copy(), np.zeros(len(self.start))
        self.follow(lambda t_s: (rest, zero, zero), 0.06)

    def swing(self, joint: int, rad: float = _SWING_RAD, seconds: float = 0.6) -> Path:
        """A smooth move of one joint from where the set-point is."""
        q0 = self.state.q_d.copy()
        axis = np.zeros(len(q0))
        axis[joint] = rad

        def path(t_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            u = min(max(t_s / seconds, 0.0), 1.0)
            s = u**3 * (10 - 15 * u + 6 * u * u)
            ds = 30 * u * u * (1 - u) ** 2 / seconds
            dds = 60 * u * (1 - u) * (1 - 2 * u) / seconds**2
            return q0 + s * axis, ds * axis, dds * axis

        return path


Make = Callable[[], Arm]


def units_and_order(given: Subject, make: Make) -> None:
    """Radians, and joint i is joint i: each is moved and found moved, by the arm's own account."""
    drive = Drive(given, make())
    _close(drive.state.q, given.truth(), 0.01, "the state is not where the arm is")
    for joint in range(len(drive.start)):
        wanted = np.zeros(len(drive.start))
        wanted[joint] = _SWING_RAD
        _close(drive.moved(joint), wanted, 0.01, f"joint {joint + 1} was moved")
        _close(drive.state.q, given.truth(), 0.01, "the state is not where the arm is")
    drive.arm.stop()


def limits_of_the_arm(given: Subject, make: Make) -> None:
    """The spec allows nothing that the connected arm forbids."""
    arm = make()
    arm.connect()
    low, high = given.range()
    assert (arm.spec.q_min >= low - 1e-9).all(), "the spec allows less than the arm's range"
    assert (arm.spec.q_max <= high + 1e-9).all(), "the spec allows more than the arm's range"
    arm.stop()


def stamps_on_our_clock(given: Subject, make: Make) -> None:
    """Every state has a new time, on the given clock, not older than a few beats."""
    drive = Drive(given, make())
    for _ in range(100):
        before = drive.state.t_ns
        drive.send(before + given.lead_ns, (drive.start, *np.zeros((2, len(drive.start)))))
        drive.read()
        assert drive.state.t_ns > before, "a state was told twice"
        assert abs(given.clock.now_ns() - drive.state.t_ns) <= 3 * given.period_ns, "another clock"
    drive.arm.stop()


def fresh_states(given: Subject, make: Make) -> None:
    """While the arm moves, a state shows it, not what was a moment ago."""
    drive = Drive(given, make())
    drive.follow(drive.swing(0, 0.1), 0.3)  # the middle of it: fastest
    truth = given.truth()
    _close(drive.state.q_d, truth, 0.004, "the state's set-point is old")
    positions = np.array([state.q_d[0] for state in drive.states[-20:]])
    assert (np.diff(positions) > 0).all(), "a state was repeated"
    drive.arm.stop()


def stop_is_braking(given: Subject, make: Make) -> None:
    """From motion to rest on the arm's own braking path, begun at once."""
    drive = Drive(given, make())
    drive.follow(drive.swing(0, 0.2), 0.25)
    spec, state = drive.arm.spec, drive.state
    own = Dynamics(spec.dq_max, spec.ddq_max, spec.jerk_max)
    brake = Stopper(own.scaled(1.0, spec.coast_acceleration, spec.coast_jerk), together=False)
    path = brake.stop(Motion.of(state.q_d, state.dq_d, state.ddq_d))
    assert abs(state.dq_d).max() > 0.1, "the law wants an arm that moves"
    drive.arm.stop()
    while abs(drive.read().dq_d).max() > 1e-6:
        passed_s = (drive.state.t_ns - state.t_ns) / NS_PER_S
        assert passed_s < path.duration_s + 0.05, "it does not come to rest in time"
    _close(drive.state.q_d, path.end_q, 2e-4, "it did not brake at once on its own path")
    assert np.abs(path.end_q - state.q_d).max() > 1e-3, "the law wants a way to brake"
    drive.arm.stop()


def a_step_is_braked(given: Subject, make: Make) -> None:
    """A knot that no arm could follow is not followed, not even partly: the arm comes to rest."""
    drive = Drive(given, make())
    drive.follow(drive.swing(0, 0.1), 0.3)
    before = drive.state.q_d.copy()
    path = drive.swing(0, 1.0, 0.05)  # 20 rad in a second
    drive.follow(path, 0.05)
    for _ in range(round(0.5 * NS_PER_S / given.period_ns)):
        drive.read()
    assert abs(drive.state.dq_d).max() < 1e-6, "it did not come to rest"
    assert abs(drive.state.q_d - before).max() < 0.05, "it followed a part of what it could not"
    assert drive.state.underruns > drive.states[0].underruns, "nobody is told that it braked"
    drive.arm.stop()


def silence_is_a_typed_error(given: Subject, make: Make) -> None:
    """A read from a silent arm ends at its deadline, with words that help."""
    if not given.can_fall_silent:
        return
    drive = Drive(given, make())
    given.silence()
    error, took_s = None, []
    for _ in range(50):  # what had been sent before may still arrive
        began_s = time.monotonic()
        try:
            given.wait()
            drive.arm.read(20 * NS_PER_MS)
        except DeviceTimeoutError as raised:
            error = raised
            took_s.append(time.monotonic() - began_s)
        except DeviceError:
            break  # it is not waited for any more
        if len(took_s) == 3:
            break
    assert error is not None, "silence is not noticed"
    assert min(took_s) < 0.5, "a read has no deadline"  # not each: a machine may stall
    assert len(str(error)) > 20, "the error does not say what happened"
    drive.arm.stop()


def one_connection(given: Subject, make: Make) -> None:
    """A client connects once; without a connection nothing can be commanded."""
    arm = make()
    zero = np.zeros(len(arm.spec.joint_names))
    with _refused("a command without a connection was accepted"):
        arm.send(Knot(0, zero, zero, zero, 0.0))
    arm.stop()
    arm.connect()
    with _refused("a second connection was accepted"):
        arm.connect()
    arm.stop()


def a_reflex_stays(given: Subject, make: Make) -> None:
    """It is told with its cause, it stops the arm, and only `recover` ends it."""
    drive = Drive(given, make())
    drive.follow(drive.swing(0, 0.1), 0.3)
    given.reflex()
    state = _settled(given, drive)
    assert state.status == "reflex", f"a reflex is told as {state.status}"
    assert state.error, "a reflex without a cause"
    where = given.truth()
    for _ in range(50):
        rest = (drive.state.q_d + 0.001, *np.zeros((2, len(where))))
        with contextlib.suppress(DeviceError):
            drive.send(drive.state.t_ns + given.lead_ns, rest)
        drive.state = next_state(given, drive.arm)
        assert drive.state.status == "reflex", "it went on by itself"
    _close(given.truth(), where, 1e-4, "it moved in its reflex")
    drive.arm.recover()
    for _ in range(400):
        drive.state = next_state(given, drive.arm)
        if drive.state.status == "idle":
            break
    assert drive.state.status == "idle", f"it does not recover: {drive.state.error}"
    assert drive.state.error is None
    _close(drive.state.q_d, given.truth(), 0.05, "it would jump")
    drive.arm.stop()


def no_silent_resume(given: Subject, make: Make) -> None:
    """After a lost connection nothing may be commanded until somebody recovers on purpose."""
    if not given.can_reconnect:
        return
    drive = Drive(given, make())
    drive.follow(drive.swing(0, 0.1), 0.3)
    given.cut()
    state = _settled(given, drive, lost=True)
    assert state.status != "idle", "it resumed as if nothing had happened"
    with contextlib.suppress(DeviceError):
        drive.send(state.t_ns + given.lead_ns, (state.q_d, *np.zeros((2, len(state.q)))))
    drive.state = next_state(given, drive.arm)
    assert drive.state.status not in ("idle", "moving"), "a command ended it"
    drive.arm.recover()
    for _ in range(400):
        drive.state = next_state(given, drive.arm)
        if drive.state.status == "idle":
            break
    assert drive.state.status == "idle", f"it does not recover: {drive.state.error}"
    drive.arm.stop()


def stop_in_every_state(given: Subject, make: Make) -> None:
    """`stop` never raises and always ends: before, at rest, moving, in a reflex, twice."""
    arm = make()
    arm.stop()
    drive = Drive(given, arm)
    arm.stop()
    for _ in range(3):
        drive.read()
    drive.start = drive.state.q_d.copy()
    given.reflex()
    next_state(given, arm)
    began_s = time.monotonic()
    arm.stop()
    arm.stop()
    assert time.monotonic() - began_s < 10.0


def no_drift(given: Subject, make: Make) -> None:
    """Thousands of set-points later it is where it was told to be."""
    drive = Drive(given, make())
    spec, q0 = drive.arm.spec, drive.start
    seconds = given.set_points * given.period_ns / NS_PER_S
    turns = round(seconds / 2)
    rate = 2 * np.pi * turns / seconds
    size = 0.05 * np.ones(len(q0))

    def path(t_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # sin² starts and ends at rest; its curvature is met by a smooth beginning.
        fade = min(t_s, seconds - t_s, 1.0)
        u = max(fade, 0.0)
        s, ds, dds = u**3 * (10 - 15 * u + 6 * u * u), 30 * u * u * (1 - u) ** 2, 0.0
        dds = 60 * u * (1 - u) * (1 - 2 * u)
        sign = 1.0 if t_s < seconds / 2 else -1.0
        ds = sign * ds if u < 1 else 0.0
        dds = dds if u < 1 else 0.0
        w, c = np.sin(rate * t_s), np.cos(rate * t_s)
        q = s * w
        dq = ds * w + s * rate * c
        ddq = dds * w + 2 * ds * rate * c - s * rate * rate * w
        return q0 + size * q, size * dq, size * ddq

    drive.follow(path, seconds)
    zero = np.zeros(len(q0))
    drive.follow(lambda t_s: (q0, zero, zero), 0.3)
    assert len(drive.states) > given.set_points
    _close(drive.state.q_d, q0, 1e-6, "the set-point has drifted")
    _close(given.truth(), q0, 2e-3, "the arm has drifted")
    assert drive.state.underruns == drive.states[40].underruns, "set-points were lost on the way"
    assert (abs(np.array([s.dq_d for s in drive.states])) <= spec.dq_max + 1e-9).all()
    drive.arm.stop()


LAWS = (
    units_and_order, limits_of_the_arm, stamps_on_our_clock, fresh_states, stop_is_braking,
    a_step_is_braked, silence_is_a_typed_error, one_connection, a_reflex_stays, no_silent_resume,
    stop_in_every_state, no_drift,
)  # fmt: skip


def _close(got: np.ndarray, wanted: np.ndarray, within: float, what: str) -> None:
    away = float(np.abs(np.asarray(got) - wanted).max())
    assert away <= within, f"{what}: {away:.4f} rad away"


@contextlib.contextmanager
def _refused(what: str):
    try:
        yield
    except TandemError as error:
        words = str(error)
    else:
        raise AssertionError(what)
    assert len(words) > 20, "the refusal does not say why"


def _settled(given: Subject, drive: Drive, lost: bool = False) -> ArmState:
    """The state once the arm stands, without commands; `lost`: once it has been lost, too."""
    still, missed = 0, not lost
    for _ in range(4000):
        given.wait()
        try:
            state = drive.arm.read(20 * NS_PER_MS)
        except DeviceError:
            missed = True
            given.clock.sleep_until(given.clock.now_ns() + NS_PER_MS)
            time.sleep(0.001)
            continue
        still = still + 1 if abs(state.dq).max() < 1e-3 and missed else 0
        drive.state = state
        if still > 20:
            return state
    raise AssertionError("it does not settle")
