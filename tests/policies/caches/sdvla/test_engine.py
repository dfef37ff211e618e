"""Laws of the cached step, on three families of trunks with strongly mixing random weights.

What the engine delivers must be what one full forward delivers over the same tokens, after any
history of refreshes, instructions and evictions. `scene.py` says what that is.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.sdvla.engine import Engine
from tandem.policies.caches.sdvla.geometry import Geometry, Mode
from tandem.policies.caches.sdvla.history import Last, Spaced
from tandem.policies.trunk.rope import rope, rotate
from tandem.runtime.errors import ConfigError

from tests.policies.caches.sdvla.families import (
    CONFIGS,
    FAMILIES,
    TOLERANCE,
    TRUNKS,
    difference,
    engine,
)
from tests.policies.caches.sdvla.scene import LAYOUT, LEVELS, READOUT, Scene, tokens

MODES: list[Mode] = ["recompute_window", "append_causal", "frame_isolated"]
KEEPS = [Last(), Last(pinned=1), Spaced(0.2, 0.4, 3.0, pinned=1)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=8, deadline=None)
@given(
    text_first=st.booleans(),
    keep=st.sampled_from(KEEPS),
    events=st.lists(st.sampled_from(["", "", "text", "L2", "L1"]), min_size=1, max_size=12),
)
def test_any_history_equals_the_full_forward(
    family: str, mode: Mode, text_first: bool, keep: Last, events: list[str]
) -> None:
    layout = Layout(1, LEVELS, 3, 4, 3, 2, text_first)
    scene = Scene(engine(family, layout, mode, keep), family)
    scene.advance()
    exact = True  # append_causal: until a frame is lost; a refresh computes all frames anew
    for event in events:
        if event == "text":
            scene.instruct()
        elif event:
            scene.refresh(int(event[1]) - 1)
        full = len(scene.engine.window.frames) == layout.frames
        renewed = event.startswith("L") or (event == "text" and text_first)
        exact = renewed or (exact and not (full and mode == "append_causal"))
        hidden = scene.advance()
        if exact:
            assert difference(hidden, scene.expected()) <= TOLERANCE
            assert difference(scene.engine.whole(READOUT), scene.expected()) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_a_thousand_steps_with_evictions_leave_it_exact(family: str) -> None:
    torch.manual_seed(4)
    scene = Scene(engine(family, LAYOUT, keep=KEEPS[2]), family)
    for step in range(1000):
        if step % 97 == 50:
            scene.refresh(1)
        if step % 397 == 300:
            scene.refresh(0)
        hidden = scene.advance()
        if step % 50 == 49:
            assert difference(hidden, scene.expected()) <= TOLERANCE
    assert scene.engine.window.frames[0].time_s == pytest.approx(0.1), "the first frame is pinned"
    assert len(scene.engine._indices) < 20, "what is kept per kind of step must not grow"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_update_leaves_static_bytes_alone(family: str) -> None:
    scene = Scene(engine(family, LAYOUT), family)
    scene.advance()

    def held(last: int) -> list[bytes]:
        kv = scene.engine.kv
        stores = (kv.keys[..., :last, :], kv.values[..., :last, :])
        return [store.contiguous().numpy().tobytes() for store in stores]

    static, first = LAYOUT.level_rows(1).stop, LAYOUT.level_rows(0).stop
    before = held(static), held(first)
    for _ in range(6):
        scene.advance()
    assert held(static) == before[0]
    scene.refresh(1)
    scene.advance()
    assert held(first) == before[1]
    assert held(static) != before[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_matters_to_the_readout(family: str) -> None:
    """Else the laws above would hold for a trunk that ignores what is cached."""
    scene = Scene(engine(family, LAYOUT), family)
    for _ in range(4):
        hidden = scene.advance()
    parts = [*scene.levels, *(frame.tokens for frame in scene.engine.window.frames), scene.text]
    for part in parts:
        part[0] += 0.1
        assert difference(scene.expected(), hidden) > 100 * TOLERANCE
        part[0] -= 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_append_causal_drifts_after_an_eviction_until_the_next_refresh(family: str) -> None:
    """Not claimed to be exact: a frame still carries what it saw of the frame that went."""
    scene = Scene(engine(family, LAYOUT, "append_causal"), family)
    drift = [difference(scene.advance(), scene.expected()) for _ in range(8)]
    assert max(drift[:4]) <= TOLERANCE
    assert min(drift[4:]) > TOLERANCE
    # In the first layer nothing has been seen of other frames yet: there the keys must be right,
    # turned to their new places.
    turned = scene.engine.kv.keys[0].clone()
    scene.engine.refresh(0, scene.levels)  # all but BOS anew, from the tokens kept
    scene.advance()
    before, after = list(LAYOUT.frame_rows(1)), list(LAYOUT.frame_rows(0))
    by = scene.engine.geometry.shift().expand(*scene.engine.geometry.positions.shape[:-1], 3)
    shifted = rotate(turned[:, :, before], rope(CONFIGS[family], by, torch.float32))
    assert difference(shifted, scene.engine.kv.keys[0][:, :, after]) <= TOLERANCE
    assert difference(scene.advance(), scene.expected()) > TOLERANCE
    scene.refresh(1)
    assert difference(scene.advance(), scene.expected()) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_history_renewed_step_by_step_is_exact_once_all_of_it_is(family: str) -> None:
    layout = Layout(1, LEVELS, 3, 8, 3, 2)
    scene = Scene(engine(family, layout), family)
    scene.engine.renew = 2
    for _ in range(9):
        scene.advance()
    scene.refresh(1)
    off = [difference(scene.advance(), scene.expected()) for _ in range(4)]
    # 3 of 8 frames are new at once; then one frame goes, one comes and two are renewed.
    assert min(off[:2]) > TOLERANCE
    assert max(off[2:]) <= TOLERANCE
    scene.engine.renew = 0
    scene.refresh(0)
    off = [difference(scene.advance(), scene.expected()) for _ in range(8)]
    assert min(off[:7]) > TOLERANCE
    assert off[7] <= TOLERANCE, "by then every old frame has gone"


def test_text_in_front_is_cached_with_the_static_rows() -> None:
    layout = Layout(1, LEVELS, 3, 1, 3, 2, text_first=True)
    scene = Scene(engine("llama", layout), "llama")
    scene.advance()
    scene.engine.instruct(scene.bos, scene.text.clone())
    assert scene.engine.stale == len(scene.engine.prefix), "the same words cost nothing"
    scene.instruct()
    assert scene.engine.stale == 1, "all but BOS stands behind new words"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="frame_isolated"):
        Geometry(LAYOUT, "isolated")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="grid"):
        Geometry(LAYOUT, grid=torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ConfigError, match="sizes"):
        Layout(1, (-1,), 3, 1, 0, 1)
    with pytest.raises(ConfigError, match="renew"):
        Engine(TRUNKS["llama"], Geometry(LAYOUT, "append_causal"), renew=1)
    unready = engine("llama", LAYOUT)
    with pytest.raises(ValueError, match="refresh from level 0"):
        unready.advance(tokens(3), READOUT, 0.0)
    with pytest.raises(ValueError, match="every level below"):
        unready.refresh(0, [tokens(5)])
