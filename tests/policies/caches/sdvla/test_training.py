"""The recipe, end to end on a trunk of OpenVLA's family, and the stream that it is trained for.

Simulated rooms: a background of its own for every episode with the light on or off (L1), a drawer
open or shut (L2), a hand (dynamic). The task asks for light, drawer and hand, so that old static
tokens are wrong exactly where light or drawer have changed.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tandem.policies.caches.layout import Layout
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla import lora, losses, storage
from tandem.policies.caches.sdvla.gate import Gate
from tandem.policies.caches.sdvla.geometry import Geometry
from tandem.policies.caches.sdvla.model import SdVla
from tandem.policies.caches.sdvla.partition import IndexPartition, MotionPartition, QueryPartition
from tandem.policies.caches.sdvla.recipe import Pairs, Recipe, Terms, train
from tandem.policies.caches.sdvla.stream import Stream
from tandem.policies.trunk.trunk import Trunk
from tandem.runtime.errors import WeightsError
from torch import Tensor, nn
from torch.nn import functional

from tests.policies.caches.sdvla.families import CONFIGS, TOLERANCE, WIDTH, difference, trunk

SIZES, FEATURES, TEXT = (4, 3, 3), 12, 2
PATCHES = sum(SIZES)
LAYOUT = Layout(1, SIZES[:2], SIZES[2], 3, TEXT, 1)
STEPS = 120


def build(partition: nn.Module | None = None) -> SdVla:
    torch.manual_seed(0)
    return SdVla(
        Trunk(replace(CONFIGS["llama"], depth=2)),
        nn.Linear(FEATURES, WIDTH),
        partition or IndexPartition(SIZES),  # type: ignore[arg-type]
        Gate(FEATURES, PATCHES, 2, hidden=(32, 16), mixed=(16, 8)),
        Geometry(LAYOUT),
    )


class Rooms:
    """Pictures of simulated rooms, as a vision tower would describe them."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        looks = torch.Generator().manual_seed(9)
        light, drawer, hand = (2 * torch.randn(size, FEATURES, generator=looks) for size in SIZES)
        self.looks = light, drawer, hand

    def look(self, place: Tensor, state: Tensor) -> Tensor:
        """Backgrounds [B, FEATURES] and light, drawer, hand [B, 3] to [B, patches, FEATURES]."""
        parts = [state[:, i, None, None] * look for i, look in enumerate(self.looks)]
        parts[0] = parts[0] + place[:, None]
        seen = torch.cat(parts, 1)
        return seen + 0.1 * torch.randn(seen.shape, generator=self.random)

    def states(self, size: int) -> Tensor:
        """Light and drawer ±1, hand −1 … 1: [size, 3]."""
        state = 2 * torch.rand(size, 3, generator=self.random) - 1
        state[:, :2] = state[:, :2].sign()
        return state

    def places(self, size: int) -> Tensor:
        return torch.randn(size, FEATURES, generator=self.random)

    def moved(self, now: Tensor) -> Tensor:
        """The hand elsewhere; in some of the rooms the drawer, in fewer the light."""
        then = self.states(len(now))
        kept = torch.rand(len(now), 2, generator=self.random) < torch.tensor([0.7, 0.5])
        then[:, :2] = torch.where(kept, now[:, :2], then[:, :2])
        return then

    def film(self, count: int) -> list[Tensor]:
        """Frames [1, patches, FEATURES] of one room in which everything changes now and then."""
        place, states = self.places(1), self.states(count)
        return [self.look(place, state[None]) for state in states]

    def batches(self, size: int = 24) -> Iterator[Pairs]:
        while True:
            place, now = self.places(size), self.states(size)
            then, just = self.moved(now), now.clone()
            just[:, 2] = then[:, 2]
            yield Pairs(
                then=self.look(place, then),
                window=torch.stack([self.look(place, state) for state in (just, now)], 1),
                time_s=torch.tensor([0.0, 0.1], dtype=torch.float64).repeat(size, 1),
                gap_frames=torch.randint(1, 9, (size,), generator=self.random),
                episode=torch.arange(size),
                text=torch.ones(size, TEXT, dtype=torch.int64),
                target=now,
            )


