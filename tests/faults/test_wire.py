"""A System 1 gone mad, straight on the wire: what its own process would have filtered is not."""

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy

import numpy as np
import pytest
from tandem.drivers.sim.panda import panda_spec
from tandem.runtime import streams
from tandem.runtime.bus import ZmqBus, request
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.messages import ActionChunk, Request, RobotState, encode
from tandem.tools import control
from tandem.tools.evaluate.plant import recorded
from tandem.tools.faults import inject
from tandem.tools.faults.daemon import CONFIG
from tandem.tools.faults.motion import prepare
from tandem.tools.faults.rig import Rig
from tandem.tools.faults.sweep import DT_NS, HORIZON, offsets

pytestmark = pytest.mark.process
_RNG = random.Random()
_JOINTS = 7
_PLAN_S = 0.6  # a good chunk lasts a little longer
_TRIES = 5
_SECOND = 200  # states


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A daemon without minds: the test is System 1."""
    config = deepcopy(CONFIG)
    for part in ("s1", "s2", "cameras"):
        config.pop(part)
    with Rig(config) as made:
        yield made


class MadS1:
    """Publishes good sweeps, and spoilt ones among them, twenty times a second."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._bus = ZmqBus(rig.folder, "s1")
        self._chunks = self._bus.publisher(streams.CHUNK)
        self._instruction_id = rig.status()["instruction_id"]
        self._middle, self._begin_ns = np.zeros(_JOINTS), 0
        rig.poll()
        self._rest(rig.states[-1])

    def close(self) -> None:
        self._bus.close()

    def plan(
        self, seconds: float, bad: tuple[Callable[[ActionChunk], None], ...], share: float
    ) -> float:
        """Returns the longest time between two good chunks: we may be starved ourselves."""
        begun_s = good_s = time.monotonic()
        longest_s = 0.0
        while time.monotonic() < begun_s + seconds:
            self._rig.watch(0.04)
            state = self._rig.states[-1]
            if state.mode != "policy" and share < 1:
                self._rest(state)
            chunk = self._good(state)
            if _RNG.random() < share:
                _RNG.choice(bad)(chunk)
            else:
                now_s = time.monotonic()
                good_s, longest_s = now_s, max(longest_s, now_s - good_s)
            self._chunks.send(chunk)
        return longest_s

    def _rest(self, state: RobotState) -> None:
        self._middle, self._begin_ns = state.q_cmd.copy(), state.t_ns

    def _good(self, state: RobotState) -> ActionChunk:
        t_s = (state.t_ns - self._begin_ns) / NS_PER_S
        q = self._middle + offsets(t_s + np.arange(1, HORIZON + 1) * DT_NS / NS_PER_S)
        return ActionChunk(
            t_ns=time.monotonic_ns(),
            valid=True,
            actions=np.column_stack([q, np.ones(HORIZON)]),
            t0_ns=state.t_ns,
            dt_ns=DT_NS,
            epoch=state.epoch,
            instruction_id=self._instruction_id,
        )


def _nan(chunk: ActionChunk) -> None:
    chunk.actions[_RNG.randrange(HORIZON), _RNG.randrange(_JOINTS)] = np.nan


def _infinite(chunk: ActionChunk) -> None:
    chunk.actions[-1, 0] = -np.inf


def _absurd(chunk: ActionChunk) -> None:
    chunk.actions[:, 1] = 1e300


def _wrong_shape(chunk: ActionChunk) -> None:
    chunk.actions = chunk.actions[:, :3]


def _no_steps(chunk: ActionChunk) -> None:
    chunk.actions = np.zeros((0, _JOINTS + 1))


def _one_row(chunk: ActionChunk) -> None:
    chunk.actions = chunk.actions[0]


def _no_time(chunk: ActionChunk) -> None:
    chunk.dt_ns = _RNG.choice([0, -DT_NS, 1, 1 << 62])


def _other_epoch(chunk: ActionChunk) -> None:
    chunk.epoch += 1


def _other_time(chunk: ActionChunk) -> None:
    chunk.t0_ns += _RNG.choice([-(1 << 62), -60 * NS_PER_S, 60 * NS_PER_S, 1 << 62])


def _unsaid(chunk: ActionChunk) -> None:
    chunk.valid = False


_DROPPED = (
    _nan,
    _infinite,
    _absurd,
    _wrong_shape,
    _no_steps,
    _one_row,
    _no_time,
    _other_epoch,
    _other_time,
    _unsaid,
)


