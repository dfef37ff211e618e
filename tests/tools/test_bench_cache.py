"""The table of caches: its films, its backbones, what it makes of samples, and one small run."""

import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
import torch
from tandem.policies.caches.held import held_bytes
from tandem.policies.caches.session import Backbone
from tandem.policies.caches.stages import STAGES
from tandem.policies.trunk.graphs import GraphedTrunk
from tandem.runtime.errors import ConfigError, DeviceError
from tandem.tools.bench.cache import (
    analysis,
    backbones,
    films,
    measure,
    sdvla,
    shipped,
    streams,
    table,
)
from tandem.tools.bench.cache.backbones import Asked
from tandem.tools.bench.cache.films import Film
from tandem.tools.bench.cache.measure import Settings
from tandem.tools.bench.cache.plot import svg
from tandem.tools.bench.cache.samples import Sample, Spent

from tests.policies.caches import tiny
from tests.tools.test_tfrecord import example, record

CPU = torch.device("cpu")
NO_FILM = Film("nothing", [], frozenset())


def noise(count: int, size: int = 32, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8))


# -- films ------------------------------------------------------------------------------------


def encoded(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def test_footage_is_every_camera_that_was_there(tmp_path):
    pictures = noise(7)
    first = {
        "steps/observation/image_0": [encoded(p) for p in pictures[:3]],
        "steps/observation/image_1": [encoded(pictures[0])] * 3,  # a camera that was not there
        "steps/observation/state": [0.5] * 21,
    }
    second = {"steps/observation/image_0": [encoded(p) for p in pictures[3:]]}
    content = record(example(first)) + record(example(second))
    (tmp_path / "train.tfrecord-00000-of-00001").write_bytes(content)
    film = films.footage(tmp_path, size=32, frames=100)
    assert sorted(film.begins) == [0, 3]
    assert all(np.array_equal(a, b) for a, b in zip(film.images, pictures, strict=True))
    assert len(films.footage(tmp_path, size=64, frames=4).images) == 4
    with pytest.raises(ConfigError, match="set apart to learn from"):
        measure.measure(Settings("small", ("none",), footage=tmp_path, dtype="float32"), print)


def test_a_folder_without_footage_is_told(tmp_path):
    with pytest.raises(ConfigError, match="tfrecord"):
        films.footage(tmp_path, 32, 10)
    (tmp_path / "a.tfrecord").write_bytes(record(example({"steps/action": [1.0]})))
    with pytest.raises(ConfigError, match="no pictures"):
        films.footage(tmp_path, 32, 10)


def test_the_simulated_film_moves_and_is_repeatable():
    twice = [films.simulated(3, 12, 64) for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(twice[0].images, twice[1].images, strict=True))
    assert twice[0].begins == {0}
    assert not np.array_equal(twice[0].images[0], twice[0].images[-1])


# -- backbones --------------------------------------------------------------------------------


def test_seven_billion_are_refused_on_a_cpu():
    with pytest.raises(DeviceError, match="--insist"):
        backbones.build("seven", torch.bfloat16, CPU)
    with pytest.raises(ConfigError, match="small, half, seven"):
        backbones.build("large", torch.bfloat16, CPU)


@pytest.mark.parametrize(
    ("name", "language", "vision"), [("half", 0.409, 0.086), ("seven", 6.738, 0.71)]
)
def test_shapes_have_the_published_sizes(name, language, vision):
    """Billions of parameters: SmolLM2-360M, SigLIP-B; Llama-2-7B, DINOv2-L and SigLIP-so400m."""
    shape = backbones.SHAPES[name]
    config = shape.trunk
    embedding = config.vocab * config.width * (1 if config.tied else 2)
    assert config.depth * config.layer_weights + embedding == pytest.approx(
        language * 1e9, rel=0.01
    )
    towers = sum(t.depth * t.width * (4 * t.width + 2 * t.mlp) for t, _ in shape.towers)
    assert towers == pytest.approx(vision * 1e9, rel=0.08)


# -- analysis ---------------------------------------------------------------------------------


def sample(frame: int, ms: float, trunk_ms: float, trunk_macs: int, error: float = 0.0) -> Sample:
    stages = {**dict.fromkeys(STAGES, 0.0), "trunk": trunk_ms / 1e3}
    macs = {**dict.fromkeys(STAGES, 0), "trunk": trunk_macs, "vision": 100, "gate": 2}
    return Sample(frame, frame == 0, ms / 1e3, Spent(stages, macs, trunk_macs / 900), error)


NONE = [sample(i, 100.0, 90.0, 900) for i in range(5)]


def test_figures_by_hand():
    cached = [sample(0, 999, 999, 900)]
    cached += [sample(i, 40, 18, 180, i / 10) for i in (1, 2, 3)] + [sample(4, 80, 70, 700, 0.4)]
    body = analysis.analyse({"none": NONE, "sd-vla": cached}, [0.009] * 5)
    found = body["caches"]["sd-vla"]
    assert body["frames"] == 4
    assert found["p50_ms"] == pytest.approx(40)
    assert found["p99_ms"] == pytest.approx(80)
    assert found["time_ratio"] == pytest.approx(0.5)
    assert found["macs_ratio"] == pytest.approx((3 * 282 + 802) / (4 * 1002))
    assert found["error_mean"] == pytest.approx(0.25)
    assert found["error_drift"] == pytest.approx(0.3)
    # The refreshed frame does not count for the trunk: 18 ms beside a floor of 9 and 0.2 · 90.
    floor = body["sd_vla"]["sd-vla"]
    assert floor["refreshed"] == 0.25
    assert floor["to_bound"] == pytest.approx(1.0)
    assert floor["to_prediction"] == pytest.approx(18 / (9 + 18))
    # 50 ms a step beside a floor of 9 and (3 · 180 + 700) / 3600 of 90 ms.
    bars = analysis.bars(body, "bfloat16", speedup=2.26)
    assert floor["to_stages"] == pytest.approx(50 / (9 + 31))
    assert [bar.met for bar in bars] == [False, True, True, True, False, False]
    assert analysis.bars(body, "bfloat16", speedup=1.70)[-1].met


def test_one_frame_a_clip_is_too_little():
    with pytest.raises(ConfigError, match="more frames"):
        analysis.analyse({"none": NONE[:1]}, [0.1])


# -- a run ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result():
    """All that needs no training, on the small backbone; the film is still but for its end."""
    backbone = backbones.build("small", torch.float32, CPU)
    names = ("none", "interval", "vla-cache", "ttf", "dual-cache")
    runners = streams.streams(names, backbone, NO_FILM, Asked())
    still, other = noise(2, backbone.vision.size)
    film = Film("noise", [still] * 4 + [other], frozenset({0}))
    body = analysis.analyse(*measure.run(runners, film, measure.OneRow(backbone)))
    memory = {name: stream.held_bytes() / 2**20 for name, stream in runners.items()}
    settings = {**asdict(Settings("small", dtype="float32")), "footage": "noise"}
    return {**body, "memory_mib": memory, "threads": 1, "settings": settings}


def test_a_run_compares_like_with_like(result):
    caches = result["caches"]
    assert caches["none"]["error_p95"] == 0
    assert caches["none"]["macs_ratio"] == caches["none"]["time_ratio"] == 1
    assert caches["ttf"]["macs_ratio"] == pytest.approx(1, abs=0.01)
    assert caches["interval"]["macs_ratio"] < caches["dual-cache"]["macs_ratio"] < 1
    assert caches["vla-cache"]["macs_ratio"] < 1
    assert 0 < result["floor_ms"] < caches["none"]["stages_ms"]["trunk"]
    assert result["memory_mib"]["dual-cache"] > result["memory_mib"]["ttf"]


def test_recorded_steps_read_out_the_same_and_keep_nothing_twice():
    """As on a GPU, but that the padded steps run unrecorded here."""
    plain = backbones.build("small", torch.float32, CPU)
    names = ("none", "interval", "dual-cache")
    bare = streams.streams(names, plain, NO_FILM, Asked())
    recorded = Backbone(plain.vision, GraphedTrunk(plain.trunk))
    padded = streams.streams(names, recorded, NO_FILM, Asked())
    sizes = {name: list(stream.session.kv.recorded) for name, stream in padded.items()}
    for image in noise(2, plain.vision.size) * 2:
        for name in names:
            same = [made[name].step(image, "") for made in (bare, padded)]
            torch.testing.assert_close(*same, rtol=1e-4, atol=1e-4)
    for name, stream in padded.items():
        kv = stream.session.kv
        assert list(kv.recorded) == sizes[name]
        inputs = sum(held_bytes(step._inputs) for step in kv.recorded.values())
        assert held_bytes(kv) == 2 * kv.whole.keys.nbytes + inputs
    assert measure.OneRow(recorded)() > 0


def test_what_is_shown_names_every_cache(result):
    assert len(table.tables(result)) == 2
    floor = analysis.against_floor(NONE[1:], NONE[1:], 9.0)
    with_floor = {**result, "sd_vla": {"sd-vla": floor}}
    assert len(table.tables(with_floor)) == 3
    picture = ElementTree.fromstring(svg(result))
    words = {element.text for element in picture.iter() if element.tag.endswith("text")}
    assert set(result["caches"]) <= words


def test_a_cache_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match="dual-cache"):
        streams.streams(["none", "duel-cache"], tiny.backbone(), NO_FILM, Asked())
    with pytest.raises(ConfigError, match="compared"):
        measure.measure(Settings("small", ("ttf",)), print)
    with pytest.raises(ConfigError, match="bfloat16"):
        measure.measure(replace(Settings("small"), dtype="int4"), print)


