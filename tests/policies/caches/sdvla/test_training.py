"""The recipe, end to end on a trunk of OpenVLA's family, and each term of its loss."""

from pathlib import Path

import pytest
import torch
from tandem.policies.caches.sdvla import lora, losses, storage
from tandem.policies.caches.sdvla.model import SdVla
from tandem.policies.caches.sdvla.recipe import Recipe, Terms, train
from tandem.runtime.errors import WeightsError
from torch import Tensor, nn

from tests.policies.caches.sdvla.families import TOLERANCE, difference, trunk
from tests.policies.caches.sdvla.rooms import Head, Rooms, build, hidden

STEPS = 120


def test_the_recipe_trains_trunk_and_gate_end_to_end(tmp_path: Path) -> None:
    model, head, seen = build(), Head(), []
    adapter = lora.Adapter(rank=8)
    lora.adapt(model.trunk, adapter)
    recipe = Recipe(
        learning_rate=3e-3, gate_learning_rate=3e-3, half_age_frames=(30.0, 20.0), regret=0.3
    )
    rooms = Rooms(1)

    def report(step: int, terms: Terms) -> None:
        seen.append([terms.task.item(), *(c.item() for c in terms.contrast)])

    train(model, rooms.batches(), head, recipe, STEPS, report)
    first, last = (torch.tensor(part).mean(0) for part in (seen[:10], seen[-10:]))
    assert last[0] < 0.5 * first[0], "the task is learned"
    assert last[1] < first[1], "the background tells episodes apart"
    still, light, drawer = _fires(model, rooms)
    assert (still < 0.2).all(), "a moving hand is no change"
    assert light.min() > 0.7, "the light takes all levels with it"
    assert drawer[1] > 0.7
    assert drawer[0] < 0.4, "the drawer is nothing to the background"

    pairs = next(rooms.batches(4))
    expected = hidden(model, pairs)
    storage.save(model, tmp_path)
    lora.save(model.trunk, adapter, tmp_path / "adapter")
    plain = build()
    again = storage.load(tmp_path, plain.trunk, plain.projector)
    assert type(again.trunk.blocks[0].qkv) is nn.Linear, "merged: running needs no adapters"
    assert difference(hidden(again, pairs), expected) <= 10 * TOLERANCE


@torch.no_grad()
def _fires(model: SdVla, rooms: Rooms) -> list[Tensor]:
    """How often each level would be refreshed [levels]: nothing, the light, the drawer changed."""
    place, now = rooms.places(100), rooms.states(100)
    found = []
    for changed in (torch.ones(3), torch.tensor([-1.0, 1, 1]), torch.tensor([1.0, -1, 1])):
        then = now * changed
        then[:, 2] = now.flip(0)[:, 2]
        logits = model.gate(rooms.look(place, now), rooms.look(place, then))
        found.append(losses.link((logits > 0).float()).mean(0))
    return found


def test_the_terms_are_what_the_paper_says() -> None:
    prior = losses.age_prior(torch.tensor([0, 4, 8]), (4.0, 8.0))
    assert prior.flatten().tolist() == pytest.approx([0, 0, 0.5, 1 - 0.5**0.5, 0.75, 0.5])
    logits = torch.tensor([[0.3, -1.0]])
    g, p = logits.sigmoid(), torch.tensor([[0.2, 0.9]])
    by_hand = -(p * g.log() + (1 - p) * (1 - g).log()).sum()
    assert losses.gate_loss(logits, p).item() == pytest.approx(by_hand.item())
    assert losses.link(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])).tolist() == [
        [1, 1, 1],
        [0, 1, 1],
        [0, 0, 0],
    ]
    costs = torch.tensor([[0.1, 0.1, 0.9], [0.1, 0.8, 0.8]])
    assert losses.regret(costs, 0.05).tolist() == [[0, 1], [1, 0]]


def test_a_draw_is_hard_forward_and_soft_backward() -> None:
    logits = torch.full((20_000,), 0.7, requires_grad=True)
    torch.manual_seed(0)
    draw = losses.gumbel_choice(logits, 0.5)
    assert set(draw.detach().round(decimals=5).tolist()) == {0.0, 1.0}
    assert draw.mean().item() == pytest.approx(torch.tensor(0.7).sigmoid().item(), abs=0.02)
    draw.sum().backward()
    assert logits.grad is not None
    assert (logits.grad >= 0).all()
    assert logits.grad.mean() > 0.1


def test_rows_of_one_episode_are_no_negatives() -> None:
    one, other = torch.randn(2, 4, 8)
    other[1] = one[0]
    alone = losses.info_nce(one, other, torch.tensor([0, 1, 2, 3]))
    together = losses.info_nce(one, other, torch.tensor([0, 0, 2, 3]))
    assert together < alone


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be used"):
        lora.load(trunk("llama"), tmp_path / "missing")
    other = trunk("gemma")
    lora.adapt(other, lora.Adapter(rank=2))
    lora.save(other, lora.Adapter(rank=2), tmp_path / "gemma")
    with pytest.raises(WeightsError, match="cannot be used"):
        lora.load(trunk("llama"), tmp_path / "gemma")
