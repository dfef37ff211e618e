"""The operator's campaigns: what they see in a record, what they hold it to, and a round of each.

`python -m tandem.tools.faults.hands --handovers 100 --cuts 100 --losses 100` is the long version,
with the bars in milliseconds; here a machine may be as slow as it likes.
"""

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

import numpy as np
import pytest
from tandem.drivers.sim.blackbox import Record
from tandem.drivers.sim.panda import HOME_Q_RAD
from tandem.runtime.errors import TandemError
from tandem.runtime.messages import Event
from tandem.tools.faults.hands import bars, cut, handover, seen
from tandem.tools.faults.hands.cut import Cut
from tandem.tools.faults.hands.far import FarHand, Wire
from tandem.tools.faults.hands.handover import HandOver, HandOvers
from tandem.tools.faults.hands.terminal import Hand
from tandem.tools.faults.rig import Rig

MS = 1_000_000
T = TypeVar("T")
SLACK_MS = 300
TRIES = 3  # so often in a row a machine does not stall at the worst moment


def braked(at_ms: int, speed: float = 0.8, braking: float = 8.0) -> Record:
    """Joint 1 at a steady speed, then braking from `at_ms` on; a second in all."""
    t_s = np.arange(1000) / 1000
    dq1 = np.clip(speed - braking * np.clip(t_s - at_ms / 1000, 0, None), 0, None)
    q, dq, ddq = (np.zeros((1000, 7)) for _ in range(3))
    dq[:, 0] = dq1
    q[:, 0] = np.cumsum(dq1) / 1000
    ddq[1:, 0] = np.diff(dq1) * 1000
    zero = np.zeros(1000, np.int32)
    return Record((t_s * 1e9).astype(np.int64), zero, zero != 0, q + HOME_Q_RAD, dq, ddq)


def test_the_moment_of_slowing_is_seen_to_the_millisecond():
    record = braked(500)
    assert seen.ms(0, seen.slows_ns(record, 400 * MS)) in (500, 501)
    assert seen.slows_ns(braked(2000), 400 * MS) is None
    assert seen.speed_at(record, 400 * MS) == 0.8
    assert seen.speed_at(record, 999 * MS) == 0
    # 0.5 s at 0.8 rad/s and the braking way, at the tool's distance from the first axis.
    reach_m = float(np.hypot(*seen.CHAIN.position(HOME_Q_RAD)[:2]))
    way_m = (0.8 * 0.5 + 0.8**2 / 16) * reach_m
    assert seen.tool_way_m(record, 0, 999 * MS) == pytest.approx(way_m, rel=0.02)


def test_a_gap_in_the_commands_and_a_kink_are_no_good():
    assert seen.laws(braked(500, braking=2.0))[1] == []
    (problem,) = seen.laws(braked(500, braking=20.0))[1]
    assert "outside the arm's limits" in problem
    record = Record(*(getattr(braked(2000), n) for n in Record.__dataclass_fields__))
    record.coasting[100:103] = True
    assert "no command for 3 ms" in seen.laws(record)[1]


def test_changes_of_mode_are_found_by_their_words():
    said = Event(source="executor", level="info", kind="mode", text="policy → teleop: x", t_ns=5)
    assert seen.changed([said], 4, "teleop") is said
    assert seen.changed([said], 6, "teleop") is None
    assert seen.changed([said], 4, "policy") is None


def test_a_round_that_could_not_be_played_and_one_with_a_problem_are_not_good():
    good = HandOver(0.5, 4.0, 0.4, 0.8, 0.2)
    assert all(bar.met for bar in bars.hand_overs([good] * 3, 3, 0.5))
    assert not all(bar.met for bar in bars.hand_overs([good] * 3, 4, 0.5))
    slow = HandOver(0.5, 11.0, 0.4, 0.8, 0.2)
    assert [b.name for b in bars.hand_overs([slow], 1, 0.5) if not b.met] == [
        "asked → in control, p99 ms"
    ]
    late = Cut("kill", 0.8, 31.0, 120.0, 140.0, 90.0, 20.0, ["slows only after 31 ms, not 30"])
    names = [b.name for b in bars.cuts([late], 1) if not b.met]
    assert names == ["not good, of 1", "slows after ms"]
    assert "kill: 1 at 0.80" in next(bars.summary([late]))


# -- a round of each -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with handover.alone() as rig:
        yield rig


def seated(rig: Rig, hand: Hand, stack: ExitStack) -> Hand:
    stack.callback(hand.close)
    hand.until_sees("· keyboard")
    mine = f"/{hand.process.pid}"
    rig.until(lambda: rig.mode() != "unknown" and mine in (rig.state.operator or ""), 40, "seated")
    if rig.mode() == "policy":
        rig.hold()
    rig.until(lambda: rig.mode() == "hold" and abs(rig.state.dq_cmd).max() < 1e-6, 20, "at rest")
    return hand


def unspoilt(play: Callable[[], T], in_time: Callable[[T], bool]) -> T:
    """Played again where the machine stalled at the worst moment, which it does not for ever."""
    for _ in range(TRIES - 1):
        with suppress(TandemError):
            played = play()
            if in_time(played):
                return played
    return play()


@pytest.mark.process
@pytest.mark.timeout(120)
def test_there_and_back_again_is_one_smooth_motion(rig):
    def there_and_back() -> HandOver:
        with ExitStack() as stack:
            place = HandOvers(rig, seated(rig, Hand(rig.base, *handover.OPTIONS), stack))
            stack.callback(place.ear.close)
            played = place.play(random.Random(1))
        assert max(played.velocity_share, played.acceleration_share, played.jerk_share) <= 1
        assert not [text for text in played.problems if "limits" in text or "seen" in text]
        return played

    def in_time(played: HandOver) -> bool:
        return played.speed_rad_s > 0.1 and played.request_ms < SLACK_MS

    played = unspoilt(there_and_back, in_time)
    assert in_time(played), played.line()


@pytest.mark.process
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["kill", "stop", "net"])
def test_however_the_link_is_cut_the_arm_comes_to_rest(rig, kind):
    if kind == "net" and (os.geteuid() != 0 or shutil.which("ip") is None):
        pytest.skip("root and iproute2 are needed")

    def in_time(played: Cut) -> bool:
        slow_ms = max(played.slows_ms - cut.SLOW_MS[kind], played.rest_ms - played.allowed_ms)
        return played.speed_rad_s > 0.2 and slow_ms < SLACK_MS

    played = unspoilt(lambda: cut_once(rig, kind), in_time)
    assert in_time(played), played.line()


def cut_once(rig: Rig, kind: cut.Kind) -> Cut:
    with ExitStack() as stack:
        wire = stack.enter_context(Wire()) if kind == "net" else None
        made = FarHand(wire, rig.base, *cut.OPTIONS) if wire else Hand(rig.base, *cut.OPTIONS)
        hand = seated(rig, made, stack)
        number = signal.SIGKILL if kind == "kill" else signal.SIGSTOP
        strike = wire.cut if wire else partial(os.kill, hand.process.pid, number)
        played = cut.play(rig, hand, kind, strike, random.Random(1))
    assert played.way_mm >= 0
    assert not [text for text in played.problems if "limits" in text or "turned back" in text]
    return played