def test_a_device_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no GPU"):
        measure.measure(Settings("small", device="cuda"), print)
    with pytest.raises(ConfigError, match="--device gpu"):
        measure.measure(Settings("small", device="gpu"), print)


def test_sd_vla_is_set_up_from_a_clip():
    """What moves is dynamic, and the yardstick refreshes everything in every frame."""
    rng = np.random.default_rng(0)
    backbone = tiny.backbone()
    clip = [noise(1)[0]]
    for _ in range(11):
        clip.append(tiny.repainted(clip[-1], [6], rng))
    parts = sdvla.learn(backbone, Film("noise", clip, frozenset([0])))
    assert sdvla.group_sizes(16) == (10, 5, 1)
    assert parts.partition.indices(2).tolist() == [6]
    for text_first in (False, True):
        cached, always = (
            tiny.session(s, backbone, tiny.prompt(), s.layout)
            for s in parts.strategies(3, 2, text_first)
        )
        steps = [cached.step(image) for image in clip]
        assert len(steps[0].plan.rows) == 16
        assert min(len(step.plan.rows) for step in steps) == 1
        asking = 2 if text_first else 5
        assert min(step.work.trunk[0] for step in steps) == 1 + asking
        assert all(len(always.step(image).plan.rows) == 16 for image in clip)
        stream = streams.OnTrunk(cached)
        stream.reset()
        stream.step(clip[0], "")
        assert stream.spent().fresh == 1


def test_the_shipped_model_has_a_table_of_its_own():
    film = films.simulated(3, 8, 128)
    assert film.errands[0].split()[0] in ("pick", "put")
    runners = shipped.streams(("none", "interval", "dual-cache", "sd-vla"))
    body = analysis.analyse(*measure.run(runners, film, runners["none"].one_row))
    caches = body["caches"]
    assert caches["none"]["error_p95"] == 0
    assert caches["none"]["fresh"] == 1
    assert caches["sd-vla"]["macs_ratio"] < caches["dual-cache"]["macs_ratio"] < 1
    assert caches["interval"]["fresh"] == caches["interval"]["stages_macs"]["gate"] == 0
    assert all(stream.held_bytes() > 0 for stream in runners.values())
    few = {name: {"macs_ratio": 0.41, "time_ratio": 0.5} for name in ("none", "sd-vla")}
    assert [bar.met for bar in shipped.bars({"caches": few})] == [False, True]
    with pytest.raises(ConfigError, match="sd-vla-text-first"):
        shipped.streams(("sd-vla-text-first",))
