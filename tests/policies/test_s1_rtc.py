"""Real-time chunking: the mask, the strength, the direction of the pull, and what it is good for.

A Gaussian's exact flow stands for a model wherever the right answer can be written down.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.s1.denoisers import TorchDenoiser
from tandem.policies.s1.flow import FlowHead, GuidedFlow
from tandem.policies.s1.network import HeadConfig, ToolPosition
from tandem.policies.s1.rtc import Guided, Leftover, Sampler, gain, padded, soft_mask

Array = np.ndarray
H, D = 16, 3
MEAN, SPREAD = 1.0, 0.3


def bell(x: torch.Tensor, tau: float) -> torch.Tensor:
    """Exact velocity towards N(MEAN, SPREAD²) in every number, τ from noise to data."""
    variance = tau**2 * SPREAD**2 + (1 - tau) ** 2
    slope = (tau * SPREAD**2 - (1 - tau)) / variance
    return MEAN + slope * (x - tau * MEAN)


def bell_to_noise(x: torch.Tensor, t: float) -> torch.Tensor:
    """The same model in the convention of π0: t from data to noise, velocity noise − data."""
    return -bell(x, 1.0 - t)


def mixed(x: torch.Tensor, tau: float) -> torch.Tensor:
    """A velocity whose steps depend on one another, so that the Jacobian is not diagonal."""
    weights = torch.linspace(-1, 1, H * H).reshape(H, H)
    return bell(x, tau) + 0.3 * torch.tanh(weights @ x)


def noise(seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((H, D))


@given(
    st.integers(1, 32), st.integers(0, 40), st.integers(0, 40), st.sampled_from(["exp", "linear"])
)
@settings(max_examples=200, deadline=None)
def test_mask_is_one_while_frozen_falls_over_the_overlap_and_is_zero_after(
    horizon: int, frozen: int, overlap: int, schedule: str
) -> None:
    mask = soft_mask(horizon, frozen, overlap, schedule)
    held = min(frozen, overlap, horizon)
    assert (mask[:held] == 1).all()
    assert (mask[min(overlap, horizon) :] == 0).all()
    assert (np.diff(mask) <= 1e-12).all()
    between = mask[held : min(overlap, horizon)]
    assert ((between > 0) & (between < 1)).all()


def test_mask_by_hand() -> None:
    np.testing.assert_allclose(soft_mask(5, 1, 4, "linear"), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(soft_mask(4, 1, 3, "ones"), [1, 1, 1, 0])
    np.testing.assert_allclose(soft_mask(4, 1, 3, "frozen"), [1, 0, 0, 0])
    ramp = 0.5
    wanted = ramp * (np.exp(ramp) - 1) / (np.e - 1)
    np.testing.assert_allclose(soft_mask(3, 0, 1, "exp"), [wanted, 0, 0])


def test_padding_holds_the_last_action() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(padded(rows, 4), [[1, 2], [3, 4], [3, 4], [3, 4]])
    np.testing.assert_array_equal(padded(rows, 1), rows[:1])


def test_strength_is_clipped_at_both_ends_and_least_in_the_middle() -> None:
    assert gain(0.0, 5.0) == gain(1.0, 5.0) == 5.0
    assert gain(0.5, 5.0) == pytest.approx(2.0)
    assert all(2.0 <= gain(t, 5.0) <= 5.0 for t in np.linspace(0, 1, 101))


def test_without_a_leftover_the_flow_is_free() -> None:
    denoiser = TorchDenoiser(bell)
    samples = [Sampler(steps=20).sample(denoiser, noise(i), None) for i in range(40)]
    assert np.mean(samples) == pytest.approx(MEAN, abs=0.05)
    assert np.std(samples) == pytest.approx(SPREAD, abs=0.06)
    empty = Leftover(np.empty((0, D)), 0)
    np.testing.assert_array_equal(
        Sampler().sample(denoiser, noise(), empty), Sampler().sample(denoiser, noise(), None)
    )


@pytest.mark.parametrize("mode", ["jacobian", "identity"])
def test_the_frozen_beginning_is_met_and_the_rest_stays_free(mode: str) -> None:
    left = Leftover(np.full((6, D), MEAN + 1.5 * SPREAD), frozen=3)
    sampler = Sampler(steps=10, mode=mode)
    free = Sampler(steps=10).sample(TorchDenoiser(bell), noise(), None)
    chunk = sampler.sample(TorchDenoiser(bell), noise(), left)
    before, after = (np.abs(x[:3] - left.actions[:3]).max() for x in (free, chunk))
    assert after < before / 3
    # This model's steps know nothing of one another: beyond the overlap nothing may change.
    np.testing.assert_allclose(chunk[6:], free[6:], atol=1e-6)


@pytest.mark.parametrize("mode", ["jacobian", "identity"])
def test_both_time_conventions_give_the_same_chunk(mode: str) -> None:
    """The classic port bug is a sign: a model that runs backwards, pushed away from its target."""
    left = Leftover(np.full((8, D), 2.0), frozen=4)
    sampler = Sampler(steps=8, mode=mode)
    forwards = sampler.sample(TorchDenoiser(bell, "to_data"), noise(), left)
    backwards = sampler.sample(TorchDenoiser(bell_to_noise, "to_noise"), noise(), left)
    np.testing.assert_allclose(forwards, backwards, atol=1e-6)


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.8])
def test_pull_is_the_gradient_and_points_downhill(tau: float) -> None:
    """`pulled` is minus the gradient of ½‖target − end‖² weighted, by finite differences."""
    x, target = noise(1), noise(2)
    weights = soft_mask(H, 3, 8)

    def loss(at: Array) -> float:
        tensor = torch.tensor(at, dtype=torch.float64)
        end = tensor + (1 - tau) * mixed64(tensor, tau)
        return float(0.5 * (weights[:, None] * (target - end.numpy()) ** 2).sum())

    def mixed64(at: torch.Tensor, t: float) -> torch.Tensor:
        weights_ = torch.linspace(-1, 1, H * H, dtype=torch.float64).reshape(H, H)
        return bell(at, t) + 0.3 * torch.tanh(weights_ @ at)

    pulled = TorchDenoiser(mixed).guided(x, tau, target, weights).pulled
    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = rng.standard_normal(x.shape)
        slope = (loss(x + 1e-5 * direction) - loss(x - 1e-5 * direction)) / 2e-5
        assert slope == pytest.approx(-float((pulled * direction).sum()), rel=1e-3, abs=1e-4)
    assert loss(x + 1e-3 * pulled) < loss(x)


def test_jacobian_and_identity_differ_where_steps_depend_on_one_another() -> None:
    seen = TorchDenoiser(mixed).guided(noise(1), 0.4, noise(2), soft_mask(H, 3, 8))
    assert np.abs(seen.pulled[8:]).max() > 1e-3  # the true gradient reaches steps without weight
    assert np.abs(seen.residual[8:]).max() == 0.0


def test_given_prefix_is_kept_exactly_and_needs_a_model_trained_for_it() -> None:
    class Given:
        def __init__(self) -> None:
            self.frozen: list[Array] = []

        def velocity(self, x: Array, tau: float, frozen: Array) -> Array:
            self.frozen.append(frozen)
            return bell(torch.tensor(x), tau).numpy()

        def guided(self, x: Array, tau: float, target: Array, weights: Array) -> Guided:
            raise AssertionError("prefix mode does not guide")

    left, model = Leftover(np.full((6, D), 7.0), frozen=2), Given()
    chunk = Sampler(mode="prefix").sample(model, noise(), left)
    assert (chunk[:2] == 7.0).all()
    assert np.abs(chunk[2:]).max() < 5.0
    assert all(f.sum() == 2 for f in model.frozen)
    with pytest.raises(ValueError, match="not trained with given prefixes"):
        Sampler(mode="prefix").sample(TorchDenoiser(bell), noise(), left)


def test_written_out_derivative_equals_autograd() -> None:
    torch.manual_seed(0)
    config = HeadConfig(latent=6, width=32, blocks=2)
    head = FlowHead(config, ToolPosition(torch.randn(7, 4), torch.randn(3))).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, target = torch.randn(2, 16, 8).double(), torch.randn(2, 16, 8).double()
    tau, frozen = torch.tensor([[0.2], [0.7]]).double(), torch.zeros(2, 16).double()
    weights = torch.rand(2, 16).double()
    given = [torch.randn(2, n).double() for n in (16, 6, 6, 2)]
    velocity, residual, pulled = GuidedFlow(head)(x, tau, frozen, target, weights, *given)
    start = x.clone().requires_grad_()
    seen = head.inputs(*given)
    end = start + (1 - tau)[..., None] * head(start, tau, frozen, seen)
    torch.testing.assert_close(velocity, head(x, tau, frozen, seen))
    torch.testing.assert_close(residual, weights[..., None] * (target - end.detach()))
    (wanted,) = torch.autograd.grad(end, start, residual)
    torch.testing.assert_close(pulled, wanted)
