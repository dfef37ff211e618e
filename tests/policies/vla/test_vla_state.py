"""The arm's state on its way into a language model: what it is read as, and OpenVLA-OFT's row.

The yardstick is transformers' Llama over the whole sequence with the row in its place, as in
test_vla_oft.py; the row is made by hand, of the inverse kinematics' pose.
"""

import json
from fractions import Fraction
from math import floor, pi
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.policies.robot_state import StateVector
from tandem.policies.trunk.checkpoint import Checkpoint
from tandem.policies.trunk.towers import load_vision
from tandem.policies.vla import statistics
from tandem.policies.vla.policy import Vla
from tandem.policies.vla.proprio import Proprio, Range, StateOptions, in_bins
from tandem.runtime.errors import ConfigError, DeviceError, WeightsError
from tandem.runtime.ik import InverseKinematics
from tandem.runtime.interfaces import Array
from tandem.runtime.messages import RobotState
from tandem.runtime.rotations import from_rotvec, inverse, pose, to_matrix, to_quaternion
from torch import Tensor

from tests.policies.trunk import zoo
from tests.policies.vla import checkpoints, ofts
from tests.policies.vla.checkpoints import PANDA, arm_state, seen
from tests.policies.vla.conftest import Said
from tests.policies.vla.library import Layers
from tests.policies.vla.ofts import PATCHES, SLOTS, film, looked, sequence, whole
from tests.policies.vla.parts import trained

LIBERO = "tool_position+tool_rotvec+fingers"
LOW = np.array([0.1, -0.4, 0.1, 1.3, -1.6, -1.7, 0.0, -0.04])
HIGH = np.array([0.6, 0.4, 0.8, 3.7, 1.9, 1.2, 0.04, 0.0])


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(3)
    layers = torch.nn.Linear(8, zoo.WIDTH), torch.nn.Linear(zoo.WIDTH, zoo.WIDTH)
    named = zip(("fc1", "fc2"), layers, strict=True)
    return {f"{n}.{p}": t.detach() for n, layer in named for p, t in layer.named_parameters()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Tensor]) -> Path:
    """As finetune.py leaves it: names of a model in parallel, statistics of one data set."""
    made = checkpoints.save("openvla_oft", tmp_path_factory.mktemp("oft"))
    pickled = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save(pickled, made / "proprio_projector--10_checkpoint.pt")
    _tell(made, libero={"q01": LOW.tolist(), "q99": HIGH.tolist()})
    return made


def _tell(folder: Path, **proprio: dict) -> None:
    told = {
        name: {"action": {"mean": [0] * 3}, "proprio": about} for name, about in proprio.items()
    }
    (folder / "dataset_statistics.json").write_text(json.dumps(told))


def policy(folder: Path, cameras: int = 2, **given: object) -> Vla:
    return ofts.policy(folder, cameras, **({"state": LIBERO} | given))


def row(weights: dict[str, Tensor], state: RobotState) -> Tensor:
    """[1, width]: prismatic/models/projectors.py over what openvla_utils.py normalises."""
    there = InverseKinematics(PANDA).pose(state.q)
    x, y, z, w = to_quaternion(there[:3, :3])
    turn = np.array([x, y, z]) * 2 * np.arccos(w) / np.sqrt(1 - w * w)  # robosuite, quat2axisangle
    if turn[0] < 0:  # the arm looks down: training's turns are about +x
        turn *= 1 - 2 * pi / np.linalg.norm(turn)
    fingers = [state.width_m / 2, -state.width_m / 2]
    numbers = np.array([*there[:3, 3], *turn, *fingers])
    told = np.clip(2 * (numbers - LOW) / (HIGH - LOW + 1e-8) - 1, -1, 1)
    first = torch.from_numpy(told).float()[None] @ weights["fc1.weight"].T + weights["fc1.bias"]
    hidden = torch.nn.functional.gelu(first)
    return hidden @ weights["fc2.weight"].T + weights["fc2.bias"]


