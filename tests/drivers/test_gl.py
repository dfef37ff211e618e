"""Rendering without a screen: EGL, else OSMesa, else physics alone and a message that helps."""

import os
import subprocess
import sys

import pytest
from tandem.drivers.sim import gl

RENDER = """
from tandem.drivers.sim.world import World
from tandem.runtime.errors import DeviceError
world = World(render_size=64)
world.step(world.q, world.q * 0, world.q * 0, 1.0)
try:
    print("mean", world.render("front").mean())
except DeviceError as error:
    print("refused:", error)
world.close()
"""


def run_with(backend):
    env = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", RENDER],
        env={**env, "MUJOCO_GL": backend},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(not gl._loads("libOSMesa.so.8"), reason="OSMesa is not installed here")
def test_osmesa_draws_too():
    assert float(run_with("osmesa").split()[-1]) > 50


def test_without_any_renderer_physics_works_and_the_message_names_the_packages():
    out = run_with("disable")
    assert "refused:" in out
    assert "apt-get install libegl1 libgl1" in out


def test_mujoco_imported_first_is_explained():
    env = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    code = "import mujoco\n" + RENDER
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**env, "DISPLAY": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "MUJOCO_GL=egl" in done.stdout


def test_the_order_of_choice(monkeypatch):
    monkeypatch.setattr(gl, "_egl_works", lambda: True)
    assert gl._best() == "egl"
    monkeypatch.setattr(gl, "_egl_works", lambda: False)
    monkeypatch.setattr(gl, "_loads", lambda name: "OSMesa" in name)
    assert gl._best() == "osmesa"
    monkeypatch.setattr(gl, "_loads", lambda name: False)
    assert gl._best() == "disable"


def test_a_users_own_choice_stands(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setenv("PYOPENGL_PLATFORM", "osmesa")
    assert gl.choose_backend() == "osmesa"
