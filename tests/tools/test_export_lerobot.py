"""A recording becomes a dataset: counts, flags, pictures and time agree with what was recorded."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tandem.runtime import streams
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import ConfigError
from tandem.tools.export.lerobot import export
from tandem.tools.record.reader import Recording

from tests.tools.recorder_rig import SIZE, D, Rig, state, task

pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.process
TICK_NS = 5 * NS_PER_MS
FPS = 30
# Of an environment in which `pip install lerobot` was done; README says how.
LEROBOT = os.environ.get("TANDEM_LEROBOT_PYTHON")


def drive(rig: Rig, since_ns: int, *spans: tuple[str, int]) -> int:
    """States of (mode, ticks); joint 1 goes 1 mrad further in each. Returns the next stamp."""
    t_ns, i = since_ns, 0
    for mode, ticks in spans:
        for _ in range(ticks):
            q = np.full(D, i * 1e-3)
            rig.say(streams.STATE, state(t_ns=t_ns, mode=mode, q=q, q_cmd=q + 0.5))
            t_ns, i = t_ns + TICK_NS, i + 1
            time.sleep(0.0005)
    return t_ns


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Two instructions: 1.5 s of policy with 0.5 s by hand in the middle; then 0.5 s of policy."""
    rig = Rig(tmp_path_factory.mktemp("export"))
    try:
        rig.until(lambda: rig.recorded("recorded_tick") > 0)
        began_ns = time.monotonic_ns()
        for i in range(40):  # a picture every 50 ms, each brighter
            image = np.full((SIZE[1], SIZE[0], 3), 5 * i, np.uint8)
            rig.ring.write(began_ns + i * 50 * NS_PER_MS, image)
            if i % 10 == 9:  # none is overwritten before it is seen
                rig.until(lambda n=i + 1: rig.recorded("recorded_image") == n)
        rig.say(streams.TASK, task())
        # Between two sockets there is no order: each waits for the other.
        rig.until(lambda: rig.recorded("recorded_task") == 1)
        before = rig.recorded("recorded_state")
        next_ns = drive(
            rig, began_ns, ("policy", 100), ("hold", 4), ("teleop", 100), ("policy", 96)
        )
        second = task()
        second.instruction, second.instruction_id = "put it down", 2
        rig.until(lambda: rig.recorded("recorded_state") == before + 300)
        rig.say(streams.TASK, second)
        rig.until(lambda: rig.recorded("recorded_task") == 2)
        drive(rig, next_ns, ("hold", 20), ("policy", 100), ("hold", 10))
        rig.until(lambda: rig.recorded("recorded_state") == before + 430)
        rig.end()
        return Recording(rig.folder)
    finally:
        rig.close()


@pytest.fixture(scope="module")
def dataset(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dataset") / "out"
    told = export(recording, out, FPS)
    assert told == "2 episodes, 60 frames at 30 Hz, 15 by hand, front"
    return out


def read(dataset: Path, name: str) -> dict[str, list[Any]]:
    return pq.read_table(dataset / f"{name}.parquet").to_pydict()


def test_numbers_flags_and_tasks(dataset: Path) -> None:
    rows = read(dataset, "data/chunk-000/file-000")
    assert rows["index"] == list(range(60))
    assert rows["episode_index"] == [0] * 45 + [1] * 15
    assert rows["task_index"] == [0] * 45 + [1] * 15
    assert rows["frame_index"] == [*range(45), *range(15)]
    by_hand = [mode == "teleop" for mode in rows["mode"]]
    assert rows["complementary_info.is_intervention"] == by_hand
    np.testing.assert_allclose(rows["timestamp"][:45], np.arange(45) / FPS, atol=1e-6)
    measured = np.array(rows["observation.state"])[:45]
    sample = np.arange(45) * 1000 // FPS // 5  # the newest one at each frame
    np.testing.assert_allclose(measured[:, 0], sample * 1e-3, atol=1.1e-3)
    action = np.array(rows["action"])[:44]
    np.testing.assert_allclose(action[:, :D], measured[1:, :D] + 0.5, atol=1e-6)
    tasks = pq.read_table(dataset / "meta/tasks.parquet")
    assert tasks["task"].to_pylist() == ["move", "put it down"]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_episodes_say_where_their_frames_are(dataset: Path) -> None:
    info = json.loads((dataset / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 60, 2)
    assert info["features"]["action"]["names"][0] == "panda_joint1"
    rows = read(dataset, "meta/episodes/chunk-000/file-000")
    spans = list(zip(rows["dataset_from_index"], rows["dataset_to_index"], strict=True))
    assert spans == [(0, 45), (45, 60)]
    assert rows["tasks"] == [["move"], ["put it down"]]
    key = "videos/observation.images.front"
    assert rows[f"{key}/from_timestamp"] == pytest.approx([0, 45 / FPS])
    assert rows[f"{key}/to_timestamp"] == pytest.approx([45 / FPS, 60 / FPS])
    assert rows["stats/complementary_info.is_intervention/mean"] == [[15 / 45], [0.0]]


def test_pictures_are_those_of_the_time(dataset: Path) -> None:
    path = dataset / "videos/observation.images.front/chunk-000/file-000.mp4"
    film, seen = cv2.VideoCapture(str(path)), []
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(FPS)
    while (frame := film.read())[0]:
        seen.append(float(frame[1].mean()))
    film.release()
    assert len(seen) == 60
    first = np.arange(45) * 1000 // FPS // 50 * 5  # a picture each 50 ms, 5 brighter each
    np.testing.assert_allclose(seen[:45], first, atol=8)
    statistics = json.loads((dataset / "meta/stats.json").read_text())
    pixels = statistics["observation.images.front"]
    assert np.array(pixels["mean"]).shape == (3, 1, 1)
    assert pixels["max"][0][0][0] <= 1.0
    assert statistics["action"]["count"] == [60]


@pytest.mark.skipif(not LEROBOT, reason="TANDEM_LEROBOT_PYTHON names no Python with lerobot")
@pytest.mark.parametrize("decoder", ["torchcodec", "pyav"])
def test_lerobot_opens_it_with_its_own_loader(dataset: Path, decoder: str) -> None:
    """And decodes every picture of both episodes with its own decoder."""
    loader = str(Path(__file__).with_name("lerobot_loads.py"))
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(LEROBOT), loader, str(dataset), decoder], capture_output=True, text=True, env=offline
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["backend"] == decoder
    assert (found["frames"], found["episodes"], found["fps"]) == (60, 2, FPS)
    assert found["tasks"] == ["move"] * 45 + ["put it down"] * 15
    assert (
        found["intervened"]
        == read(dataset, "data/chunk-000/file-000")["complementary_info.is_intervention"]
    )
    assert found["shapes"] == {"observation.state": [D + 1], "action": [D + 1]}
    seen = np.array(found["brightness"]["observation.images.front"])
    np.testing.assert_allclose(seen[:45], np.arange(45) * 1000 // FPS // 50 * 5 / 255, atol=0.03)


def test_nothing_is_left_where_nobody_drove(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    try:
        drive(rig, time.monotonic_ns(), ("hold", 20))
        rig.end()
        with pytest.raises(ConfigError, match="nobody drove"):
            export(Recording(rig.folder), tmp_path / "out")
        assert not (tmp_path / "out").exists()
    finally:
        rig.close()