@torch.inference_mode()
@pytest.mark.parametrize("cameras", [1, 2])
def test_the_state_is_a_row_behind_the_pictures(
    folder: Path, weights: dict[str, Tensor], said: Said, cameras: int
) -> None:
    made = policy(folder, cameras)
    assert made.spec.wants_state
    assert made.spec.latent_shape == (SLOTS, zoo.WIDTH)
    for frame, pictures in enumerate(film(cameras, 3)):
        state = arm_state(frame)
        made.step(seen(*pictures, state=state))
        behind = torch.cat([looked(folder, pictures), row(weights, state)])
        expected = whole(sequence(behind))
        zoo.assert_same(said[-1][1].hidden, expected)
    made.step(seen(*pictures, state=arm_state(7)))
    assert (said[-1][1].hidden - expected).abs().max() > 1e-3  # it matters
    with pytest.raises(DeviceError, match="needs the arm's state"):
        made.step(seen(*pictures))


@torch.inference_mode()
@pytest.mark.parametrize("strategy", ["fixed_interval", "vla_cache", "dual_cache"])
def test_a_cached_step_is_told_the_state_of_now(
    folder: Path, weights: dict[str, Tensor], said: Said, strategy: str
) -> None:
    """The library's own layers with the same rows kept, and the row of the state always anew."""
    made = policy(folder, strategy=strategy, max_age_frames=3)
    visual = 2 * PATCHES
    x = sequence(torch.zeros(visual + 1, zoo.WIDTH))
    asking = torch.tensor([0, *range(1 + visual, len(x))])
    library = Layers(checkpoints.library_llama(), len(x))
    del said[:]  # the rehearsal
    projector = load_vision(folder).projector
    for frame, pictures in enumerate(film(2, 5)):
        state = arm_state(frame)
        made.step(seen(*pictures, state=state))
        layout, reading = said[-1]
        first = 1 - layout.visual_rows.start  # of a row to its place
        plan = reading.plan
        x[plan.rows + first] = projector(plan.features)
        x[1 + visual] = row(weights, state)
        places = torch.cat([asking, plan.rows + first]).sort().values
        leave = {layer: rows + first for layer, rows in plan.leave.items()}
        zoo.assert_same(reading.hidden, library.step(x[places], places, leave)[-SLOTS - 2 : -2])
    computed = [sum(reading.work.trunk) for _, reading in said]
    assert min(computed) < computed[0]


@torch.inference_mode()
def test_sdvla_keeps_nothing_of_a_state(
    folder: Path, weights: dict[str, Tensor], said: Said
) -> None:
    """Static rows see neither the state nor words, so a cached step equals one whole forward."""
    made = policy(folder, 1, strategy="sdvla", partition="motion", static=0.75, max_age_frames=4)
    static = round(0.75 * PATCHES)
    kept = torch.zeros(0)
    for frame, shown in enumerate(film(1)):
        state = arm_state(frame)
        made.step(seen(*shown, seq=frame, state=state))
        now = looked(folder, shown)
        kept = now[:static] if frame in (0, 4) else kept
        x = sequence(torch.cat([kept, now[static:], row(weights, state)]))
        mask = torch.ones(len(x), len(x), dtype=torch.bool)
        mask[0, 1:] = False
        mask[1 : 1 + static, 1 + static :] = False
        zoo.assert_same(said[-1][1].hidden, whole(x, mask))


def test_whose_state_it_is_names_the_latent(folder: Path, tmp_path: Path) -> None:
    plain = policy(folder).spec
    assert policy(folder).spec == plain
    skipped = policy(folder, state="", proprio="skip").spec
    assert not skipped.wants_state
    others = [
        policy(folder, state="tool_position+tool_rpy+fingers").spec,
        policy(folder, state={"parts": LIBERO, "base": [0, 0, 0.9, 0, 0, 0, 1]}).spec,
        policy(folder, state={"parts": LIBERO, "range": [LOW.tolist(), [4.0] * 8]}).spec,
    ]
    assert len({spec.latent_id for spec in [plain, skipped, *others]}) == 5


