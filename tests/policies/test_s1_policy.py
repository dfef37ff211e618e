"""The shipped form of System 1: the same numbers without torch, and clear words when it cannot
run.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tandem.policies.s1.chunk import ChunkHead
from tandem.policies.s1.flow import FlowHead, GuidedFlow
from tandem.policies.s1.flow_policy import FlowPolicy
from tandem.policies.s1.inputs import Memory, state_vector
from tandem.policies.s1.network import HeadConfig
from tandem.policies.s1.onnx import Session
from tandem.policies.s1.policy import ChunkPolicy
from tandem.runtime import arm_file, config
from tandem.runtime.app import build
from tandem.runtime.clock import NS_PER_MS
from tandem.runtime.errors import WeightsError
from tandem.runtime.interfaces import Observation
from tandem.runtime.messages import Conditioning, RobotState
from tandem.tools.train import ik
from tandem.tools.train.s1 import tool_layer
from tandem.tools.train.shipping import ship

HOME = ik.load_arm().home_q
CONFIG = HeadConfig(latent=8, width=64, blocks=2)
NOTHING = np.empty((0, 8))
IDENTITY = "0123456789abcdef"


def lively(head: Any) -> Any:
    """Weights that are not zero anywhere: an untrained exit would agree with anything."""
    torch.manual_seed(3)
    for parameter in head.trunk.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    head.units.spread.uniform_(0.02, 0.1)
    head.inputs.mean.uniform_(-0.1, 0.1)
    head.inputs.scale.uniform_(0.5, 1.5)
    return head


@pytest.fixture(scope="module")
def chunk_head() -> ChunkHead:
    return lively(ChunkHead(CONFIG, tool_layer()))


@pytest.fixture(scope="module")
def flow_head() -> FlowHead:
    return lively(FlowHead(CONFIG, tool_layer()))


@pytest.fixture(scope="module")
def weights(
    tmp_path_factory: pytest.TempPathFactory, chunk_head: ChunkHead, flow_head: FlowHead
) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    ship(chunk_head, folder / "mlp", IDENTITY, (2, 4), {})
    ship(flow_head, folder / "flow", IDENTITY, (2, 4), {})
    return folder


def state(t_ms: float = 0.0, seed: int = 0) -> RobotState:
    rng = np.random.default_rng(seed)
    zeros = np.zeros(7)
    return RobotState(
        t_ns=round(t_ms * NS_PER_MS),
        q=zeros,
        dq=zeros,
        tau=zeros,
        q_cmd=HOME + rng.normal(0, 0.2, 7),
        dq_cmd=rng.normal(0, 0.2, 7),
        ddq_cmd=zeros,
        gripper_cmd=1.0,
        width_m=0.08,
        mode="policy",
        epoch=1,
    )


def conditioning(t_ms: float = 0.0, seed: int = 0, **changes: Any) -> Conditioning:
    latent = np.random.default_rng(100 + seed).normal(0, 1, (2, 4)).astype(np.float16)
    fields: dict[str, Any] = {
        "latent": latent,
        "latent_id": IDENTITY,
        "instruction_id": 1,
        "t_capture_ns": round(t_ms * NS_PER_MS),
        "frame_seq": 0,
        "version": [1, 1],
        "age_frames": [0, 0],
        "gate": [0.0, 0.0],
        "refreshed": [False, False],
    }
    return Conditioning(**(fields | changes))


def random_inputs(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = {"state": CONFIG.state, "latent": 8, "before": 8, "times": 2}
    return {n: rng.normal(0, 1, (1, size)).astype(np.float32) for n, size in sizes.items()}


def test_onnx_gives_what_torch_gives(weights: Path, chunk_head: ChunkHead) -> None:
    session = Session(weights / "mlp.onnx")
    for seed in range(20):
        inputs = random_inputs(seed)
        with torch.no_grad():
            wanted = chunk_head(*(torch.from_numpy(v) for v in inputs.values())).numpy()
        np.testing.assert_allclose(session.run(**inputs)["actions"], wanted, atol=1e-5)


def test_the_weights_are_safetensors_by_the_names_of_the_module(
    weights: Path, chunk_head: ChunkHead
) -> None:
    stored = load_file(weights / "mlp.safetensors")
    own = {name: t for name, t in chunk_head.state_dict().items() if t.numel() >= 1024}
    assert {name.removesuffix(".half") for name in stored} == set(own)
    for name, tensor in stored.items():
        assert np.array_equal(tensor, own[name.removesuffix(".half")].numpy())


def test_onnx_flow_gives_what_torch_gives(weights: Path, flow_head: FlowHead) -> None:
    session = Session(weights / "flow.onnx")
    rng = np.random.default_rng(0)
    shapes = {"x": (1, 16, 8), "tau": (1, 1), "frozen": (1, 16), "target": (1, 16, 8)}
    for seed in range(5):
        given = {n: rng.random(s).astype(np.float32) for n, s in shapes.items()}
        given |= {"weights": rng.random((1, 16)).astype(np.float32)} | random_inputs(seed)
        with torch.no_grad():
            wanted = GuidedFlow(flow_head)(*(torch.from_numpy(v) for v in given.values()))
        out = session.run(**given)
        for name, tensor in zip(("velocity", "residual", "pulled"), wanted, strict=True):
            np.testing.assert_allclose(out[name], tensor.numpy(), atol=1e-5 * tensor.abs().max())


def test_the_tool_layer_is_the_arms_kinematics() -> None:
    arm = ik.load_arm()
    q = arm.home_q + np.random.default_rng(0).normal(0, 0.5, (50, 7))
    ours = tool_layer()(torch.tensor(q, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(ours, ik.tool_pose(arm, q)[0], atol=2e-6)


def test_one_chunk_from_messages(weights: Path) -> None:
    policy = ChunkPolicy(weights / "mlp")
    assert policy.provider == "CPUExecutionProvider"
    assert policy.spec.latent_id == IDENTITY
    assert policy.spec.dt_ns == 50 * NS_PER_MS
    assert policy.spec.action.names[-1] == "gripper"
    now = state(t_ms=150)
    chunk = policy.step(Observation(now.t_ns, state=now), conditioning(t_ms=50), NOTHING)
    assert chunk.shape == (16, 8)
    assert chunk.dtype == np.float64
    assert np.isfinite(chunk).all()
    assert ((chunk[:, 7] >= 0) & (chunk[:, 7] <= 1)).all()


def test_the_earlier_latent_matters_and_reset_forgets_it(weights: Path) -> None:
    policy = ChunkPolicy(weights / "mlp")
    now = Observation(0, state=state(t_ms=600))
    fresh = policy.step(now, conditioning(500, seed=1), NOTHING)
    policy.reset("again")
    policy.step(now, conditioning(100, seed=2), NOTHING)
    moved = policy.step(now, conditioning(500, seed=1), NOTHING)
    assert np.abs(moved - fresh).max() > 1e-4
    policy.reset("again")
    np.testing.assert_array_equal(policy.step(now, conditioning(500, seed=1), NOTHING), fresh)


def test_memory_pairs_the_newest_with_one_that_is_old_enough() -> None:
    memory = Memory(gap_s=0.25, age_max_s=0.6)
    for t_ms in (0, 100, 200, 300, 400):
        kept = memory.take(conditioning(t_ms, seed=t_ms), (t_ms + 80) * NS_PER_MS)
    assert kept.age_s == pytest.approx(0.08)
    assert kept.gap_s == pytest.approx(0.3)
    wanted = conditioning(100, seed=100).latent.astype(np.float32).reshape(-1)
    np.testing.assert_array_equal(kept.before, wanted)
    again = memory.take(conditioning(400, seed=400), 10_000 * NS_PER_MS)
    assert again.age_s == 0.6
    memory.clear()
    alone = memory.take(conditioning(500, seed=1), 500 * NS_PER_MS)
    assert alone.gap_s == 0.0
    np.testing.assert_array_equal(alone.before, alone.latent)


def test_state_vector_is_the_command_not_the_measurement() -> None:
    vector = state_vector(np.arange(7.0), 10 + np.arange(7.0), np.array(1.0), np.array(0.04))
    np.testing.assert_allclose(vector, [*range(7), *range(10, 17), 1.0, 0.04], rtol=1e-6)
    assert vector.dtype == np.float32


def test_flow_is_repeatable_and_goes_on_where_the_last_chunk_was(weights: Path) -> None:
    policy = FlowPolicy(weights / "flow", guidance=5.0)
    now, later = state(t_ms=100), state(t_ms=200)
    seen = conditioning(50)
    first = policy.step(Observation(0, state=now), seen, NOTHING)
    free = policy.step(Observation(0, state=later), seen, NOTHING)
    policy.reset("again")
    np.testing.assert_array_equal(policy.step(Observation(0, state=now), seen, NOTHING), first)
    guided = policy.step(Observation(0, state=later), seen, first[2:4])
    off_free, off_guided = (np.abs(c[:2, :7] - first[2:4, :7]).mean() for c in (free, guided))
    assert off_guided < off_free


def test_another_s2_is_refused(weights: Path) -> None:
    policy, now = ChunkPolicy(weights / "mlp"), Observation(0, state=state())
    with pytest.raises(WeightsError, match="trained on latents"):
        policy.step(now, conditioning(latent_id="fedcba9876543210"), NOTHING)
    with pytest.raises(WeightsError, match=r"takes latents \(2, 4\)"):
        policy.step(now, conditioning(latent=np.zeros((1, 8), np.float16)), NOTHING)


def test_missing_damaged_and_mixed_up_weights(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there: none"):
        ChunkPolicy(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="wanted chunk_mlp"):
        ChunkPolicy(weights / "flow")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(WeightsError, match="no description"):
        ChunkPolicy(tmp_path / "bad")
    shutil.copy(weights / "mlp.json", tmp_path / "cut.json")
    shutil.copy(weights / "mlp.onnx", tmp_path / "cut.onnx")
    stored = (weights / "mlp.safetensors").read_bytes()
    for spoiled, complaint in ((stored[:5000], "cannot be loaded"), (stored, None)):
        (tmp_path / "mlp.safetensors").write_bytes(spoiled)
        (tmp_path / "cut.safetensors").write_bytes(spoiled)
        if complaint:
            with pytest.raises(WeightsError, match=complaint):
                ChunkPolicy(tmp_path / "cut")
    ChunkPolicy(tmp_path / "cut")
    other = bytearray(stored)
    other[-1] ^= 1
    (tmp_path / "cut.safetensors").write_bytes(other)
    with pytest.raises(WeightsError, match="does not belong to"):
        ChunkPolicy(tmp_path / "cut")
    about = json.loads((weights / "mlp.json").read_text())
    (tmp_path / "new.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(WeightsError, match="format 99"):
        ChunkPolicy(tmp_path / "new")


def test_cuda_is_not_claimed_where_it_was_not_granted(weights: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert ChunkPolicy(weights / "mlp", device="auto").provider == "CPUExecutionProvider"
    with pytest.raises(WeightsError, match="CUDA was asked for"):
        ChunkPolicy(weights / "mlp", device="cuda")


def test_running_it_loads_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, tandem.policies.s1.policy, tandem.policies.s1.flow_policy;"
        "print([m for m in ('torch', 'onnx') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.strip() == "[]"


def test_a_flow_policy_by_its_name_in_a_configuration(weights: Path) -> None:
    spec = arm_file.load(config.PACKAGED / "limits" / "panda.yaml").spec
    options = {"mode": "identity"}
    given = config.S1(policy="chunk_flow", weights=str(weights / "flow"), options=options)
    policy = build.s1_policy(given, spec)
    assert isinstance(policy, FlowPolicy)
    assert policy.sampler.mode == "identity"
    assert policy.spec.action.names == (*spec.joint_names, "gripper")
