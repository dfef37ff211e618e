"""Devices: bytes and buttons in, wishes out."""

import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.messages import Event
from tandem.tools.teleop import gamepad, spacemouse
from tandem.tools.teleop.gamepad import Pad, pressed, wish_of
from tandem.tools.teleop.guard import Call, Fingers, Latch
from tandem.tools.teleop.keyboard import SILENT_NS, HeldKeyboard
from tandem.tools.teleop.keys import Key, Parser, Reply
from tandem.tools.teleop.spacemouse import SpaceMouse
from tandem.tools.teleop.wish import Caps, Controls, Wish, command, shaped

from tests.tools.recorder_rig import state

STARVED = Event(
    t_ns=10 * NS_PER_S, source="executor", level="warn", kind="operator", text="starved: take over"
)

# -- SpaceMouse ------------------------------------------------------------------------------------


@pytest.fixture
def puck():
    """One at the other end of a pipe that keeps reports apart, as hidraw does."""
    ours, theirs = os.pipe2(os.O_DIRECT)
    mouse = SpaceMouse(ours)
    yield mouse, theirs
    mouse.close()


def test_reports_of_old_and_new_models_become_one_twist(puck):
    mouse, device = puck
    os.write(device, b"\x03\x01\x00")  # left button: dead-man
    os.write(device, b"\x01" + struct.pack("<3h", 0, -350, 0))  # away from the user
    os.write(device, b"\x02" + struct.pack("<3h", 0, 0, -350))
    wish = mouse.wish(NS_PER_S, False)
    assert wish.hand == "held"
    assert np.allclose(wish.axes, (1, 0, 0, 0, 0, 1, 0))
    os.write(device, b"\x01" + struct.pack("<6h", -350, 0, -350, 0, 0, 0))
    assert np.allclose(mouse.wish(NS_PER_S, False).axes, (0, 1, 1, 0, 0, 0, 0))
    os.write(device, b"\x03\x00\x00")
    assert mouse.wish(NS_PER_S, False) == Wish()
    os.close(device)


def test_its_right_button_closes_and_opens(puck):
    mouse, device = puck
    for buttons in (2, 2, 0, 2):
        os.write(device, bytes((3, buttons, 0)))
    mouse.wish(NS_PER_S, False)
    assert mouse.verbs() == ["close", "open"]
    assert mouse.verbs() == []
    os.close(device)


def test_a_deflected_one_that_falls_silent_and_an_unplugged_one_are_no_hand(puck):
    mouse, device = puck
    os.write(device, b"\x03\x01\x00")
    os.write(device, b"\x01" + struct.pack("<3h", 300, 0, 0))
    assert mouse.wish(NS_PER_S, False).hand == "held"
    assert mouse.wish(NS_PER_S + 150 * NS_PER_MS, False).hand == "held"
    assert mouse.wish(NS_PER_S + 250 * NS_PER_MS, False) == Wish()
    os.close(device)
    assert mouse.wish(2 * NS_PER_S, False) == Wish()
    assert "unplugged" in mouse.problem


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_no_report_breaks_it(reports):
    ours, theirs = os.pipe()
    mouse = SpaceMouse(ours)
    for report in reports:
        mouse.feed(report)
    assert np.isfinite(mouse.wish(0, False).axes).all()
    mouse.close()
    os.close(theirs)


def test_it_is_found_by_its_maker(tmp_path):
    for name, facts in {
        "hidraw0": "HID_ID=0003:0000046D:0000C52B\nHID_NAME=A mouse\n",
        "hidraw1": "HID_ID=0003:0000256F:0000C635\nHID_NAME=3Dconnexion SpaceMouse Compact\n",
        "hidraw2": "HID_ID=0003:0000046D:0000C626\nHID_NAME=3Dconnexion SpaceNavigator\n",
    }.items():
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "device" / "uevent").write_text(facts)
    assert [path for path, _ in spacemouse.find(tmp_path)] == ["/dev/hidraw1", "/dev/hidraw2"]


# -- gamepad ---------------------------------------------------------------------------------------


def test_a_pad_drives_only_while_its_shoulder_is_held():
    sticks = {"leftx": 0.0, "lefty": -1.0, "rightx": 1.0, "righty": 0.0}
    assert wish_of(Pad(sticks)) == Wish()
    held = wish_of(Pad(sticks, frozenset({"rightshoulder", "dpad_left"})))
    assert held.hand == "held"
    assert np.allclose(held.axes, (1, 0, 0, -1, 0, -1, 0))


def test_a_button_counts_when_it_goes_down():
    a, start = Pad(down=frozenset("a")), Pad(down=frozenset({"a", "start"}))
    assert pressed(Pad(), a) == ["close"]
    assert pressed(a, start) == ["go"]
    assert pressed(start, a) == []