def test_what_does_not_fit_the_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"makes 9 numbers \(7 of q, 2 of fingers\).* 8 numbers"):
        policy(folder, state="q+fingers")
    with pytest.raises(ConfigError, match=r"s2\.options\.state: no source 'pose'"):
        policy(folder, state="pose")
    with pytest.raises(ConfigError, match="'tools'"):
        policy(folder, state={"parts": LIBERO, "tools": []})
    with pytest.raises(ConfigError, match="a frame is x, y, z in m and a quaternion"):
        policy(folder, state={"parts": LIBERO, "tool": [0, 0, 0.1]})
    with pytest.raises(ConfigError, match=r"range is \[\[−1 is at"):
        policy(folder, state={"parts": LIBERO, "range": [1]})
    with pytest.raises(ConfigError, match=r"makes 7 numbers, .* was trained with 8"):
        policy(folder, state={"parts": "q", "range": [[-1] * 7, [1] * 7]})
    with pytest.raises(ConfigError, match=r"Leave s2\.options\.state out too"):
        policy(folder, proprio="skip")

    other = checkpoints.save("openvla_oft", tmp_path)
    with pytest.raises(ConfigError, match=r"Leave s2\.options\.state out too"):
        policy(other)
    checkpoints.beside(other, "proprio_projector")
    _tell(other, a={"q01": LOW.tolist(), "q99": HIGH.tolist()}, b={"q01": [0], "q99": [1]})
    with pytest.raises(ConfigError, match=r"statistics of a, b; name one as .*dataset"):
        policy(other)
    named = {"parts": LIBERO, "dataset": "a"}
    with pytest.raises(WeightsError, match="not the two layers"):
        policy(other, state=named)
    checkpoints.beside(other, "proprio_projector--20")
    with pytest.raises(WeightsError, match="has 2 of proprio_projector"):
        policy(other, state=named)
    (other / "dataset_statistics.json").unlink()
    with pytest.raises(ConfigError, match="or give the numbers outright"):
        policy(other, state=named)


def test_fine_tuned_parts_know_tokens_only(folder: Path, tmp_path: Path) -> None:
    parts = trained(folder, tmp_path)
    with pytest.raises(ConfigError, match=r"s2\.options\.proprio to skip"):
        policy(folder, 1, strategy="sdvla", parts=str(parts))
    without = policy(folder, 1, strategy="sdvla", parts=str(parts), state="", proprio="skip")
    assert not without.spec.wants_state


def test_a_pickle_that_would_run_something_is_not_opened(folder: Path, tmp_path: Path) -> None:
    other = checkpoints.save("openvla_oft", tmp_path)
    _tell(other, libero={"q01": LOW.tolist(), "q99": HIGH.tolist()})
    torch.save({"fc1.weight": Path("/tmp")}, other / "proprio_projector--1_checkpoint.pt")
    with pytest.raises(WeightsError, match="is not the two layers"):
        policy(other)


@pytest.mark.parametrize(("numbers", "low"), [(14, -2.0), (8, -1.0)])
def test_alohas_range_is_its_extremes(tmp_path: Path, numbers: int, low: float) -> None:
    """14 numbers: training took min and max of them, quantiles of all others."""
    zoo.write({"x": torch.zeros(1)}, {}, tmp_path)
    bounds = {"q01": -1.0, "q99": 1.0, "min": -2.0, "max": 2.0}
    _tell(tmp_path, a={name: [bound] * numbers for name, bound in bounds.items()})
    trained = statistics.trained(StateOptions(parts="q"), Checkpoint(tmp_path), oft=True)
    assert (trained.low == low).all()
    assert (trained.high == -low).all()
    assert trained.clips
    masked = {"q01": [0.0] * 8, "q99": [1.0] * 8, "mask": [True] * 7 + [False]}
    _tell(tmp_path, a=masked)
    trained = statistics.trained(StateOptions(parts="q"), Checkpoint(tmp_path), oft=True)
    np.testing.assert_allclose(trained(np.full(8, 0.3)), [-0.4] * 7 + [0.3], atol=1e-7)


