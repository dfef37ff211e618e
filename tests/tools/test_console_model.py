"""The console's figures and its pages: pure, with invented time."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from tandem.runtime import config
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.messages import Event
from tandem.runtime.summary import Summary
from tandem.tools import report
from tandem.tools.console import figures, frame_panels, ink, loops_panel, text, way_panel
from tandem.tools.console.bands import Bands
from tandem.tools.console.gpu import parse
from tandem.tools.console.model import Model
from tandem.tools.console.window import Window, spread

from tests.tools import console_speaker as speaker

T0 = 50 * NS_PER_S
TENTH = NS_PER_S // 10
BANDS = Bands(thresholds=(0.5, 0.5))


def heard(tenths=40, **state):
    """A model after so many tenths of a second of the known run, and the time then."""
    model, now_ns = Model(BANDS, T0), T0
    for number in range(tenths):
        now_ns = T0 + (number + 1) * TENTH
        model.feed(now_ns, speaker.tick(number, now_ns))
        model.feed(now_ns, speaker.conditioning(number, now_ns))
        model.feed(now_ns, speaker.state(now_ns, seq=number, **state))
        model.feed(now_ns, speaker.chunk(now_ns))
    return model, now_ns


# -- figures --------------------------------------------------------------------------------------


def test_figures_agree_with_the_run_report_of_the_same_ticks():
    random = np.random.default_rng(3)
    model, summary, now_ns = Model(BANDS, T0), Summary(), T0
    for number in range(95):  # all of it within one window
        now_ns = T0 + number * TENTH
        tick = speaker.tick(number, now_ns)
        tick.lateness_ns = random.lognormal(10, 1.5, 100).astype(np.int64)
        tick.work_ns = random.lognormal(12, 1.0, 100).astype(np.int64)
        for fold in (model.feed, summary.fold):
            fold(now_ns, tick)
            fold(now_ns, speaker.conditioning(number, now_ns))
    shown = model.snapshot(now_ns)
    told = report.build(summary, "cell", 9.5)
    loop, said = shown.loops[0], told["loops"]["executor"]
    assert (loop.ticks, loop.missed_ticks) == (said["ticks"], said["missed_ticks"])
    assert loop.rate_hz == said["rate_hz"]
    assert loop.counters == said["counters"]
    for mine, theirs in ((loop.lateness, "lateness_ms"), (loop.work, "work_ms")):
        for spread_, tolerance in ((mine.attached, 1e-9), (mine.window, 0.02)):
            for field, name in (("p50_ms", "p50"), ("p99_ms", "p99"), ("p999_ms", "p999")):
                assert getattr(spread_, field) == pytest.approx(said[theirs][name], rel=tolerance)
            assert spread_.max_ms == said[theirs]["max"]
    whole = told["latency_ms"]["executor.camera_command"]
    assert shown.latency.total.attached.p99_ms == whole["p99"]
    assert shown.cache.macs_saved == told["s2"]["macs_saved"]
    assert [level.refreshes for level in shown.cache.levels] == told["s2"]["refreshes"]


def test_the_window_forgets_and_the_rest_does_not():
    model, _ = heard(10)
    for number in range(10, 130):
        now_ns = T0 + number * TENTH
        tick = speaker.tick(number, now_ns)
        tick.lateness_ns = tick.lateness_ns * 0 + NS_PER_MS // 10
        model.feed(now_ns, tick)
    late = model.snapshot(now_ns).loops[0].lateness
    assert late.window.max_ms == 0.1
    assert late.attached.max_ms == speaker.LATENESS_NS.max() / NS_PER_MS
    assert late.attached.n == 130 * speaker.BATCH
    silent = model.snapshot(now_ns + 11 * NS_PER_S)
    assert silent.loops[0].lateness.window is None


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=300))
def test_quantiles_are_those_of_the_definition(values):
    array = np.array(values, np.int64)
    found, ordered = spread(array), np.sort(array)
    for q, value_ms in ((0.5, found.p50_ms), (0.99, found.p99_ms), (0.999, found.p999_ms)):
        exact_ms = ordered[max(int(np.ceil(q * len(values))), 1) - 1] / NS_PER_MS
        assert value_ms == pytest.approx(exact_ms, abs=1e-4)
    assert found.max_ms == pytest.approx(array.max() / NS_PER_MS, abs=1e-4)


@given(st.lists(st.integers(0, 10**11), max_size=200))
def test_no_value_is_missing_from_the_bins_or_in_the_wrong_one(values):
    window = Window()
    window.add(T0, np.array(values, np.int64))
    bins = window.bins()
    assert sum(each.n for each in bins) == len(values)
    for upto_ms in (each.upto_ms for each in bins[:-1]):
        below = sum(each.n for each in bins if each.upto_ms <= upto_ms)
        assert below == sum(value / NS_PER_MS <= upto_ms for value in values)


def test_pieces_of_the_way_add_up_to_the_whole():
    model, now_ns = heard()
    way = model.snapshot(now_ns).latency
    assert way.stages[0].name == "camera → S2"
    assert sum(s.mean_ms for s in way.stages) == pytest.approx(104)
    assert [s.begin_ms for s in way.stages] == pytest.approx([0, 90, 94, 100, 103])
    assert way.total.window.p50_ms == 104
    assert way.health == "ok"
    assert way.budget_ms == BANDS.conditioning_slow_ms


def test_a_silent_loop_is_shown_as_that_within_a_second():
    model, now_ns = heard()
    assert model.snapshot(now_ns).loops[0].health != "error"
    mute = model.snapshot(now_ns + NS_PER_S + 1).loops[0]
    assert (mute.health, mute.rate_hz) == ("error", 0.0)
    assert mute.silent_s == 1.0
    assert "mute" in ink.plain(loops_panel.loops(model.snapshot(now_ns + 2 * NS_PER_S), 80))


def test_bands_of_age_are_the_ladders():
    model, now_ns = heard()
    for after_ms, health in ((0, "ok"), (450, "warn"), (950, "error")):
        said = model.snapshot(now_ns + after_ms * NS_PER_MS).conditioning
        assert said.health == health, said
    assert model.snapshot(now_ns).conditioning.acted_on_ms == 150
    assert model.snapshot(now_ns).conditioning.peak_ms == pytest.approx(190)


def test_bands_of_a_loop_are_its_period():
    for late_us, health in ((100, "ok"), (600, "warn"), (1100, "error")):
        model = Model(BANDS, T0)
        tick = speaker.tick(0, T0)
        tick.lateness_ns = np.full(100, late_us * 1000)
        model.feed(T0, tick)
        assert model.snapshot(T0).loops[0].health == health


def test_bands_are_what_the_configuration_says(tmp_path):
    """As the daemon has saved it; of the lateness, the work and the way from camera to command."""
    asked = ["console.lateness={warn: 0.05, error: 0.2}", "console.work={warn: 0.5, error: 0.9}"]
    asked += ["console.latency_ms={warn: 90, error: 110}", "executor.priority=7"]
    config.save(config.load("sim_panda", asked), tmp_path / "config.yaml")
    limits = Bands.of(tmp_path)
    assert (limits.priority, limits.thresholds) == (7, (0.5, 0.5))
    model = Model(limits, T0)
    for number in range(10):
        model.feed(T0, speaker.tick(number, T0))
    shown = model.snapshot(T0)
    late, work = shown.loops[0].lateness, shown.loops[0].work
    assert (late.warn_ms, late.limit_ms) == pytest.approx((0.05, 0.2))
    assert (work.warn_ms, work.limit_ms) == pytest.approx((0.5, 0.9))
    assert shown.loops[0].health == "error", "0.297 of a period"
    assert (shown.latency.health, shown.latency.budget_ms) == ("warn", 110)
    (tmp_path / "config.yaml").write_text("schema: 2")
    assert Bands.of(tmp_path) == Bands()


def test_the_robot_and_its_fault():
    model, now_ns = heard(mode="fault", fault="the arm is silent", pace=0.0)
    robot = model.snapshot(now_ns).robot
    assert (robot.mode, robot.fault, robot.health) == ("fault", "the arm is silent", "error")
    head = ink.plain(frame_panels.head(model.snapshot(now_ns), 80))
    assert "FAULT the arm is silent" in head
    old = ink.plain(frame_panels.head(model.snapshot(now_ns + 700 * NS_PER_MS), 80))
    assert "FAULT?" in old
    assert "silent for 0.7 s" in old
    model, now_ns = heard(pace=0.4, holding_for="conditioning is old")
    assert model.snapshot(now_ns).robot.health == "warn"
    assert "40%" in ink.plain(frame_panels.head(model.snapshot(now_ns), 80))


def test_the_cache_and_the_chunks():
    model, now_ns = heard(40)
    shown = model.snapshot(now_ns)
    first, second = shown.cache.levels
    assert (first.gate, second.gate) == (0.25, 0.75)
    assert (first.refreshes, second.refreshes) == (0, 20)
    assert shown.cache.macs_saved_in_window == pytest.approx(0.6)
    assert shown.chunks.counts == {"joined": 39, "late": 3}
    assert shown.chunks.seams["sent_q_rad"] == 0.002
    assert (shown.chunks.horizon, shown.chunks.infer_ms) == (16, 6.0)
    words = ink.plain(way_panel.minds(shown, 36, 8))
    assert "L2 0.75/.5" in words
    assert "late 3" in words
    assert "2 mrad" in words


def test_events_are_newest_first_and_one_line_each():
    model = Model(BANDS, T0)
    for number in range(150):
        words = f"number {number}\n    and more"
        event = Event(t_ns=T0, source="s1", level="warn", kind="x", text=words)
        model.feed(T0, event)
    said = model.snapshot(T0 + NS_PER_S).events
    assert said[0].text == "number 149 · and more"
    assert said[0].age_s == 1.0
    assert len(said) == 100


def test_a_restarted_loop_counts_on():
    model, now_ns = heard(30)
    model.feed(now_ns + 1, speaker.tick(0, now_ns + 1))
    loop = model.snapshot(now_ns + 1).loops[0]
    assert loop.restarts == 1
    assert loop.missed_ticks == 2


def test_a_snapshot_is_frozen_and_json():
    model, now_ns = heard()
    shown = model.snapshot(now_ns)
    before = json.dumps(figures.to_json(shown))
    model.feed(now_ns, speaker.tick(99, now_ns + TENTH))
    assert json.dumps(figures.to_json(shown)) == before
    with pytest.raises(AttributeError):
        shown.robot.mode = "idle"
    assert msgspec.convert(json.loads(before), figures.Snapshot) == shown


# -- pages ----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(20, 260), st.integers(1, 60), st.booleans(), st.sampled_from([0, 1, 40]))
def test_every_line_is_exactly_as_wide_as_its_panel(width, height, attached, tenths):
    model, now_ns = heard(tenths)
    shown = model.snapshot(now_ns)
    pages = [
        loops_panel.loops(shown, width, attached),
        way_panel.latency(shown, width, height),
        way_panel.minds(shown, width, height),
        frame_panels.events(shown, width, height),
        frame_panels.head(shown, width, attached),
        frame_panels.help_page(width),
        *(loops_panel.focus(loop, 1, width, height) for loop in shown.loops),
    ]
    for page in pages:
        for line in page:
            assert sum(cell_len(part) for part, _ in line) == width
    assert len(loops_panel.all_histograms(shown.loops, width, height)) <= height


@given(st.floats(0, 1e6), st.floats(0, 1e11))
def test_numbers_keep_to_their_column(ms, count):
    assert len(ink.time4(ms)) <= 4
    assert len(ink.count4(count)) <= 4


@given(st.floats(-1, 2), st.floats(-1, 2), st.integers(0, 80))
def test_a_bar_has_its_width(begin, end, width):
    assert cell_len(ink.bar(begin, end, width)) == width


@given(st.integers(1, 40))
def test_a_histogram_of_few_rows_still_counts_every_tick(rows):
    model, now_ns = heard(1)
    lines = loops_panel.histograms(model.snapshot(now_ns).loops[0], 120, rows + 1)
    assert 1 < len(lines) <= rows + 1
    counts = [ink.plain([line]).rpartition(" ")[2] for line in lines[1:]]
    assert sum(int(n) for n in counts if n.isdecimal()) == speaker.BATCH


def test_a_bar_is_as_long_as_what_it_shows():
    assert ink.bar(0.5, 1.0, 8).rstrip() == "    ████"
    assert ink.bar(0.0, 1 / 64, 8).rstrip() == "▏"
    assert ink.bar(0.99, 1.0, 8) == "       ▏"


def test_a_narrow_screen_shows_every_figure_that_matters():
    model, now_ns = heard()
    page = text.page(model.snapshot(now_ns), 80)
    for words in ("1000", "150µ", "297µ", "300µ", "camera → S2", "104m", "late 3", "POLICY"):
        assert words in page


def test_cards_that_do_not_tell_everything():
    cards = parse("NVIDIA H200, 37, 1024, 143771\nOld, Card, [N/A], 2, 3\n\nnonsense\n")
    assert cards[0] == figures.Gpu("NVIDIA H200", 0.37, 1024, 143771)
    assert cards[1] == figures.Gpu("Old, Card", 0.0, 2, 3)
    assert len(cards) == 2
