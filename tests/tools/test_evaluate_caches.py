"""Caches side by side: which are asked for, what is said of each, and one scene under two."""

import json

import msgspec
import pytest
from tandem.policies.s2.policy import STRATEGIES
from tandem.runtime import config
from tandem.runtime.errors import ConfigError
from tandem.tools.evaluate import caches, records, report
from tandem.tools.evaluate.records import Change, Episode, Frames, Result, Terms
from tandem.tools.evaluate.scenario import scenario
from tandem.tools.evaluate.simulated import Stage


def test_names_come_repeated_or_with_commas_and_none_joins_a_comparison():
    assert caches.named(["sdvla"]) == ("sdvla",)
    assert caches.named(["both"]) == ("sdvla", "none")
    assert caches.named(["ttf,sdvla", "ttf"]) == ("ttf", "sdvla", "none")
    assert caches.named(["none", "lac"]) == ("none", "lac")
    assert caches.named(["all"]) == STRATEGIES
    with pytest.raises(ConfigError, match="luck: there is no such cache; there are sdvla, none, f"):
        caches.named(["sdvla,luck"])


def test_another_cache_and_nothing_else():
    given = config.load("sim_panda")
    made = caches.with_cache(given, "fixed_interval", 12)
    assert (made.s2.cache.strategy, made.s2.cache.max_age_frames) == ("fixed_interval", 12)
    assert caches.with_cache(made, "sdvla", given.s2.cache.max_age_frames) == given
    with pytest.raises(ConfigError, match=r"s2\.cache\.strategy"):
        config.load("sim_panda", ["s2.cache.strategy=luck"])


def _result(cache: str, outcomes: list[bool], **more) -> Result:
    terms = Terms(
        config="sim_panda", task="pick", clock="sim", cache=cache, disturb="none", seed=3,
        time_limit_s=10,
    )  # fmt: skip
    episodes = [
        Episode(i, i, "pick up the red cube", "red", success=s, t_s=4.0, **more)
        for i, s in enumerate(outcomes)
    ]
    return records.summarise(terms, episodes, 1.0, [10.0, 12.0, 30.0])


def test_rows_are_refreshes_where_levels_are_whole_and_scores_where_they_are_not():
    phases = {"arm": Frames(30, [0, 2]), "carry": Frames(20, [1, 5])}
    gated = _result("sdvla", [True, True], phases=phases, mean_score=0.9)
    assert caches.rows_anew(gated) == pytest.approx(7 / 50)
    assert caches.interval_frames(gated) == 7
    assert caches.rows_anew(_result("ttf", [True, True], mean_score=0.25)) == pytest.approx(0.25)
    assert caches.rows_anew(_result("ttf", [True])) is None
    assert caches.interval_frames(_result("sdvla", [True], phases={"arm": Frames(9)})) == 9
    # Two refreshes in each of two episodes of 9: every 9 // 2, not every 18 // 4 rounded up.
    often = _result("sdvla", [True, True], phases={"arm": Frames(9, [0, 2])})
    assert caches.interval_frames(often) == 4
    once = _result("sdvla", [True] * 3, phases={"arm": Frames(10, [0, 1])})
    assert caches.interval_frames(once) == 10


def test_a_change_that_was_never_taken_in_counts_as_long_as_it_lasted():
    changes = [Change("move", 1.0, True, 3, 1), Change("move", 2.0, True, 20, None)]
    changes.append(Change("move", 3.0, False, 9, None))
    gated = _result("sdvla", [True], changes=changes)
    assert caches.frames_to_refresh(gated) == {"p50": 1, "p95": 21, "p99": 21, "max": 21}
    assert caches.frames_to_refresh(_result("ttf", [True], changes=changes)) == {}
    disturbed = msgspec.structs.replace(gated.terms, disturb="jump")
    none = _result("none", [True])
    shown = caches.table([msgspec.structs.replace(gated, terms=disturbed), none])
    assert shown.columns[-1].header == "noticed"
    assert list(shown.columns[-1].cells) == ["1 / 21", ""]


def test_each_is_measured_by_none_of_the_same_run():
    none = _result("none", [True, True, True, False], macs=400, macs_full=400)
    fast = _result("sdvla", [True, False, True, True], macs=100, macs_full=400)
    shown = {row.cache: row for row in caches.rows([fast, none])}
    assert shown["none"].difference_points == 0
    assert shown["sdvla"].difference_points == 0
    assert shown["sdvla"].p_value == 1
    assert shown["sdvla"].macs_ratio == pytest.approx(0.25)
    assert shown["sdvla"].step_p50_ratio == 1
    assert shown["sdvla"].step_p99_ms == 30
    assert json.loads(report.as_json([fast, none], []))["caches"][0]["cache"] == "sdvla"
    assert json.loads(report.as_json([fast], []))["caches"] == []
    assert caches.table([fast, none]).row_count == 2


def test_one_scene_under_two_caches_on_one_stage():
    given = config.load("sim_panda")
    stage = Stage(given)
    other = stage.beside(caches.with_cache(given, "dual_cache"))
    scene = scenario(11, 0, "pick")
    gated, kept = (s.play(scene, scene.instruction) for s in (stage, other))
    stage.eye.close()
    assert gated.episode.seed == kept.episode.seed
    assert gated.episode.error is None
    assert kept.episode.error is None
    for played in (gated, kept):
        assert len(played.step_ms) > 10
        assert min(played.step_ms) > 0
    # The gate keeps whole levels for long; the rule some patches, between keyframes.
    frames = kept.episode.phases["arm"]
    assert frames.refreshed[0] == frames.frames
    assert 0.3 < kept.episode.mean_score < 1
    assert gated.episode.macs < kept.episode.macs < kept.episode.macs_full
