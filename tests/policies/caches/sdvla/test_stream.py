"""A stream, frame by frame, is the model on the same references; a model comes back from disk."""

from pathlib import Path

import pytest
import torch
from tandem.policies.caches.recache import Recache
from tandem.policies.caches.sdvla import storage
from tandem.policies.caches.sdvla.partition import MotionPartition, QueryPartition
from tandem.policies.caches.sdvla.stream import Stream
from tandem.runtime.errors import WeightsError
from torch import nn

from tests.policies.caches.sdvla.families import TOLERANCE, WIDTH, difference
from tests.policies.caches.sdvla.rooms import FEATURES, LAYOUT, SIZES, Rooms, build, hidden


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
    assert torch.equal(hidden(again, pairs), hidden(model, pairs))
    assert again.partition.about() == model.partition.about()
    with pytest.raises(WeightsError, match="cannot be used"):
        storage.load(tmp_path, model.trunk, nn.Linear(FEATURES + 1, WIDTH))
    with pytest.raises(WeightsError, match="do not fit"):
        storage.load(tmp_path, model.trunk, nn.Identity())
    with pytest.raises(WeightsError, match="cannot be used"):
        storage.load(tmp_path / "elsewhere", model.trunk, plain.projector)
