"""What every camera's driver must do. A law fails with an AssertionError, whatever the driver does.

None looks inside a driver; what is true is known from the pictures, which carry their number.
"""

import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.errors import DeviceError, DeviceTimeoutError
from tandem.runtime.interfaces import Camera

from tests.drivers.camera_rig import CORNER, GROUND, Subject, number_in

_READ_NS = 250 * NS_PER_MS
_START_S, _SLACK_S = 20.0, 0.6  # to open a device may take long; a machine may stall
_STALLS = 10  # so often in a row a machine does not stall
_SENTINEL = 123
_FAR = 60  # of 255: what coding may do to a colour, and more


@dataclass
class Seen:
    image: np.ndarray
    number: int
    t_ns: int
    now_ns: int


def look(camera: Camera, frames: int, seconds: float = 3.0) -> list[Seen]:
    """So many frames; time-outs while a device opens, or a film begins anew, are waited out."""
    height, width = camera.spec.height, camera.spec.width
    end_s = time.monotonic() + _START_S + seconds
    seen: list[Seen] = []
    while len(seen) < frames:
        out = np.full((height, width, 3), _SENTINEL, np.uint8)
        try:
            t_ns = camera.read(out, _READ_NS)
        except DeviceTimeoutError:
            assert time.monotonic() < end_s, f"only {len(seen)} of {frames} frames came"
            continue
        seen.append(Seen(out, number_in(out), t_ns, time.monotonic_ns()))
    return seen


def near(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - np.array(colour)).max() < _FAR)


