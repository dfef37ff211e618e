"""`tandem doctor cameras`: what a configuration's cameras really give, and a picture of each."""

import json
import os
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
import yaml
from tandem.runtime import config
from tandem.runtime.images import ImageRing
from tandem.runtime.interfaces import CameraSpec
from tandem.tools.doctor import cameras, looking

from tests.drivers.camera_rig import (
    FolderSubject,
    VideoSubject,
    emulated,
    has_compiler,
    number_in,
    picture,
)

CONFIG = {
    "schema": 1,
    "robot": {
        "name": "eyes",
        "arm": {"driver": "fake"},
        "limits": {"file": "limits/panda.yaml"},
    },
}


def _config(folder, **blocks):
    file = folder / "eyes.yaml"
    file.write_text(
        yaml.safe_dump({**CONFIG, "runtime_dir": str(folder / "run"), "cameras": blocks})
    )
    return file


def _unhurried(settings, seconds, out):
    """What is found, asked again for a while: a starved machine gives no camera its rate."""
    for _ in range(5):
        found = list(cameras.configured(settings, seconds, out))
        if found[0].verdict == "ok":
            break
    return found


def test_each_is_measured_and_shown_in_its_own_colours(tmp_path):
    for name in ("stills", "clip"):
        (tmp_path / name).mkdir()
    stills, clip = FolderSubject(tmp_path / "stills"), VideoSubject(tmp_path / "clip")
    file = _config(
        tmp_path,
        stills={"driver": "folder", **stills.keys(), "size": [160, 120], "rate_hz": 60},
        clip={"driver": "video", **clip.keys(), "size": [160, 120], "rate_hz": 90},
        gone={"driver": "folder", "path": "nowhere", "size": [160, 120]},
    )
    settings = config.load(file)
    found = {f.name: f for f in _unhurried(settings, 0.6, tmp_path / "out")}
    assert found["stills"].verdict == "ok"
    rate_hz = float(found["stills"].found.split(" Hz over")[0].rsplit(" ", 1)[-1])
    assert rate_hz == pytest.approx(60, rel=0.15)
    assert "within 0.0 ms" in found["stills"].found
    assert found["clip"].verdict == "advice", "a film of 60 Hz cannot give 90"
    assert found["gone"].verdict == "wrong"
    assert "correct the camera's `path`" in found["gone"].found
    for name in ("stills", "clip"):
        shown = cv2.imread(str(tmp_path / "out" / f"{name}.png"))[..., ::-1]
        assert number_in(shown) >= 0
        assert np.abs(shown[40, 80].astype(int) - [180, 30, 60]).max() < 30, "blue for red"
    assert not (tmp_path / "out" / "gone.png").exists()


def test_those_of_a_daemon_are_seen_in_their_rings(tmp_path):
    file = _config(tmp_path, front={"driver": "uvc", "device": "/dev/video99", "size": [160, 120]})
    settings = config.load(file)
    settings.folder.mkdir()
    writer = ImageRing.of(settings.folder, CameraSpec("front", 120, 160, 30.0, 0)).writer()
    over = threading.Event()

    def daemon():
        while not over.wait(0.02):
            writer.write(time.monotonic_ns(), picture(9, 160, 120))

    thread = threading.Thread(target=daemon)
    thread.start()
    try:
        time.sleep(0.1)
        (found,) = _unhurried(settings, 0.5, tmp_path)
    finally:
        over.set()
        thread.join()
    assert found.verdict == "ok", found
    assert "of the daemon that runs" in found.found
    assert number_in(cv2.imread(str(tmp_path / "front.png"))[..., ::-1]) == 9


def test_depth_is_shown_near_warm_and_unknown_black():
    depth = np.array([[0, 300, 3900]], np.uint16)
    unknown, near, far = looking.coloured(depth)[0].astype(int)
    assert unknown.tolist() == [0, 0, 0]
    assert near[2] > near[0]
    assert far[0] >= far[2]


@pytest.mark.skipif(
    not has_compiler(), reason="the emulated device is compiled: install gcc, libc6-dev"
)
def test_the_command_opens_a_v4l2_device_and_says_what_it_gives_instead(tmp_path):
    environment = emulated(tmp_path)
    file = _config(
        tmp_path,
        wrist={
            "driver": "uvc",
            "device": str(tmp_path / "video"),
            "size": [160, 120],
            "sensor_size": [640, 480],
            "format": "YUYV",
            "rate_hz": 30,
        },
    )
    words = ["doctor", "cameras", str(file), "--show", "--out", str(tmp_path), "--seconds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tandem.tools.main", *words, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    _, found = json.loads(done.stdout)["findings"]
    assert found["verdict"] == "advice", found
    assert "asked for 640x480 YUYV at 30 Hz, it gives 640x480 YUYV at 15 Hz" in found["why"]
    shown = cv2.imread(str(tmp_path / "wrist.png"))[..., ::-1]
    assert np.abs(shown[40, 80].astype(int) - [180, 30, 60]).max() < 30, "blue for red"


def test_it_starts_without_torch_and_physics():
    heavy = "{'torch', 'mujoco', 'cv2'} & set(sys.modules)"
    code = f"import sys, tandem.tools.doctor.main; print(sorted({heavy}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=60,
    )
    assert done.stdout.strip() == "[]", done
