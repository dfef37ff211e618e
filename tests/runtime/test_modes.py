"""Every mode against every fact: the table below is the whole truth, precedence included."""

import itertools

import pytest
from tandem.runtime.modes import Facts, decide, pace_for_age

MODES = ("idle", "hold", "policy", "teleop", "stopping", "fault")
QUIET = Facts()
READY = Facts(ready=True, at_rest=True)

# (mode, facts) → the next mode. One line per rule that applies in that mode.
TABLE = [
    ("idle", QUIET, "idle"),
    ("idle", READY, "hold"),
    ("idle", Facts(ready=True, stop=True), "idle"),
    ("idle", Facts(drives=True, present=True), "idle"),
    ("idle", Facts(start=True), "idle"),
    ("hold", QUIET, "hold"),
    ("hold", Facts(start=True), "policy"),
    ("hold", Facts(start=True, hold="asked for"), "hold"),
    ("hold", Facts(drives=True, present=True), "teleop"),
    ("hold", Facts(present=True), "hold"),
    ("hold", Facts(start=True, drives=True, present=True), "teleop"),
    ("hold", Facts(stop=True), "stopping"),
    ("hold", Facts(stop=True, at_rest=True), "idle"),
    ("policy", QUIET, "policy"),
    ("policy", Facts(present=True), "policy"),
    ("policy", Facts(drives=True, present=True), "teleop"),
    ("policy", Facts(lost="starved"), "hold"),
    ("policy", Facts(lost="starved", present=True), "teleop"),
    ("policy", Facts(hold="asked for"), "hold"),
    ("policy", Facts(hold="asked for", drives=True, present=True), "hold"),
    ("policy", Facts(stop=True), "stopping"),
    ("teleop", Facts(present=True), "teleop"),
    ("teleop", Facts(present=True, drives=True), "teleop"),
    ("teleop", QUIET, "hold"),
    ("teleop", Facts(present=True, start=True), "teleop"),
    ("teleop", Facts(hold="asked for", present=True, drives=True), "hold"),
    ("teleop", Facts(stop=True, present=True, drives=True), "stopping"),
    ("stopping", Facts(stop=True), "stopping"),
    ("stopping", Facts(stop=True, at_rest=True), "idle"),
    ("stopping", Facts(stop=True, drives=True, present=True), "stopping"),
    ("stopping", READY, "hold"),
    ("stopping", QUIET, "idle"),
    ("fault", QUIET, "fault"),
    ("fault", READY, "fault"),
    ("fault", Facts(reset=True), "fault"),
    ("fault", Facts(reset=True, ready=True), "hold"),
    ("fault", Facts(reset=True, ready=True, cause="reflex"), "fault"),
    ("fault", Facts(stop=True, drives=True, present=True, start=True), "fault"),
]


@pytest.mark.parametrize(("mode", "facts", "expected"), TABLE)
def test_every_rule(mode, facts, expected):
    after, why = decide(mode, facts)
    assert after == expected
    if after != mode:
        assert why, "a change has a reason"


@pytest.mark.parametrize("mode", MODES)
def test_the_table_names_every_mode(mode):
    assert any(row[0] == mode for row in TABLE)


def every_fact():
    """All 1536 combinations."""
    words, flags = (None, "because"), (False, True)
    for cause, hold, lost in itertools.product(words, repeat=3):
        for reset, stop, ready, at_rest, start, present in itertools.product(flags, repeat=6):
            for drives in flags[: 1 + present]:
                yield Facts(cause, reset, stop, hold, ready, at_rest, lost, start, present, drives)


@pytest.mark.parametrize("mode", MODES)
def test_precedence_over_all_combinations(mode):
    for facts in every_fact():
        after, _ = decide(mode, facts)
        if facts.cause:
            assert after == "fault", "a fault beats everything"
        elif mode == "fault":
            assert after == ("hold" if facts.reset and facts.ready else "fault")
        elif facts.stop:
            assert after in ("stopping", "idle"), "a stop beats all but a fault"
        elif after == "policy":
            assert mode == "policy" or facts.start, "back to the policy only on purpose"
            assert not facts.drives, "the operator beats the policy"
            assert not facts.hold
        elif after == "teleop":
            assert facts.present, "nobody drives with an empty seat"
        if mode == "fault":
            assert after in ("fault", "hold")


def test_why_is_passed_on():
    assert decide("policy", Facts(lost="the conditioning is old"))[1] == "the conditioning is old"
    assert decide("hold", Facts(cause="reflex"))[1] == "reflex"
    assert decide("hold", Facts(hold="asked for"))[1] == "", "nothing has changed"


def test_ageing_conditioning_slows_then_stands():
    pace = [pace_for_age(age, 500, 1000) for age in (0, 500, 600, 750, 1000, 9999)]
    assert pace == [1, 1, pytest.approx(0.8), 0.5, 0, 0]
    assert pace_for_age(700, 500, 500) == 0
