"""Rules of other caches on the shipped model: forced to their ends, each must equal "none"."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.caches.strategy import Plan, Watch
from tandem.policies.caches.whole import Whole
from tandem.policies.s2 import macs, rivals
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.engine import Engine, Reading
from tandem.policies.s2.model import S2Model
from tandem.policies.s2.patchwise import Patchwise, patch_layout
from tandem.policies.s2.policy import STRATEGIES, SdVla
from tandem.policies.s2.text import encode
from tandem.runtime.config import Cache
from tandem.runtime.errors import RefusedError
from tandem.runtime.interfaces import Frame, Observation

SMALL = S2Config(stem=(8, 8, 8), width=48, depth=4)
LAYOUT = patch_layout(SMALL)
ALL = torch.tensor(LAYOUT.visual_rows)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)


def build(config: S2Config = SMALL) -> S2Model:
    """Random weights whose rows mix strongly, so that a stale row shows."""
    torch.manual_seed(0)
    model = S2Model(config).eval().requires_grad_(False)
    for parameter in model.trunk.parameters():
        if parameter.dim() == 2:
            parameter.mul_(3)
    return model


MODEL = build()
QUESTION = MODEL.tokens.question(torch.from_numpy(encode("pick up the red cube"))[None])
FEATURES = [MODEL.features(torch.from_numpy(image)[None]) for image in IMAGES]


class Scripted(Whole):
    """Computes the patches that it is told to, from layer 0 or only up to `leave_layer`."""

    def __init__(self, anew: list[torch.Tensor], leave_layer: int = 0) -> None:
        super().__init__(LAYOUT)
        self._anew, self._leave_layer, self._frame = anew, leave_layer, -1

    def plan(self, image: np.ndarray, features: torch.Tensor) -> Plan:
        self._frame += 1
        anew = self._anew[self._frame]
        if self._leave_layer == 0:
            return Plan(ALL[anew], features[anew])
        return Plan(ALL, features, leave={self._leave_layer: ALL[~anew]})


def play(rule: Whole, frames: list[int]) -> list[torch.Tensor]:
    stream = Patchwise(MODEL, rule)
    return [
        latent(stream.step(IMAGES[i], FEATURES[i], QUESTION, lambda stage: None).reading)
        for i in frames
    ]


def none(frames: list[int]) -> list[torch.Tensor]:
    """What the shipped engine says when every level is refreshed in every frame."""
    engine = Engine(MODEL)
    said = []
    for i in frames:
        engine.refresh(FEATURES[i], 0)
        said.append(latent(engine.advance(FEATURES[i], QUESTION)))
    return said


def latent(reading: Reading) -> torch.Tensor:
    readout = MODEL.readout
    pointed = readout.pointer.point(reading.readouts[:, :1], reading.keys, reading.values)[1]
    return readout.normalised(readout.raw(reading.readouts[:, None], pointed))[:, 0]


def distance(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def everything(frames: int) -> list[torch.Tensor]:
    return [torch.ones(SMALL.patches, dtype=torch.bool)] * frames


@torch.inference_mode()
def test_everything_anew_equals_none() -> None:
    frames = [0, 1, 2, 3, 4, 5, 0]
    assert distance(play(Scripted(everything(7)), frames), none(frames)) <= 1e-5


@pytest.mark.parametrize("name", rivals.NAMES)
@torch.inference_mode()
def test_each_rule_without_a_past_equals_none(name: str) -> None:
    """Made to forget before every frame, a rule keeps nothing."""
    rule = rivals.rule(name, SMALL)
    stream, said = Patchwise(MODEL, rule), []
    for i in range(4):
        rule.reset()
        step = stream.step(IMAGES[i], FEATURES[i], QUESTION, lambda stage: None)
        said.append(latent(step.reading))
        assert min(step.anew) == SMALL.patches
    assert distance(said, none([0, 1, 2, 3])) <= 1e-5


@pytest.mark.parametrize("leave_layer", [0, 1, 3])
@torch.inference_mode()
def test_kept_rows_of_an_unchanged_picture_change_nothing(leave_layer: int) -> None:
    kept = [*everything(1), *[torch.zeros(SMALL.patches, dtype=torch.bool)] * 4]
    assert distance(play(Scripted(kept, leave_layer), [2] * 5), none([2] * 5)) <= 1e-5


@pytest.mark.parametrize("name", rivals.NAMES)
@torch.inference_mode()
def test_each_rule_on_an_unchanged_picture_equals_none(name: str) -> None:
    assert distance(play(rivals.rule(name, SMALL), [1] * 6), none([1] * 6)) <= 1e-5


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sets(st.integers(0, 63)), min_size=2, max_size=5), st.sampled_from([0, 1, 3]))
@torch.inference_mode()
def test_what_is_kept_is_the_row_and_nothing_else(kept: list[set[int]], leave_layer: int) -> None:
    """Whatever was kept on the way, a frame in which everything is anew leaves no trace of it."""
    anew = everything(1)
    for patches in kept:
        anew = [*anew, torch.tensor([i not in patches for i in range(SMALL.patches)])]
    frames = [i % len(IMAGES) for i in range(len(anew) + 1)]
    said = play(Scripted([*anew, *everything(1)], leave_layer), frames)
    assert distance(said[-1:], none(frames)[-1:]) <= 1e-5


@torch.inference_mode()
def test_a_stale_row_shows() -> None:
    """The tests above can fail: keeping rows of another picture is not what none says."""
    kept = [*everything(1), torch.arange(SMALL.patches) >= 8]
    assert distance(play(Scripted(kept), [0, 1]), none([0, 1])) > 1e-3


@torch.inference_mode()
def test_rows_written_in_the_wrong_place_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys carry no positions, so only a shift of some rows among others is wrong."""
    honest = Patchwise._inputs

    def shifted(self: Patchwise, plan: Plan, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
        x, rows = honest(self, plan, *rest)
        if len(plan.rows) == SMALL.patches:
            return x, rows
        patch = (rows >= SMALL.registers) & (rows < SMALL.statics)
        return x, torch.where(patch, rows + 1, rows)

    monkeypatch.setattr(Patchwise, "_inputs", shifted)
    some = [*everything(1), torch.arange(SMALL.patches) < 32]
    assert distance(play(Scripted(some), [2, 2]), none([2, 2])) > 1e-3


@torch.inference_mode()
def test_the_attention_that_a_rule_sees_is_the_trunks_own() -> None:
    class Watching(Scripted):
        def plan(self, image: np.ndarray, features: torch.Tensor) -> Plan:
            return Plan(ALL, features, watch=Watch((0, 3), torch.tensor(LAYOUT.text_rows)))

        def learn(self, attention: dict[int, torch.Tensor]) -> None:
            self.attention = attention

    rule = Watching(everything(1))
    play(rule, [3])
    assert set(rule.attention) == {0, 3}
    for weights in rule.attention.values():
        assert weights.shape == (SMALL.text, SMALL.rows)
        torch.testing.assert_close(weights.sum(1), torch.ones(SMALL.text))
        # Word 0 sees itself and no later one, nor frames that are not there.
        later = SMALL.question_rows[1]
        assert weights[0, later - 1] > 0
        assert float(weights[0, later:].abs().max()) == 0
        assert float(weights[:, SMALL.statics + SMALL.changed : later - 1].abs().max()) == 0


def observation(image: np.ndarray) -> Observation:
    return Observation(0, {"front": Frame(image, 0, 0)})


def policy(strategy: str, **options: object) -> SdVla:
    made = SdVla(MODEL, "abc", strategy=strategy, threads=None, **options)
    made.reset("pick up the green cube")
    return made


@pytest.mark.parametrize("name", rivals.NAMES)
def test_a_rule_behind_the_policy_saves_starts_anew_and_can_be_forced(name: str) -> None:
    still = policy(name)
    outs = [still.step(observation(IMAGES[0])) for _ in range(3)]
    assert outs[0].gate == [1.0, 1.0]
    assert outs[0].refreshed == [True, True]
    assert set(outs[0].timings_ns) == {"vision", "gate", "static", "trunk", "readout"}
    if name != "ttf":  # which only fuses features: all rows run
        assert outs[2].gate[1] < 1
        assert outs[2].age_frames[1] > 0
    if name == "dual_cache":  # LAC's networks take more than a trunk as small as this has to give
        assert outs[2].macs - outs[2].macs_full < outs[0].macs - outs[0].macs_full
    forced = still.step(observation(IMAGES[0]), force_refresh=1)
    assert forced.refreshed == [True, True]
    assert forced.age_frames == [0, 0]
    still.forget()
    again = still.step(observation(IMAGES[0]))
    np.testing.assert_array_equal(again.latent, outs[0].latent)


def test_a_fixed_interval_refreshes_whatever_it_sees() -> None:
    p = policy("fixed_interval", max_age_frames=3)
    outs = [p.step(observation(IMAGES[i % 6])) for i in range(7)]
    assert [out.refreshed[1] for out in outs] == [True, False, False, True, False, False, True]
    assert all(out.refreshed[0] == out.refreshed[1] for out in outs)


def test_lacs_networks_take_little_of_the_trunk_that_they_spare() -> None:
    config = S2Config()
    networks = rivals.lac_networks(rivals.LAC_WEIGHTS, config.grid)
    whole = macs.step(config, 0, config.frames, gated=False)
    assert networks.macs(config.image) < 0.03 * whole.total


def test_counted_is_what_runs() -> None:
    full = [SMALL.patches] * SMALL.depth
    for frames in (1, 4):
        whole = macs.step(SMALL, 0, frames, gated=False)
        assert macs.patchwise(SMALL, SMALL.patches, full, frames, 0, 0) == whole
    kept = macs.patchwise(SMALL, 16, [16] * SMALL.depth, 4, 0, 0)
    assert kept.static < whole.static
    assert kept.trunk < whole.trunk
    assert kept.readout < whole.readout


def test_the_choice_is_the_same_wherever_it_is_made_and_a_bad_one_gets_the_list() -> None:
    assert set(get_args(Cache.__annotations__["strategy"])) == set(STRATEGIES)
    with pytest.raises(RefusedError, match="vla_cache, ttf"):
        policy("luck")
