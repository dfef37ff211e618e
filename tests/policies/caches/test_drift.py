"""An error that a cache makes must not grow with its age, and must heal where the rule says so."""

import numpy as np
import pytest
from tandem.policies.caches.dual_cache import DualCache
from tandem.policies.caches.error import relative_error
from tandem.policies.caches.flow import dis
from tandem.policies.caches.lac import Lac, LacRule
from tandem.policies.caches.lac_networks import LacNetworks
from tandem.policies.caches.ttf import TtfRule
from tandem.policies.caches.vla_cache import VlaCache, VlaCacheRule
from tandem.policies.caches.whole import Whole

from tests.policies.caches import tiny

FRAMES, STILL = 220, 60
DEPTH = tiny.CONFIG.depth


def film():
    """The light breathes and a patch is repainted in every frame; at last all stands still."""
    rng = np.random.default_rng(0)
    scene = rng.integers(40, 200, (tiny.SIDE_PX, tiny.SIDE_PX, 3), dtype=np.uint8)
    for frame in range(FRAMES):
        scene = tiny.repainted(scene, [int(rng.integers(16))], rng)
        yield (scene * (0.9 + 0.1 * np.sin(frame / 5))).astype(np.uint8)
    for _ in range(STILL):
        yield scene


@pytest.fixture(scope="module")
def errors():
    """Error frame by frame of each cache on the same film."""
    net, words = tiny.backbone(), tiny.prompt()
    networks = LacNetworks(tiny.GRID)
    lac_rule = LacRule(recovered=1 / 16, bucket=1)
    strategies = {
        "lac": Lac(tiny.LAYOUT, networks, dis(), lac_rule),
        "dual": DualCache(tiny.LAYOUT, tiny.GRID, DEPTH, rule=TtfRule(change=0.1, relevant=16)),
        "vla-cache": VlaCache(
            tiny.LAYOUT, tiny.GRID, DEPTH, VlaCacheRule(relevant=32, leave_layers=(8,))
        ),
    }
    streams = {name: tiny.session(s, net, words) for name, s in strategies.items()}
    whole = tiny.session(Whole(tiny.LAYOUT), net, words)
    found = {name: [] for name in streams}
    for image in film():
        truth = whole.step(image).hidden
        for name, stream in streams.items():
            found[name].append(relative_error(stream.step(image).hidden, truth))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("name", ["lac", "dual", "vla-cache"])
def test_the_error_stays_what_it_is(errors, name):
    early, late = errors[name][20:120].mean(), errors[name][FRAMES - 100 : FRAMES].mean()
    assert 0 < late < 1.5 * early


@pytest.mark.parametrize("name", ["lac", "dual"])
def test_a_still_picture_heals(errors, name):
    """With a keyframe at once; in turn once all rows have come round in every layer."""
    assert errors[name][-1] < 1e-5
