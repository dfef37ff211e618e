"""Cameras in a configuration: one block each, and words for whoever mistypes it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tandem.runtime import config
from tandem.runtime.app import build
from tandem.runtime.config_cameras import BUILT_IN, Mcap, RealSense, Uvc, moves
from tandem.runtime.errors import ConfigError

BASE: dict[str, Any] = {
    "schema": 1,
    "robot": {"name": "c", "arm": {"driver": "fake"}, "limits": {"file": "limits/panda.yaml"}},
}
SIZE = {"size": [640, 480]}
BLOCKS: dict[str, dict[str, Any]] = {
    "realsense": {"serial": "0123", "depth": True, "exposure_us": 8000, "settings": {"gain": 64}},
    "uvc": {"device": "/dev/v4l/by-id/usb-cam-index0", "format": "YUYV", "sensor_size": [800, 600]},
    "video": {"file": "clip.mp4", "loop": False, "every_frame": True, "fit": "pad"},
    "folder": {"path": "stills"},
    "mcap": {"path": "/data/run", "camera": "front"},
}


def written(folder: Path, /, **blocks: Any) -> Path:
    file = folder / "robot.yaml"
    file.write_text(yaml.safe_dump({**BASE, "cameras": blocks}))
    return file


@pytest.mark.parametrize("driver", BLOCKS)
def test_each_driver_is_found_by_its_name_and_survives_being_saved(tmp_path: Path, driver: str):
    block = {"driver": driver, **SIZE, **BLOCKS[driver], "latency_ms": 40}
    settings = config.load(written(tmp_path, front=block))
    camera = build.camera(settings, "front", settings.cameras["front"])
    assert (camera.spec.width, camera.spec.height, camera.spec.rate_hz) == (640, 480, 30.0)
    assert camera.spec.latency_ns == 40_000_000
    assert camera.spec.depth == (driver == "realsense")
    camera.close()
    config.save(settings, tmp_path / "saved.yaml")
    again = config.load(tmp_path / "saved.yaml")
    assert again.cameras == settings.cameras
    assert type(again.cameras["front"]) is BUILT_IN[driver]


def test_files_lie_beside_the_configuration_and_overrides_reach_every_key(tmp_path: Path):
    file = written(
        tmp_path,
        front={"driver": "mcap", "path": "run", **SIZE},
        wrist={"driver": "uvc", "device": 0, **SIZE},
        top={"driver": "realsense", **SIZE},
    )
    settings = config.load(file, ["cameras.wrist.device=/dev/video2", "cameras.top.depth=true"])
    front, wrist, top = (settings.cameras[name] for name in ("front", "wrist", "top"))
    assert isinstance(front, Mcap)
    assert front.path == str(tmp_path / "run")
    assert isinstance(wrist, Uvc)
    assert wrist.device == "/dev/video2"
    assert isinstance(top, RealSense)
    assert top.depth
    assert top.file == ""


def test_only_what_a_sensor_sees_must_change(tmp_path: Path):
    blocks = {d: {"driver": d, **SIZE, **keys} for d, keys in BLOCKS.items()}
    blocks["replayed"] = {"driver": "realsense", "file": "a.db3", **SIZE}
    blocks["mine"] = {"driver": "my_lab.camera:make", **SIZE, "options": {"port": 3}}
    settings = config.load(written(tmp_path, **blocks))
    assert {n for n, given in settings.cameras.items() if moves(given)} == {
        "realsense",
        "uvc",
        "mine",
    }


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (
            {"driver": "realsens", **SIZE},
            "cameras.front.driver.*'realsens'; did you mean realsense",
        ),
        (
            {"driver": "zed", **SIZE},
            "there are sim, realsense, uvc, video, folder, mcap.*module:fact",
        ),
        (
            {"driver": "realsense", "seriall": "0123", **SIZE},
            "unknown key cameras.front.seriall; did you mean cameras.front.serial",
        ),
        ({"driver": "uvc", **SIZE}, "missing required field `device`.*`cameras.front`"),
        (
            {"driver": "uvc", "device": 0, "format": "H264", **SIZE},
            r"cameras\.front\.format: no 'H264'; valid here: ",
        ),
        ({"driver": "video", "file": "a.mp4"}, "missing required field `size`"),
        (
            {"driver": "folder", "path": "p", "size": [0, 480]},
            r"`int` >= 16.*`cameras.front.size\[0\]`",
        ),
        (
            {"driver": "uvc", "options": {"device": 0}, **SIZE},
            "options is for drivers of your own.*device, sensor_size, format",
        ),
        ("realsense", "cameras.front"),
        ({**SIZE}, "missing required field `driver`.*`cameras.front`"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_is_named_with_what_would_be_right(tmp_path: Path, block: Any, words: str):
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        config.load(written(tmp_path, front=block))


def test_one_device_cannot_be_two_cameras(tmp_path: Path):
    same = {"driver": "realsense", "serial": "0123", **SIZE}
    with pytest.raises(
        ConfigError, match=r"cameras\.a and cameras\.b are the same realsense, 0123"
    ):
        config.load(written(tmp_path, a=same, b=same))


def test_a_name_that_could_be_no_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="is no name for a camera"):
        config.load(written(tmp_path, **{"../front": {"driver": "sim", **SIZE}}))