class Head(nn.Module):
    """An action head of three numbers, with its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, hidden: Tensor, target: Tensor) -> Tensor:
        said = self.out(hidden[:, 0])
        return functional.smooth_l1_loss(said, target, reduction="none", beta=0.3).mean(1)


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
    expected = _hidden(model, pairs)
    storage.save(model, tmp_path)
    lora.save(model.trunk, adapter, tmp_path / "adapter")
    plain = build()
    again = storage.load(tmp_path, plain.trunk, plain.projector)
    assert type(again.trunk.blocks[0].qkv) is nn.Linear, "merged: running needs no adapters"
    assert difference(_hidden(again, pairs), expected) <= 10 * TOLERANCE


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


@torch.no_grad()
def _hidden(model: SdVla, pairs: Pairs) -> Tensor:
    levels = [model.static(pairs.then, level) for level in range(2)]
    frames = [model.dynamic(pairs.window[:, i], pairs.time_s[:, i]) for i in range(2)]
    return model(levels, torch.stack(frames, 1), pairs.text, model.asks(pairs.time_s[:, -1]))


@pytest.mark.parametrize("queries", [False, True])
@torch.no_grad()
def test_a_stream_equals_the_model_on_the_same_references(queries: bool) -> None:
    model = build(QueryPartition(SIZES, FEATURES, 2) if queries else None).eval()
    model.time.mix.weight.normal_()
    rooms, text = Rooms(2), torch.tensor([3, 7])
    frames = rooms.film(12)
    stream = Stream(model, Recache((0.6, 0.5), max_age_frames=3))
    stream.instruct(text)
    references = [0, 0]
    for i, frame in enumerate(frames):
        if i == 6:
            stream.force_refresh(1)
        step = stream.step(frame[0], 100 + 0.1 * i)
        assert i != 6 or step.refreshed in (0, 1)
        if step.refreshed is not None:
            references[step.refreshed :] = [i] * (2 - step.refreshed)
        past = range(max(0, i - 2), i + 1)
        at_s = torch.tensor([0.1 * k for k in past], dtype=torch.float64)
        levels = [
            model.static(frames[reference], level) for level, reference in enumerate(references)
        ]
        dynamic = model.dynamic(torch.cat([frames[k] for k in past]), at_s)[None]
        expected = model(levels, dynamic, text[None], model.asks(at_s[-1:]))[0]
        assert difference(step.hidden, expected) <= TOLERANCE


@torch.no_grad()
def test_a_gate_forced_open_equals_the_full_forward() -> None:
    model, rooms = build().eval(), Rooms(3)
    stream = Stream(model, Recache((0.0, 0.0), hysteresis=0.0, max_age_frames=1))
    stream.instruct(torch.tensor([1, 2]))
    for i, frame in enumerate(rooms.film(8)):
        step = stream.step(frame[0], 0.1 * i)
        assert step.refreshed == 0
        whole = stream.engine.whole(model.asks(torch.tensor([0.1 * i]).double())[0])
        assert difference(step.hidden, whole) <= TOLERANCE


@torch.no_grad()
def test_another_partition_refreshes_everything() -> None:
    model = build(MotionPartition(SIZES, every=5)).eval()
    stream = Stream(model, Recache((1.0, 1.0)))
    stream.instruct(torch.tensor([1, 2]))
    film = Rooms(4).film(8)
    tops = [stream.step(frame[0], 0.1 * i).refreshed for i, frame in enumerate(film)]
    assert [i for i, top in enumerate(tops) if top == 0] == [0, 4]
    assert len(stream.engine.window.frames) == LAYOUT.frames, "4, 5, 6, 7: the oldest went"


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
    draw = losses.gumbel_choice(logits, 0.5, torch.Generator().manual_seed(0))
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


@pytest.mark.parametrize("kind", ["queries", "motion"])
@torch.no_grad()
def test_a_model_comes_back_from_disk_as_it_was(kind: str, tmp_path: Path) -> None:
    made = QueryPartition(SIZES, FEATURES, 2) if kind == "queries" else MotionPartition(SIZES, 7)
    model, plain = build(made).eval(), build()
    for parameter in model.parameters():
        parameter.add_(0.01)
    storage.save(model, tmp_path)
    again = storage.load(tmp_path, model.trunk, plain.projector)
    pairs = next(Rooms(5).batches(3))
    assert torch.equal(_hidden(again, pairs), _hidden(model, pairs))
    assert again.partition.about() == model.partition.about()
    with pytest.raises(WeightsError, match="cannot be used"):
        storage.load(tmp_path, model.trunk, nn.Linear(FEATURES + 1, WIDTH))
    with pytest.raises(WeightsError, match="do not fit"):
        storage.load(tmp_path, model.trunk, nn.Identity())
    with pytest.raises(WeightsError, match="cannot be used"):
        storage.load(tmp_path / "elsewhere", model.trunk, plain.projector)


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be used"):
        lora.load(trunk("llama"), tmp_path / "missing")
    other = trunk("gemma")
    lora.adapt(other, lora.Adapter(rank=2))
    lora.save(other, lora.Adapter(rank=2), tmp_path / "gemma")
    with pytest.raises(WeightsError, match="cannot be used"):
        lora.load(trunk("llama"), tmp_path / "gemma")