def _leap(chunk: ActionChunk) -> None:
    chunk.actions[:, _RNG.randrange(_JOINTS)] += _RNG.choice([-2.0, 2.0])


def _shake(chunk: ActionChunk) -> None:
    chunk.actions[::2, :_JOINTS] += 0.5


def _beyond(chunk: ActionChunk) -> None:
    chunk.actions[:, 3] = 1.0  # the elbow ends at −0.07 rad


_FOLLOWED = (_leap, _shake, _beyond)


def _go(rig: Rig) -> MadS1:
    """Engage by hand: `go` waits for a policy, and that is us."""
    prepare(rig)
    rig.until(lambda: control.ask(rig.folder, "go", "sweep").ok, 20.0, "asked to go")
    return MadS1(rig)


def _inside(rig: Rig, begun_ns: int) -> None:
    extremes = recorded(rig.record().between(begun_ns, 1 << 62), panda_spec())
    assert extremes.inside, extremes


def test_what_makes_no_sense_is_dropped_and_the_arm_sweeps_on(rig: Rig) -> None:
    begun_ns = time.monotonic_ns()
    for _ in range(_TRIES):
        mad = _go(rig)
        if mad.plan(3.0, _DROPPED, share=0.5) <= _PLAN_S and rig.mode() == "policy":
            break
        mad.close()  # starved by whatever else runs here: that proves nothing, again
    assert rig.mode() == "policy"
    assert max(np.abs(state.dq_cmd).max() for state in list(rig.states)[-_SECOND:]) > 0.1
    mad.plan(1.6, _DROPPED, share=1.0)  # nothing but nonsense: no plan is left
    mad.close()
    rig.until(lambda: rig.mode() == "hold", 5.0, "in hold")
    rig.until(lambda: np.abs(rig.states[-1].dq_cmd).max() < 1e-6, 5.0, "at rest")
    _inside(rig, begun_ns)
    rig.until(lambda: _named(rig, begun_ns, "starved"), 5.0, "told of")


def test_what_could_be_meant_is_followed_only_as_the_limits_allow(rig: Rig) -> None:
    begun_ns = time.monotonic_ns()
    mad = _go(rig)
    mad.plan(1.0, _FOLLOWED, share=0.0)
    mad.plan(3.0, _FOLLOWED, share=0.5)
    rig.hold()
    rig.until(lambda: np.abs(rig.states[-1].dq_cmd).max() < 1e-6, 10.0, "at rest")
    mad.close()
    _inside(rig, begun_ns)


def test_requests_out_of_order_are_refused_with_reasons(rig: Rig) -> None:
    prepare(rig)
    for verb, text in (("release_lease", "nobody"), ("take_lease", "")):
        question = Request(verb=verb, text=text, t_ns=time.monotonic_ns())
        assert not _asked(rig, question)
    rig.sim(do="interrupt", status="user_stop", error="tried")
    rig.until(lambda: rig.mode() == "fault", 10.0, "in fault")
    assert not _asked(rig, Request(verb="go", text="sweep", t_ns=time.monotonic_ns()))
    assert not _asked(rig, Request(verb="reset", t_ns=time.monotonic_ns()))
    rig.sim(do="recover")
    rig.until(lambda: control.reset(rig.folder) is None, 20.0, "reset")
    assert rig.status()["mode"] == "hold"


def test_a_reset_ends_a_reflex_of_the_arm(rig: Rig) -> None:
    prepare(rig)
    rig.sim(do="interrupt", status="reflex", error="tried")
    rig.until(lambda: rig.mode() == "fault", 10.0, "in fault")
    rig.until(lambda: control.reset(rig.folder) is None, 20.0, "reset")
    assert rig.status()["mode"] == "hold"


def _asked(rig: Rig, question: Request) -> bool:
    reply = request(rig.folder, "executor", question, 10 * NS_PER_S)
    assert reply.ok or reply.text
    return reply.ok


def test_garbage_is_truly_delivered(rig: Rig) -> None:
    """A sensible message over the same hand-made frames is answered."""

    def answered() -> bool:
        question = Request(verb="ping", t_ns=time.monotonic_ns(), valid=True)
        with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
            line.connect(str(rig.folder / "request.executor"))
            inject.shake_hands(line, b"DEALER")
            line.settimeout(1.0)
            line.sendall(inject.frame(encode(question)))
            return b"here" in line.recv(4096)
        return False  # either side may have been starved

    rig.until(answered, 20.0, "answered")


def _named(rig: Rig, since_ns: int, word: str) -> bool:
    return any(e.t_ns > since_ns and word in e.text for e in rig.events)
