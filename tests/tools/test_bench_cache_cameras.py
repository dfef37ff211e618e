"""The table of caches with two cameras: its films, its backbone, every cache in one run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tandem.policies.caches.lac_networks import LacNetworks
from tandem.runtime.errors import ConfigError
from tandem.tools.bench.cache import analysis, backbones, films, lac, measure, sdvla, streams
from tandem.tools.bench.cache.backbones import Asked
from tandem.tools.bench.cache.films import Film
from tandem.tools.bench.cache.measure import Settings
from tandem.tools.bench.cache.streams import OnTrunk

from tests.policies.caches import tiny
from tests.tools.test_bench_cache import encoded, noise
from tests.tools.test_tfrecord import example, record

FRONT, WRIST = 0, 1
CPU = torch.device("cpu")
NAMES = tuple(name for name in streams.NAMES if name != streams.TEXT_FIRST)


def test_the_simulated_cell_is_seen_from_the_front_and_from_the_wrist():
    one, two = (films.simulated(3, 6, 64, cameras) for cameras in (1, 2))
    assert two.images[0].shape == (2, 64, 64, 3)
    assert np.array_equal(one.images, [frame[FRONT] for frame in two.images])
    assert not np.array_equal(two.images[0][FRONT], two.images[0][WRIST])
    assert np.array_equal(one.pictures, two.pictures[:6])
    assert np.array_equal(two.pictures[6:], [frame[WRIST] for frame in two.images])
    with pytest.raises(ConfigError, match="front and wrist only"):
        films.simulated(3, 6, 64, cameras=3)


def test_footage_puts_together_what_was_seen_at_once(tmp_path: Path):
    pictures = noise(9)
    of_three = {
        f"steps/observation/image_{i}": [encoded(p) for p in pictures[3 * i : 3 * i + 3]]
        for i in range(3)
    }
    of_one = {"steps/observation/image_0": of_three["steps/observation/image_0"]}
    (tmp_path / "a.tfrecord").write_bytes(record(example(of_one)) + record(example(of_three)))
    film = films.footage(tmp_path, 32, 100, cameras=2)
    assert film.begins == {0}
    assert np.array_equal(film.images, np.stack([pictures[:3], pictures[3:6]], 1))
    with pytest.raises(ConfigError, match="of 4 cameras"):
        films.footage(tmp_path, 32, 100, cameras=4)


def shown(size: int) -> Film:
    """A patch of the wrist's picture changes all the time, and nothing else."""
    rng = np.random.default_rng(0)
    front, wrist = noise(2, size)
    images = []
    for _ in range(12):
        wrist = tiny.repainted(wrist, [6], rng)
        images.append(np.stack([front, wrist]))
    return Film("noise", images, frozenset({0}))


@pytest.fixture(scope="module")
def runners() -> dict[str, OnTrunk]:
    patch = pytest.MonkeyPatch()  # what takes long to learn is not what is tested
    patch.setattr(lac, "trained", lambda grid, images: LacNetworks(grid))
    patch.setattr(sdvla, "_GATE_STEPS", 3)
    backbone = backbones.build("small", torch.float32, CPU, cameras=2)
    made = streams.streams(NAMES, backbone, shown(backbone.vision.size), Asked())
    patch.undo()
    return made


def test_every_cache_of_two_cameras_is_in_one_table(runners: dict[str, OnTrunk]):
    backbone = runners["none"].session.backbone
    still = Film("still", shown(backbone.vision.size).images[:1] * 4, frozenset({0}))
    body = analysis.analyse(*measure.run(runners, still, lambda: 1e-3))
    assert tuple(body["caches"]) == NAMES
    whole = body["caches"]["none"]["stages_macs"]
    for name, found in body["caches"].items():
        assert found["error_p95"] < 1e-4, name
        saved = found["stages_macs"]["trunk"] < whole["trunk"]
        assert saved == (found["fresh"] < 1) == (name not in ("none", "ttf")), name
    alone = backbones.build("small", torch.float32, CPU).vision
    assert whole["vision"] == 2 * alone.macs(alone.patches)


def test_only_the_camera_that_changed_is_computed_anew(runners: dict[str, OnTrunk]):
    stream = runners["dual-cache"]
    patches = stream.session.backbone.vision.grid**2
    stream.reset()
    anew = []
    for image in shown(stream.session.backbone.vision.size).images[:3]:
        reading = stream.session.step(image)
        rows = reading.plan.rows - stream.session.layout.visual_rows.start
        anew.append([int((rows // patches == camera).sum()) for camera in (FRONT, WRIST)])
    assert anew[0] == [patches, patches]
    relevant = round(70 * patches / 256)  # are always anew, in both
    assert [front for front, _ in anew[1:]] == [relevant, relevant]
    assert all(wrist >= relevant for _, wrist in anew[1:])
    assert reading.work.patches == sum(anew[-1])


def test_sd_vla_parts_and_watches_both_cameras_together(runners: dict[str, OnTrunk]):
    strategy = runners["sd-vla"].session.strategy
    patches = runners["sd-vla"].session.backbone.vision.patches
    assert strategy.decision.gate.patches == patches == 2 * 14 * 14
    sizes = tuple(len(span) for span in strategy.partition.spans)
    assert sizes == sdvla.group_sizes(patches)
    dynamic = strategy.partition.indices(2) >= patches // 2
    assert dynamic.all()  # what moves is the wrist's


def test_an_oft_is_asked_both_ways(monkeypatch: pytest.MonkeyPatch):
    """Its prompt sees all of itself; on a still film every cache says what none says."""
    monkeypatch.setattr(sdvla, "_GATE_STEPS", 3)
    backbone, (before, other) = tiny.backbone(), noise(2)
    after = tiny.repainted(before, [6], np.random.default_rng(0))
    clip = [before, other, after] * 4
    names = tuple(name for name in NAMES if name != "lac")
    asked = Asked(text=3, readouts=4, unread=2, bidirectional=True)
    film = Film("noise", clip, frozenset({0}))
    runners = streams.streams(names, backbone, film, asked)
    still = Film("still", [before] * 4 + [after], frozenset({0}))
    samples, _ = measure.run(runners, still, lambda: 1e-3)
    for name, found in samples.items():
        assert max(sample.error for sample in found[:4]) < 1e-4, name
    rows = runners["none"].session.layout
    assert (rows.bos, rows.text, rows.readout) == (0, 3 + 2 + 1, 4)
    hidden = [runners["none"].step(image, "") for image in (before, after)]
    assert (hidden[0] - hidden[1]).abs().max() > 1e-3


def test_a_model_of_one_camera_says_so():
    with pytest.raises(ConfigError, match="shipped System 2 sees one"):
        measure.measure(Settings("shipped", cameras=2), print)