@pytest.mark.skipif(not gamepad.installed(), reason="pygame is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_sdl_is_asked_without_a_display():
    assert all(isinstance(name, str) for _, name in gamepad.find())


# -- the keyboard ----------------------------------------------------------------------------------


def test_both_encodings_of_keys():
    parser = Parser()
    assert parser.feed(b"w\x03\t+\x1b[A\x1bOB") == [
        *(Key("w"), Key("ctrl-c"), Key("tab"), Key("+"), Key("up"), Key("down"))
    ]
    assert parser.feed(b"\x1b[119;1:1u\x1b[119;1:2u\x1b[119;129:3u\x1b[99;5u\x1b[32u") == [
        *(Key("w"), Key("w", "repeat"), Key("w", "release"), Key("ctrl-c"), Key("space"))
    ]
    assert parser.feed(b"\x1b[?0u\x1b[?62;4c\x1b[O\x1b[I") == [
        *(Reply("kitty"), Reply("attributes"), Reply("focus_out"), Reply("focus_in"))
    ]


@given(st.binary(max_size=80), st.integers(1, 80))
def test_keys_may_come_in_pieces_and_garbage_breaks_nothing(data, cut):
    whole, pieces = Parser(), Parser()
    assert whole.feed(data) == pieces.feed(data[:cut]) + pieces.feed(data[cut:])


def test_a_held_key_is_a_dead_man_as_long_as_the_terminal_answers():
    keyboard = HeldKeyboard()
    keyboard.heard(0)
    keyboard.press(Key("w"), 0, False)
    keyboard.press(Key("space"), 0, False)
    assert keyboard.wish(0, False) == Wish((1, 0, 0, 0, 0, 0, 0), "held")
    keyboard.press(Key("w", "release"), 0, False)
    assert keyboard.wish(0, False) == Wish(hand="held"), "space alone holds"
    assert keyboard.wish(SILENT_NS + 1, False) == Wish()
    keyboard.heard(SILENT_NS + 2)
    keyboard.press(Key("space", "repeat"), 0, False)
    assert keyboard.wish(SILENT_NS + 2, False) == Wish(), "it must be pressed anew"


# -- what is made of it ----------------------------------------------------------------------------

axes = st.tuples(*[st.floats(-3, 3)] * 7)
caps = st.builds(Caps, st.floats(0.005, 1.0), st.floats(0.02, 1.0))
controls = st.builds(
    Controls,
    caps,
    st.sampled_from(["standby", "drive"]),
    st.sampled_from(["base", "tool", "joint"]),
    st.floats(0.05, 1.0),
)


@given(axes, controls, st.sampled_from(["off", "jog", "held"]), st.integers(1, 8))
def test_no_command_is_faster_than_its_caps_and_none_moves_without_a_hand(axes, how, hand, joints):
    made = command(Wish(axes, hand), how, "ann", joints, 0.0, 5)
    if how.frame == "joint":
        assert made.velocity.shape == (joints,)
        assert (abs(made.velocity) <= how.caps.rad_s + 1e-9).all()
    else:
        assert np.linalg.norm(made.velocity[:3]) <= how.caps.m_s + 1e-9
        assert np.linalg.norm(made.velocity[3:]) <= how.caps.rad_s + 1e-9
    if not made.deadman:
        assert not made.velocity.any()
        assert made.gripper is None
    assert made.deadman == (hand == "held" or (hand == "jog" and how.want == "drive"))


@given(st.floats(-2, 2))
def test_sticks_have_a_dead_zone_and_an_end(x):
    assert abs(shaped(x)) <= 1
    assert shaped(-x) == -shaped(x)
    assert (shaped(x) == 0) == (abs(x) <= 0.1)


# -- small memories --------------------------------------------------------------------------------


def test_a_latched_hand_must_let_go_once():
    latch, held = Latch(), Wish(hand="held")
    assert latch.fold(held) is held
    latch.close("frozen")
    assert latch.fold(held) == latch.fold(Wish()) == Wish()
    assert latch.fold(held) is held


def test_a_grip_is_asked_for_until_understood_and_never_later():
    fingers = Fingers()
    fingers.ask(0.0, NS_PER_S)
    assert fingers.value("hold", NS_PER_S) == 0.0
    assert fingers.value("teleop", 2 * NS_PER_S) == 0.0
    assert fingers.value("teleop", 2 * NS_PER_S + 400 * NS_PER_MS) is None
    fingers.ask(1.0, 5 * NS_PER_S)
    assert fingers.value("hold", 8 * NS_PER_S) is None, "nobody drove: forgotten"


def test_the_bell_rings_until_somebody_answers():
    call = Call()
    hold = state(mode="hold", t_wake_ns=10 * NS_PER_S)
    call.hear(Event(source="executor", level="info", kind="mode", text="hold → policy"))
    assert not call.rings(hold, 10 * NS_PER_S)
    call.hear(STARVED)
    assert call.rings(hold, 10 * NS_PER_S)
    assert not call.rings(hold, 11 * NS_PER_S)
    assert call.rings(hold, 12 * NS_PER_S)
    call.answer()
    assert not call.rings(hold, 20 * NS_PER_S)


def test_only_a_policy_that_drives_since_the_call_has_answered_it():
    call = Call()
    call.hear(STARVED)
    assert call.rings(state(mode="policy", t_wake_ns=STARVED.t_ns - 1), 10 * NS_PER_S)
    assert not call.rings(state(mode="policy", t_wake_ns=STARVED.t_ns + 1), 20 * NS_PER_S)
    assert call.text is None
