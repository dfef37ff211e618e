"""Is a recorded step right and fast on this machine? One command, random weights, no download:

    python -m tandem.policies.trunk.selfcheck --shape openvla

Two cameras, 94 % of their patches static, a window of 20 frames. Prints one JSON object: what a
step takes (vision, trunk, both; p50 and p99), against the same step unrecorded, against eager
transformers, against the whole picture computed anew, and against the floor: reading the weights
once from memory. Then how long a small S1 waits beside it, with and without priority.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import torch
from tandem.policies.trunk import masks
from tandem.policies.trunk.config import TrunkConfig
from tandem.policies.trunk.graphs import GraphedTrunk
from tandem.policies.trunk.kv import KvStore
from tandem.policies.trunk.measure import Machine, Times
from tandem.policies.trunk.shapes import BACKBONES, Backbone
from tandem.policies.trunk.trunk import Trunk
from tandem.policies.trunk.vit import Vit
from torch import Tensor

CAMERAS, STATIC_SHARE, FRAMES, TEXT = 2, 0.94, 20, 35
# A stand-in for S1 where only its size matters: a chunk of 16 actions and its observation.
S1 = TrunkConfig(8, 512, 8, 8, 64, 2048, 100)
S1_ROWS = 32


class Scene:
    """Rows of the sequence: static, then 20 frames of what moves, then text.

    New are the last frame and the text.
    """

    def __init__(self, machine: Machine, backbone: Backbone, trunk: Trunk) -> None:
        patches = CAMERAS * backbone.towers[0].patches
        static = round(STATIC_SHARE * patches)
        moving = patches - static
        self.rows = static + FRAMES * moving + TEXT
        self.new = moving + TEXT
        self.without_cache = patches + TEXT
        self.trunk = trunk
        self.x = torch.randn(1, self.rows, trunk.config.width, dtype=machine.dtype)
        self.x = self.x.to(machine.device)
        self.at = torch.arange(self.rows, device=machine.device)
        self.seen = masks.causal(self.rows).to(machine.device)

    def step(self, model: Trunk, kv: KvStore, first: int, last: int) -> Tensor:
        at = self.at[first:last]
        return model.step(self.x[:, first:last], at, at, self.seen[first:last, : kv.rows], kv)

    def cached(self, model: Trunk) -> Callable[[], Tensor]:
        """The step of the new rows behind all others."""
        kv, past = model.store(self.rows), self.rows - self.new
        self.step(self.trunk, kv, 0, past)
        return partial(self.step, model, kv, past, self.rows)


def check(shape: str, machine: Machine, repeats: int, transformers: bool) -> dict:
    backbone = BACKBONES[shape]
    trunk = machine.random(partial(Trunk, backbone.trunk))
    scene = Scene(machine, backbone, trunk)
    measure = partial(Times.of, machine, repeats=repeats)
    recorded, eager = scene.cached(GraphedTrunk(trunk)), scene.cached(trunk)
    ours, theirs = recorded().float(), eager().float()
    look = _looking(machine, backbone)
    anew = trunk.store(scene.without_cache)
    none = machine.record(lambda: scene.step(trunk, anew, 0, scene.without_cache))
    weights = [p for p in trunk.blocks.parameters() if p.dim() == 2]
    result = {
        "machine": _name(machine),
        "shape": shape,
        "rows": {"new": scene.new, "seen": scene.rows, "without_cache": scene.without_cache},
        "error_recorded_against_eager": float((ours - theirs).abs().max() / theirs.abs().max()),
        "vision": vars(measure(look)),
        "trunk_recorded": vars(measure(recorded)),
        "step_recorded": vars(measure(lambda: (look(), recorded()))),
        "trunk_eager": vars(measure(eager)),
        "trunk_without_cache_recorded": vars(measure(none)),
        "floor_reading_weights_once": vars(measure(_reading(machine, weights))),
        "weights_gb": sum(w.nbytes for w in weights) / 1e9,
        "macs_against_none": trunk.config.layer_macs(scene.new, scene.rows)
        / trunk.config.layer_macs(scene.without_cache, scene.without_cache),
    }
    if transformers:
        result["trunk_eager_transformers"] = vars(measure(_library(machine, scene)))
    if machine.device.type == "cuda":
        result["s1_beside_s2"] = _beside(machine, lambda: (look(), recorded()), repeats)
    return result | {"ratios": _ratios(result)}


def _looking(machine: Machine, backbone: Backbone) -> Callable[[], object]:
    """Every camera through every tower."""
    vits = [machine.random(partial(Vit, config)) for config in backbone.towers]
    shapes = [(CAMERAS, 3, vit.config.size, vit.config.size) for vit in vits]
    pixels = [torch.randn(s, dtype=machine.dtype).to(machine.device) for s in shapes]
    return machine.record(lambda: [vit(p) for vit, p in zip(vits, pixels, strict=True)])


def _ratios(result: dict) -> dict[str, float]:
    """p50 of the recorded trunk step over p50 of each of the others."""
    ours = result["trunk_recorded"]["p50_ms"]
    others = {key: result[key]["p50_ms"] for key in result if key.startswith(("trunk_", "floor"))}
    return {f"to_{key}": round(ours / p50, 4) for key, p50 in others.items() if p50}


def _name(machine: Machine) -> str:
    if machine.device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def _reading(machine: Machine, weights: list[Tensor]) -> Callable[[], object]:
    """Every weight is read once and next to nothing else is done: one row times each matrix."""
    rows = {w.shape[1]: torch.ones(1, w.shape[1], dtype=w.dtype, device=w.device) for w in weights}
    return machine.record(lambda: [rows[w.shape[1]] @ w.T for w in weights])


def _library(machine: Machine, scene: Scene) -> Callable[[], object]:
    """The new rows behind a cache, as transformers does it unrecorded: Llama of the same sizes."""
    from transformers import DynamicCache, LlamaConfig, LlamaModel

    ours = scene.trunk.config
    config = LlamaConfig(
        hidden_size=ours.width,
        intermediate_size=ours.mlp,
        num_hidden_layers=ours.depth,
        num_attention_heads=ours.heads,
        num_key_value_heads=ours.kv_heads,
        head_dim=ours.head_dim,
        vocab_size=8,
    )
    model = machine.random(partial(LlamaModel, config))
    cache, past = DynamicCache(), scene.rows - scene.new
    model(inputs_embeds=scene.x[:, :past], past_key_values=cache)

    def run() -> None:
        model(inputs_embeds=scene.x[:, past:], past_key_values=cache)
        cache.crop(-scene.new)

    return run


def _beside(machine: Machine, s2: Callable[[], object], repeats: int) -> dict[str, dict]:
    """How long a small S1 takes while S2 runs on another stream of the same GPU."""
    small = machine.random(partial(Trunk, S1))
    x = torch.randn(1, S1_ROWS, S1.width, dtype=machine.dtype, device=machine.device)
    at = torch.arange(S1_ROWS, device=machine.device)
    seen = masks.causal(S1_ROWS).to(machine.device)
    background, stream = torch.cuda.Stream(priority=0), torch.cuda.Stream(priority=-1)
    times = partial(_s1_times, stream=stream, background=background, repeats=repeats)
    equal, first = (machine.record(lambda: small(x, at, seen), p) for p in (0, -1))
    return {
        "alone": vars(times(first, None)),
        "equal": vars(times(equal, s2)),
        "first": vars(times(first, s2)),
    }


def _s1_times(
    s1: Callable[[], object],
    s2: Callable[[], object] | None,
    stream: torch.cuda.Stream,
    background: torch.cuda.Stream,
    repeats: int,
) -> Times:
    samples = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        if s2 is not None:
            with torch.cuda.stream(background):
                s2()
            time.sleep(1e-3)  # well inside S2's step
        start = time.perf_counter()
        with torch.cuda.stream(stream):
            s1()
        stream.synchronize()
        samples.append((time.perf_counter() - start) * 1e3)
    return Times.from_samples(samples)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=BACKBONES, default="openvla")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--no-transformers", action="store_true")
    options = parser.parse_args()
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    machine = Machine(device, dtype)
    result = check(options.shape, machine, options.repeats, not options.no_transformers)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