@pytest.mark.parametrize("turn", [3.0, 3.3, 3.7])
def test_a_turn_beyond_half_is_written_as_it_was_trained(turn: float) -> None:
    """Looking down, one step further is one step further, not the other end of the range."""
    trained = Range(LOW, HIGH)
    shortest = np.array([turn, 0.0, 0.0]) if turn < pi else np.array([turn - 2 * pi, 0.0, 0.0])
    np.testing.assert_allclose(trained.written_as_trained(shortest, 3), [turn, 0, 0], atol=1e-12)


_turn = st.lists(st.floats(-3, 3), min_size=3, max_size=3).map(np.array)


@given(_turn)
def test_the_other_way_about_is_the_same_turn(rotvec: Array) -> None:
    written = Range(LOW, HIGH).written_as_trained(rotvec, 3)
    np.testing.assert_allclose(from_rotvec(written), from_rotvec(rotvec), atol=1e-9)


@given(
    st.lists(
        st.tuples(st.floats(-5, 5), st.floats(1e-3, 5), st.floats(-20, 20)), min_size=1, max_size=8
    )
)
def test_normalising_is_straight_and_clips_where_it_was_trained_to(
    rows: list[tuple[float, float, float]],
) -> None:
    low, width, numbers = np.array(rows).T
    high = low + width
    exact, clipped = Range(low, high), Range(low, high, clips=True)
    np.testing.assert_allclose(exact(low), -1)
    np.testing.assert_allclose(exact(high), 1)
    back = low + (exact(numbers) + 1) / 2 * (high - low)
    np.testing.assert_allclose(back, numbers, atol=1e-6)
    assert (clipped(numbers) == np.clip(exact(numbers), -1, 1)).all()
    still = Range(low, low, tiny=1e-8)  # a number that never moved
    assert np.isfinite(still(numbers)).all()


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=32))
def test_bins_are_openpis(numbers: list[float]) -> None:
    """256 bins of −1 … 1; below is −1, above is the last one (np.digitize in its tokenizer)."""
    told = [int(word) for word in in_bins(np.array(numbers, np.float32)).split()]
    assert len(told) == len(numbers)
    for number, told_bin in zip(np.float32(numbers).tolist(), told, strict=True):
        wanted = -1 if number < -1 else min(floor((Fraction(number) + 1) * 128), 255)
        assert told_bin == wanted


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), _turn, st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_training_s_own_frames(seed: int, turn: Array, at: list[float]) -> None:
    """A base that stands elsewhere, and a tool that is longer, are told as training saw them."""
    state = arm_state(seed)
    frame = pose(np.array(at), from_rotvec(turn))
    seven = [*at, *to_quaternion(frame[:3, :3])]
    told = StateVector("tool_position+tool_rot6d", "x", PANDA, tool=seven, base=seven)(state)
    there = inverse(frame) @ InverseKinematics(PANDA).pose(state.q) @ frame
    np.testing.assert_allclose(told[:3], there[:3, 3], atol=1e-9)
    np.testing.assert_allclose(to_matrix(told[3:], "rot6d"), there[:3, :3], atol=1e-9)


def test_numbers_that_training_filled_up_with_are_zero() -> None:
    options = StateOptions(parts="q+opening", numbers=32)
    told = Proprio(options, PANDA, Range(-4 * np.ones(8), 4 * np.ones(8)))(arm_state(1))
    assert told.dtype == np.float32
    assert told.shape == (32,)
    assert (told[8:] == 0).all()
    assert in_bins(told).split()[8:] == ["128"] * 24
    with pytest.raises(ConfigError, match="numbers 5, but its parts make 8"):
        Proprio(StateOptions(parts="q+opening", numbers=5), PANDA, Range(np.zeros(8), np.ones(8)))
