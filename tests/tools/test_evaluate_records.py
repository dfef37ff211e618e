"""Episodes add up to a result whose keys are part of the interface."""

import json
from io import StringIO

import pytest
from rich.console import Console
from tandem.tools.evaluate import records, report
from tandem.tools.evaluate.records import Change, Episode, Frames, Terms
from tandem.tools.evaluate.seeds import FRESH, scene_seed, stream

_TERMS = Terms(
    config="sim_panda",
    task="pick",
    clock="sim",
    cache="sdvla",
    disturb="jump",
    seed=3,
    time_limit_s=10,
)


def _episode(index: int, success: bool, **more) -> Episode:
    return Episode(
        index=index,
        seed=scene_seed(3, index),
        instruction="pick up the red cube",
        target="red",
        success=success,
        t_s=4.0 + index,
        **more,
    )


def _result(outcomes: list[bool], **more) -> records.Result:
    return records.summarise(_TERMS, [_episode(i, s, **more) for i, s in enumerate(outcomes)], 1.5)


def test_the_promised_keys_are_there():
    data = json.loads(report.as_json([_result([True, True, False])], []))
    assert (data["episodes"], data["successes"], data["wrong_object"]) == (3, 2, 0)
    assert data["ci95"][0] < 2 / 3 < data["ci95"][1]
    assert data["terms"]["disturb"] == "jump"
    assert len(data["records"]) == 3


def test_changes_count_when_visible_and_refreshed_in_time():
    changes = [
        Change("jump", 1.0, True, 9, 1),
        Change("jump", 2.0, True, 9, 4),
        Change("jump", 3.0, True, 9, None),
        Change("jump", 4.0, False, 9, None),
    ]
    result = _result([True], changes=changes)
    assert (result.changes, result.changes_visible) == (4, 3)
    assert (result.refreshed_within_2, result.refreshed_within_5) == (1, 2)


def test_phases_and_work_add_up_over_episodes():
    frames = Frames()
    frames.add([False, True])
    frames.add([False, False])
    result = _result([True, False], phases={"arm": frames}, macs=25, macs_full=100)
    assert result.refreshes["arm"] == Frames(4, [0, 2])
    assert result.cache_saved == pytest.approx(0.75)
    assert report.refreshed(result.refreshes["arm"]) == "L1 0 / L2 2 of 4 frames (0.0 / 50.0 %)"


def test_no_work_counted_is_not_all_work_saved():
    assert _result([True]).cache_saved is None


def test_only_the_same_scenes_are_compared():
    first, second = _result([True, True, False]), _result([False, True, False])
    pair = records.compare(first, second)
    assert (pair.only_first, pair.only_second) == (1, 0)
    assert "-33.3 points" in report.paired_line("gate shut", first, second)
    with pytest.raises(ValueError, match="same seeds"):
        records.compare(first, _result([True]))


def test_a_table_is_shown_for_people():
    console = Console(width=140, record=True, file=StringIO())
    console.print(
        report.table(_result([True] * 19 + [False], changes=[Change("jump", 1, True, 3, 2)]))
    )
    text = console.export_text()
    assert "19 of 20 = 95.0 %" in text
    assert "20 within 2 frames" in text


def test_percentiles_are_nearest_rank():
    assert records.percentiles([]) == {}
    assert records.percentiles([5.0]) == {"p50": 5.0, "p95": 5.0, "p99": 5.0, "max": 5.0}
    assert records.percentiles([float(n) for n in range(1, 101)])["p95"] == 95.0


def test_scenes_are_fresh_repeatable_and_all_different():
    seeds = [scene_seed(seed, index) for seed in range(3) for index in range(300)]
    assert len(set(seeds)) == 900
    assert all(FRESH <= seed < 2 * FRESH for seed in seeds)
    assert scene_seed(7, 5) == scene_seed(7, 5)
    assert stream(1, "arm").random() == stream(1, "arm").random() != stream(1, "words").random()
