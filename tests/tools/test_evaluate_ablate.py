"""Each ablation falsifies exactly the part that it names, and nothing else."""

import numpy as np
import pytest
import torch
from tandem.policies.s2.model import S2Model
from tandem.runtime.interfaces import Frame, Observation
from tandem.tools.evaluate.ablate import ABLATIONS, LATE_FRAMES, NAMES, Falsified, falsify


@pytest.fixture(scope="module")
def model() -> S2Model:
    torch.manual_seed(0)
    return S2Model().eval().requires_grad_(False)


def _policy(model: S2Model, name: str | None = None) -> Falsified:
    policy = Falsified(model, "test", threads=1)
    policy.reset("pick up the red cube")
    return policy if name is None else falsify(policy, name)


def _frames(count: int) -> list[Observation]:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 255, (count, 128, 128, 3), np.uint8)
    return [Observation(i, {"front": Frame(image, i, i)}) for i, image in enumerate(images)]


def _latents(policy: Falsified, frames: list[Observation]) -> np.ndarray:
    return np.array([policy.step(frame).latent for frame in frames], np.float32)


def test_a_shut_gate_never_opens_again(model):
    policy = _policy(model, "gate")
    refreshed = [policy.step(frame).refreshed for frame in _frames(30)]
    assert refreshed[0] == [True, True]
    assert refreshed[1:] == [[False, False]] * 29


def test_foreign_statics_change_what_is_understood_but_not_when(model):
    frames = _frames(4)
    intact, foreign = _policy(model), _policy(model, "static")
    assert [intact.step(f).refreshed for f in frames] == [foreign.step(f).refreshed for f in frames]
    assert not np.allclose(
        _latents(_policy(model), frames), _latents(_policy(model, "static"), frames)
    )


def test_late_dynamics_say_what_was_true_before(model):
    """With the gate shut on both, a late policy repeats the intact one's words, frames later."""
    frames = _frames(LATE_FRAMES + 6)
    intact, late = _policy(model, "gate"), falsify(_policy(model, "gate"), "dynamic")
    now, then = _latents(intact, frames), _latents(late, frames)
    assert np.allclose(now[4], then[LATE_FRAMES + 4], atol=2e-3)
    assert not np.allclose(now[LATE_FRAMES + 4], then[LATE_FRAMES + 4], atol=2e-3)


def test_another_name_is_asked_for_from_outside_and_no_other_is_known(model):
    frames = _frames(2)
    assert np.array_equal(
        _latents(_policy(model), frames), _latents(_policy(model, "instruction"), frames)
    )
    assert [ablation.name for ablation in ABLATIONS] == list(NAMES)
    with pytest.raises(ValueError, match="no ablation"):
        falsify(_policy(model), "luck")


@pytest.mark.parametrize("name", ["gate", "static", "dynamic"])
def test_what_is_falsified_stays_so_in_the_next_episode(model, name):
    frames = _frames(LATE_FRAMES + 2)
    policy = _policy(model, name)
    first = _latents(policy, frames)
    policy.forget()
    assert np.array_equal(_latents(policy, frames), first)
