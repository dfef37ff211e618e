"""SdVla as the runtime sees it, on random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.s2 import macs, text
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.policy import SdVla
from tandem.policies.s2.storage import load_model, read_about, save_model
from tandem.policies.s2.stream import Schedule, encode_episodes
from tandem.runtime.errors import DeviceError, RefusedError, WeightsError
from tandem.runtime.interfaces import Frame, Observation
from tandem.runtime.messages import Conditioning, decode, encode

SMALL = S2Config(stem=(8, 8, 8), width=48, depth=2)
INSTRUCTION = "pick up the green cube"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 128, 128, 3), dtype=np.uint8)


def model(seed: int = 0) -> S2Model:
    torch.manual_seed(seed)
    return S2Model(SMALL).eval().requires_grad_(False)


def seen(image: np.ndarray, seq: int = 0) -> Observation:
    return Observation(0, {"front": Frame(image, 1000 + seq, seq)})


def policy(**options: object) -> SdVla:
    made = SdVla(model(), "abc", threads=None, **options)
    made.reset(INSTRUCTION)
    return made


def test_the_first_step_refreshes_and_says_what_it_cost() -> None:
    out = policy().step(seen(IMAGES[0], 7))
    assert out.refreshed == [True, True]
    assert out.version == [1, 1]
    assert out.age_frames == [0, 0]
    assert out.latent.shape == (2, 64)
    assert out.latent.dtype == np.float16
    assert np.isfinite(out.latent).all()
    assert (out.frame_seq, out.t_capture_ns) == (7, 1007)
    assert set(out.timings_ns) == {"vision", "gate", "static", "trunk", "readout"}
    assert 0 < out.macs_full <= out.macs


def test_conditioning_survives_the_wire() -> None:
    out = policy().step(seen(IMAGES[0]))
    back = decode(Conditioning, encode(out))
    np.testing.assert_array_equal(back.latent, out.latent)


def test_a_closed_gate_saves_and_ages() -> None:
    p = policy(thresholds=(1.0, 1.0))
    for i in range(4):
        out = p.step(seen(IMAGES[i]))
    assert out.refreshed == [False, False]
    assert out.age_frames == [3, 3]
    assert out.version == [1, 1]
    assert out.macs_full > 2 * out.macs


def test_max_age_refreshes_in_time() -> None:
    p = policy(thresholds=(1.0, 1.0), max_age_frames=3)
    refreshed = [p.step(seen(IMAGES[0])).refreshed[0] for _ in range(8)]
    assert refreshed == [True, False, False, True, False, False, True, False]


def test_none_recomputes_every_frame() -> None:
    p = policy(strategy="none")
    for i in range(3):
        out = p.step(seen(IMAGES[i]))
        assert out.refreshed == [True, True]
    assert out.version == [3, 3]


def test_forced_refresh_of_l2_leaves_l1() -> None:
    p = policy(thresholds=(1.0, 1.0))
    p.step(seen(IMAGES[0]))
    out = p.step(seen(IMAGES[1]), force_refresh=1)
    assert out.refreshed == [False, True]
    assert out.version == [1, 2]


def test_another_instruction_keeps_the_cache() -> None:
    p = policy(thresholds=(1.0, 1.0))
    first = p.step(seen(IMAGES[0]))
    p.reset("put the red cube into the bin")
    second = p.step(seen(IMAGES[0]))
    assert second.refreshed == [False, False]
    assert np.abs(first.latent.astype(float) - second.latent).max() > 1e-3


def test_forget_starts_from_nothing() -> None:
    p = policy(thresholds=(1.0, 1.0))
    first = p.step(seen(IMAGES[0]))
    p.step(seen(IMAGES[1]))
    p.forget()
    again = p.step(seen(IMAGES[0]))
    np.testing.assert_array_equal(first.latent, again.latent)


@pytest.mark.parametrize(
    ("instruction", "says"),
    [
        ("pick up the mug", "'mug'"),
        ("pick up the grean cube", "did you mean 'green'"),
        ("pick up the cube", "0 colours"),
        ("pick up the red blue cube", "2 colours"),
        ("the red cube", "what to do"),
        ("pick up the red cube and put it into the bin bin bin", "at most 12"),
        ("", "0 colours"),
    ],
)
def test_what_is_not_understood_is_refused_with_help(instruction: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says) as caught:
        policy().reset(instruction)
    assert "pick up the red cube" in str(caught.value)


def test_every_template_fits_and_case_and_stops_do_not_matter() -> None:
    assert text.table().shape == (2, 8, 6, text.TEXT_LENGTH)
    assert text.table(text.HELD_OUT).shape[0] == 2
    np.testing.assert_array_equal(
        text.encode("Pick up the RED cube."), text.encode("pick up the red cube")
    )


def test_mistakes_are_named() -> None:
    fresh = SdVla(model(), "abc", threads=None)
    with pytest.raises(RefusedError, match="no instruction"):
        fresh.step(seen(IMAGES[0]))
    with pytest.raises(DeviceError, match="front"):
        policy().step(Observation(0))
    with pytest.raises(DeviceError, match="64, 64"):
        policy().step(seen(IMAGES[0, :64, :64]))
    with pytest.raises(RefusedError, match="strategy"):
        policy(strategy="sometimes")


def test_hysteresis_ignores_one_noisy_frame_but_not_a_clear_one() -> None:
    gate = Recache((0.5, 0.5), hysteresis=0.2, max_age_frames=100)
    asked = [(0.0, s) for s in (0.55, 0.1, 0.55, 0.55, 0.9, 0.1)]
    assert [gate.decide(s) for s in asked] == [None, None, None, 1, 1, None]


def test_a_refresh_of_l1_takes_l2_with_it() -> None:
    gate = Recache()
    gate.decide((0.0, 0.0))
    assert gate.decide((0.9, 0.0)) == 0
    assert gate.age_frames == [0, 0]


@pytest.mark.parametrize("strategy", ["sdvla", "none"])
def test_streamed_latents_equal_the_policy_frame_by_frame(strategy: str) -> None:
    options = {"strategy": strategy, "thresholds": (0.6, 0.45), "max_age_frames": 4}
    schedule = Schedule(every=2, phase=1, **options)
    (stream,) = encode_episodes(model(), [IMAGES], [INSTRUCTION], schedule)
    p = policy(**options)
    for i, index in enumerate(stream.frame):
        out = p.step(seen(IMAGES[index]))
        assert out.refreshed == stream.refreshed[i].tolist()
        assert out.age_frames == stream.age_frames[i].tolist()
        np.testing.assert_allclose(out.latent, stream.latent[i], atol=2e-3)
    assert list(stream.frame) == [1, 3, 5, 7, 9]


def test_streams_of_several_episodes_do_not_mix() -> None:
    both = encode_episodes(
        model(), [IMAGES[:6], IMAGES[3:]], [INSTRUCTION, "lift the blue cube"], Schedule(every=1)
    )
    (alone,) = encode_episodes(model(), [IMAGES[3:]], ["lift the blue cube"], Schedule(every=1))
    np.testing.assert_allclose(both[1].latent, alone.latent, atol=2e-3)


def test_multiply_adds_of_the_shipped_shape() -> None:
    config = S2Config()
    full, stale = macs.step(config, 0, 4), macs.step(config, None, 4)
    assert full.total / stale.total >= 2.5
    assert stale.gate / full.total <= 0.013
    assert stale.static == 0
    assert macs.step(config, 1, 4).total < full.total


def test_weights_come_back_and_the_gate_does_not_change_the_latents_name(tmp_path: Path) -> None:
    saved = model(3)
    name = save_model(saved, tmp_path / "a", {"why": "test"})
    loaded = load_model(tmp_path / "a")
    for key, value in saved.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value.half().float())
    saved.gate.heads.bias.data.add_(1)
    assert save_model(saved, tmp_path / "b") == name
    saved.trunk.norm.bias.data.add_(1)
    assert save_model(saved, tmp_path / "c") != name
    assert SdVla.from_weights(tmp_path / "a", threads=None).spec.latent_id == name


def test_weights_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    save_model(model(), tmp_path / "a")
    save_model(model(1), tmp_path / "b")
    with pytest.raises(WeightsError, match="there: a, b"):
        load_model(tmp_path / "c")
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="mixed files"):
        load_model(tmp_path / "a")
    (tmp_path / "b.safetensors").write_bytes(b"garbage")
    with pytest.raises(WeightsError, match="cannot be used"):
        load_model(tmp_path / "b")
    about = read_about(tmp_path / "a")
    (tmp_path / "a.json").write_text(json.dumps(about | {"format": 9}))
    with pytest.raises(WeightsError, match="format 1"):
        load_model(tmp_path / "a")
