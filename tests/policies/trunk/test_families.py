"""Every family that we load computes what its own library computes, whole and step by step."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tandem.policies.trunk import masks
from tandem.policies.trunk.convert import convert
from tandem.policies.trunk.load import load_trunk
from tandem.policies.trunk.trunk import Trunk
from tandem.runtime.errors import WeightsError
from torch import Tensor, nn

from tests.policies.trunk import zoo

N = 14
TOKENS = torch.randint(zoo.VOCAB - 4, (N,), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=list(zoo.CASES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(the library's language model, our trunk read from what was saved)."""
    name = request.param
    folder = zoo.save(name, tmp_path_factory.mktemp("checkpoint"))
    return zoo.CASES[name].text(zoo.library(name)), load_trunk(folder)


def call(model: nn.Module, x: Tensor, positions: Tensor, seen: Tensor, use_cache: bool) -> Any:
    """The library, told positions and mask outright.

    Without a mask it takes jumps in the positions for several packed sequences, and PaliGemma's
    language model is bidirectional.
    """
    bias = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    places = positions[None] if positions.dim() == 1 else positions[:, None]
    return model(
        inputs_embeds=x, position_ids=places, attention_mask=bias[None, None], use_cache=use_cache
    )


def theirs(model: nn.Module, x: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
    return call(model, x, positions, seen, use_cache=False).last_hidden_state


def spread(trunk: Trunk) -> Tensor:
    """Positions with jumps and out of order; three different ones under M-RoPE."""
    places = torch.arange(N) * 3 % 17 + 2
    if trunk.config.mrope:
        return torch.stack((places, places % 5, places % 7))
    return places


@torch.inference_mode()
def test_embedding_and_logits(family) -> None:
    model, trunk = family
    x = trunk.embed(TOKENS)[None]
    zoo.assert_same(x, model.embed_tokens(TOKENS)[None])
    assert trunk.logits(x).shape == (1, N, zoo.VOCAB)


@torch.inference_mode()
@pytest.mark.parametrize("prefix", [0, 9])
def test_whole(family, prefix: int) -> None:
    """Causal, and with a bidirectional prefix as PaliGemma has it."""
    model, trunk = family
    blocks = masks.block_ids([(prefix, False), (N - prefix, True)])
    seen = masks.block_seen(blocks, blocks)
    x, positions = trunk.embed(TOKENS)[None], spread(trunk)
    zoo.assert_same(trunk(x, positions, seen), theirs(model, x, positions, seen))


@torch.inference_mode()
def test_prefill_and_cached_steps(family) -> None:
    """The library's cache grows in order; ours takes rows anywhere in a larger store."""
    model, trunk = family
    x, positions = trunk.embed(TOKENS)[None], spread(trunk)
    expected = theirs(model, x, positions, masks.causal(N))
    kv = trunk.store(N + 5)
    rows = torch.randperm(N + 5, generator=torch.Generator().manual_seed(2))[:N]
    seen = torch.zeros(N, kv.rows, dtype=torch.bool)
    seen[:, rows] = masks.causal(N)
    for part in (slice(0, 8), slice(8, 9), slice(9, N)):
        hidden = trunk.step(x[:, part], rows[part], positions[..., part], seen[part], kv)
        zoo.assert_same(hidden, expected[:, part])


@torch.inference_mode()
def test_the_store_holds_what_the_library_stores(family) -> None:
    """Keys and values of every layer, rotation and all."""
    model, trunk = family
    x, positions = trunk.embed(TOKENS)[None], torch.arange(N)
    kv = trunk.store(N)
    trunk.step(x, torch.arange(N), positions, masks.causal(N), kv)
    cache = call(model, x, positions, masks.causal(N), use_cache=True).past_key_values
    for layer, keys in enumerate(kv.keys):
        zoo.assert_same(keys, cache.layers[layer].keys)
        zoo.assert_same(kv.values[layer], cache.layers[layer].values)


def logits_case(name: str, tmp_path: Path) -> tuple[Tensor, Tensor]:
    """Ours and the library's, called as its users call it."""
    trunk = load_trunk(zoo.save(name, tmp_path / "c"))
    model = zoo.library(name)
    first = 1 if name == "paligemma" else 0
    hidden = trunk(trunk.embed(TOKENS)[None], torch.arange(N) + first, masks.causal(N))
    return trunk.logits(hidden), model(input_ids=TOKENS[None], use_cache=False).logits


@torch.inference_mode()
@pytest.mark.parametrize("name", ["llama", "smolvlm2", "gemma", "qwen2.5-vl", "qwen3"])
def test_logits_of_the_library_called_plainly(name: str, tmp_path: Path) -> None:
    zoo.assert_same(*logits_case(name, tmp_path))


@torch.inference_mode()
def test_paligemma_prefix_is_bidirectional_and_counts_from_one(tmp_path: Path) -> None:
    """The library's defaults: rows of token type 0 see each other, positions start at 1."""
    trunk = load_trunk(zoo.save("paligemma", tmp_path / "c"))
    types = (torch.arange(N) >= 10).long()[None]
    theirs = zoo.library("paligemma")(
        input_ids=TOKENS[None], token_type_ids=types, attention_mask=torch.ones_like(types)
    )
    blocks = masks.block_ids([(10, False), (4, True)])
    seen = masks.block_seen(blocks, blocks)
    hidden = trunk(trunk.embed(TOKENS)[None], torch.arange(N) + 1, seen)
    zoo.assert_same(trunk.logits(hidden), theirs.logits)


@torch.inference_mode()
def test_bfloat16_stays_close(tmp_path: Path) -> None:
    folder = zoo.save("gemma", tmp_path / "c")
    exact, rounded = load_trunk(folder), load_trunk(folder, dtype=torch.bfloat16)
    hidden = [t(t.embed(TOKENS)[None], torch.arange(N), masks.causal(N)) for t in (exact, rounded)]
    assert hidden[1].dtype == torch.bfloat16
    zoo.assert_same(hidden[1].float(), hidden[0], 0.1)


@torch.inference_mode()
def test_checkpoints_of_mixed_precision_become_one(tmp_path: Path) -> None:
    """As openpi saves π0: matrices in bfloat16, norms and embedding in float32."""
    folder = zoo.save("pi0 openpi", tmp_path / "c")
    mixed = {
        name: tensor.bfloat16() if "proj" in name else tensor
        for name, tensor in zoo.read(folder).items()
    }
    zoo.write(mixed, {"type": "pi0"}, folder)
    trunk = load_trunk(folder)
    assert {parameter.dtype for parameter in trunk.parameters()} == {torch.bfloat16}
    kv = trunk.store(N)
    hidden = trunk.step(trunk.embed(TOKENS)[None], *[torch.arange(N)] * 2, masks.causal(N), kv)
    assert hidden.isfinite().all()


@torch.inference_mode()
def test_depth_cuts(tmp_path: Path) -> None:
    """A policy's own configuration says how many layers of the language model it keeps."""
    folder = zoo.save("groot", tmp_path / "c")
    kept = {"model_type": "gr00t_n1_5", "backbone_cfg": {"select_layer": 2}}
    (folder / "config.json").write_text(json.dumps(kept))
    trunk = load_trunk(folder)
    model = zoo.library("groot").model
    x = trunk.embed(TOKENS)[None]
    between = model(inputs_embeds=x, output_hidden_states=True).hidden_states[2]
    zoo.assert_same(trunk(x, torch.arange(N), masks.causal(N)), model.norm(between))


def test_configurations_as_older_libraries_wrote_them(tmp_path: Path) -> None:
    """Qwen2.5-VL was published flat, with the base apart from the sections."""
    folder = zoo.save("qwen2.5-vl", tmp_path / "c")
    now = load_trunk(folder).config
    assert now.mrope == (1, 1, 2)
    path = folder / "config.json"
    written = json.loads(path.read_text())
    text = {**written["text_config"], "model_type": "qwen2_5_vl", "rope_theta": 1e6}
    del text["rope_parameters"]
    text["rope_scaling"] = {"type": "mrope", "mrope_section": [1, 1, 2]}
    path.write_text(json.dumps({**text, "vision_config": {}}))
    assert load_trunk(folder).config == now


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return zoo.save("openvla", tmp_path / "c")


def test_a_missing_tensor_is_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["language_model.model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"no tensor .*layers\.1\.mlp\.up_proj\.weight"):
        load_trunk(folder)


def test_a_wrong_shape_is_named(folder: Path) -> None:
    edit(folder, text_config={**zoo.OPENVLA_TEXT, "intermediate_size": 50})
    with pytest.raises(WeightsError, match=r"gate_proj.*is \[96, 32\] .* makes it \[100, 32\]"):
        load_trunk(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mamba"}, "architecture 'mamba'.*llama"),
        ({"model_type": "gemma2"}, "soft-capped attention"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "llama3"),
    ],
)
def test_what_the_trunk_does_not_compute_is_refused(folder: Path, change: dict, said: str) -> None:
    edit(folder, text_config={**zoo.OPENVLA_TEXT, **change})
    with pytest.raises(WeightsError, match=said):
        load_trunk(folder)


def test_unknown_names_are_refused(folder: Path) -> None:
    zoo.write({"tower.weight": torch.zeros(1)}, {}, folder)
    with pytest.raises(WeightsError, match="no language model under a known name"):
        load_trunk(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = zoo.save("llama", tmp_path / "c")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(WeightsError, match=shard.name):
        load_trunk(folder)
    (folder / "model.safetensors.index.json").write_text("{")
    with pytest.raises(WeightsError, match=r"index\.json is no JSON"):
        load_trunk(folder)


def test_damage_and_absence_are_told_apart(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(WeightsError, match="damaged"):
        load_trunk(folder)
    with pytest.raises(WeightsError, match="does not exist"):
        load_trunk(folder / "elsewhere")


@torch.inference_mode()
def test_pickles_are_refused_and_converted(folder: Path) -> None:
    """Prismatic's form: nested dictionaries in one .pt."""
    expected = load_trunk(folder).blocks[2].qkv.weight.clone()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    renamed = {n.replace("language_model.", "llm."): t for n, t in tensors.items()}
    torch.save({"model": {"llm_backbone": renamed}}, folder / "model.pt")
    with pytest.raises(WeightsError, match=r"python -m tandem\.policies\.trunk\.convert"):
        load_trunk(folder)
    assert convert(folder) == [folder / "model.safetensors"]
    assert load_trunk(folder).blocks[2].qkv.weight.equal(expected)


class _Trap:
    def __reduce__(self) -> tuple:
        return (pytest.fail, ("a pickle ran code",))


def test_a_pickle_with_code_is_not_opened(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1), "trap": _Trap()}, tmp_path / "model.bin")
    with pytest.raises(WeightsError, match="more than tensors"):
        convert(tmp_path)