def pictures_are_rgb_and_whole(given: Subject, seen: list[Seen]) -> None:
    for frame in seen:
        height, width = frame.image.shape[:2]
        assert frame.image.dtype == np.uint8
        ground = frame.image[height // 3, width // 2]
        assert near(ground, GROUND), f"red is not red: {ground}"
        assert near(frame.image[height // 20, width // 20], CORNER), "the corner is elsewhere"
        left = int((frame.image == _SENTINEL).all(axis=2).sum())
        assert left < 4, f"{left} pixels were not written"
        assert frame.number >= 0, "the picture is of another size or shape"


def stamps_rise_on_our_clock(given: Subject, seen: list[Seen]) -> None:
    stamps = [frame.t_ns for frame in seen]
    assert np.all(np.diff(stamps) > 0), "time stood still or went back"
    ages_s = np.array([frame.now_ns - frame.t_ns for frame in seen]) / NS_PER_S
    assert ages_s.min() >= 0, "a frame of the future"
    assert np.median(ages_s) < 1.0, f"{np.median(ages_s):.1f} s old: on another clock?"


def every_frame_is_new_and_as_far_apart_as_it_says(given: Subject, seen: list[Seen]) -> None:
    """Time by the stamps against time by the pictures; a film's seam is left out."""
    period_ms = 1000 / given.rate_hz
    apart = []
    for before, after in pairwise(seen):
        passed_ms = (after.t_ns - before.t_ns) / NS_PER_MS
        again = passed_ms > (given.frames - 1) * period_ms  # after a stall: the film has begun anew
        assert before.number != after.number or again, "the same picture under a new stamp"
        if after.number > before.number:
            apart.append(passed_ms - (after.number - before.number) * period_ms)
    assert np.median(np.abs(apart)) < period_ms / 2, f"stamps and pictures disagree: {apart}"


def its_latency_is_honoured(given: Subject, seen: list[Seen]) -> None:
    """Pictures are as much older as is declared, and this driver's own idea of it apart."""
    declared_ms = 180
    camera = given.make(latency_ms=declared_ms)
    try:
        later = look(camera, 6)
    finally:
        camera.close()
    youngest_ms = min(frame.now_ns - frame.t_ns for frame in later) / NS_PER_MS
    assert youngest_ms >= declared_ms, f"{youngest_ms:.0f} ms old"
    assert youngest_ms < declared_ms + 1000 * _SLACK_S


def another_shape_is_cropped_about_its_middle(given: Subject, seen: list[Seen]) -> None:
    camera = given.make(size=(96, 96))
    try:
        assert all(frame.number >= 0 for frame in look(camera, 3)), "it was distorted"
    finally:
        camera.close()


def after_a_stall_the_newest_comes(given: Subject, seen: list[Seen]) -> None:
    """Whoever was kept from looking acts on what is there now, not on what waited for him."""
    camera, waited_ms = given.make(), [float("inf")]
    try:
        while waited_ms[-1] >= 300:
            assert len(waited_ms) <= _STALLS, f"pictures that had waited for {waited_ms[1:]} ms"
            look(camera, 3)
            time.sleep(0.5)
            resumed_ns = time.monotonic_ns()
            waited_ms.append((resumed_ns - look(camera, 1)[0].t_ns) / NS_PER_MS)
    finally:
        camera.close()


def no_read_is_longer_than_its_deadline(given: Subject, seen: list[Seen]) -> None:
    camera = given.slow()
    out, timeout_s = np.empty((camera.spec.height, camera.spec.width, 3), np.uint8), 0.15
    given_frames = timed_out = 0
    took_s = []
    try:
        end_s = time.monotonic() + 6.0
        while timed_out < 3 and time.monotonic() < end_s:
            before_s = time.monotonic()
            try:
                camera.read(out, round(timeout_s * NS_PER_S))
                given_frames += 1
            except DeviceTimeoutError:
                timed_out += 1
            took_s.append(time.monotonic() - before_s)
        assert np.median(took_s) < timeout_s + _SLACK_S, f"reads took {np.round(took_s, 1)} s"
        assert timed_out, f"no time-out, but {given_frames} frames, while none came"
    finally:
        given.go_on()
        camera.close()


def what_is_unplugged_says_so_and_goes_on_when_it_is_back(given: Subject, seen: list[Seen]) -> None:
    camera = given.make()
    try:
        newest_ns = look(camera, 3)[-1].t_ns
        given.unplug()
        try:
            error = _first_error(camera, given.away_s + _SLACK_S)
        finally:
            given.plug()
        assert any(word in str(error) for word in ("plug", "correct")), f"what to do? {error}"
        back = look(camera, 3)
        assert back[0].t_ns > newest_ns
    finally:
        camera.close()


def _first_error(camera: Camera, within_s: float) -> DeviceError:
    """The first that says more than that nothing came. A stall of the machine does not count."""
    out = np.empty((camera.spec.height, camera.spec.width, 3), np.uint8)
    waited_s = 0.0
    while waited_s < within_s:
        before_s = time.monotonic()
        try:
            camera.read(out, _READ_NS)
        except DeviceTimeoutError:
            pass
        except DeviceError as error:
            return error
        waited_s += min(time.monotonic() - before_s, 1.2 * _READ_NS / NS_PER_S)
    raise AssertionError(f"nothing was said of it within {within_s:.1f} s")


def it_closes_in_every_state_and_opens_again(given: Subject, seen: list[Seen]) -> None:
    camera = given.make()
    camera.close()  # never opened
    look(camera, 2)
    camera.close()
    camera.close()  # closed already
    assert look(camera, 2), "not opened again"
    begun_s = time.monotonic()
    camera.close()
    assert time.monotonic() - begun_s < 8.0


def a_second_one_is_refused_where_the_device_refuses(given: Subject, seen: list[Seen]) -> None:
    first, second = given.make(), given.make()
    try:
        look(first, 2)
        if given.exclusive:
            assert "another program" in str(_first_error(second, 2.0))
        else:
            look(second, 2)
        look(first, 2)  # and the first one goes on
    finally:
        first.close()
        second.close()


def it_tells_what_it_is(given: Subject, seen: list[Seen]) -> None:
    camera = given.make()
    try:
        look(camera, 1)
        for _ in range(_STALLS):  # after a stall it is not sure of its clock for two seconds
            facts = camera.facts()  # type: ignore[attr-defined]
            assert facts.text
            assert facts.clock
            assert facts.clock_error_ns is not None
            if facts.clock_error_ns < 200 * NS_PER_MS:
                break
            look(camera, round(2.5 * given.rate_hz))
        assert 0 <= facts.clock_error_ns < 200 * NS_PER_MS
    finally:
        camera.close()


LAWS = (
    pictures_are_rgb_and_whole,
    stamps_rise_on_our_clock,
    every_frame_is_new_and_as_far_apart_as_it_says,
    its_latency_is_honoured,
    another_shape_is_cropped_about_its_middle,
    after_a_stall_the_newest_comes,
    no_read_is_longer_than_its_deadline,
    what_is_unplugged_says_so_and_goes_on_when_it_is_back,
    it_closes_in_every_state_and_opens_again,
    a_second_one_is_refused_where_the_device_refuses,
    it_tells_what_it_is,
)
