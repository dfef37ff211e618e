"""From a trained head to the files that ship: an ONNX graph, and its weights as safetensors.

The graph names its weights by their places in the safetensors file (ONNX calls them external data),
so the robot needs neither torch nor onnx, and whoever wants the weights alone needs neither. They
are stored in half precision and widened when the session is made, so the arithmetic is float32; the
head is rounded before it is compared, hence both sides agree.
"""

import hashlib
import io
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tandem.policies.s1.onnx import WEIGHTS_SHA256
from torch import Tensor, nn

if TYPE_CHECKING:
    import onnx

_MANY = 1024  # tensors with fewer numbers keep full precision


def round_weights(module: nn.Module) -> None:
    """Round in place what `export` will store in half precision."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.numel() >= _MANY:
                tensor.copy_(tensor.half().float())


def export(
    module: nn.Module, example: dict[str, Tensor], outputs: Sequence[str], path: Path
) -> int:
    """Write `module` called with `example` (batch of one, by name) to `path`.onnx and
    `path`.safetensors; returns their bytes together."""
    import onnx

    module.eval()
    round_weights(module)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            module,
            tuple(example.values()),
            input_names=list(example),
            output_names=list(outputs),
            dynamo=True,
            verbose=False,
        )
        program.save(buffer)
    model = onnx.load_from_string(buffer.getvalue())
    _halve(model.graph)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    return part(model, path)


def part(model: "onnx.ModelProto", path: Path) -> int:
    """Write the graph to `path`.onnx, large tensors to `path`.safetensors; returns the bytes."""
    from onnx import TensorProto, external_data_helper, helper, numpy_helper
    from safetensors.numpy import save

    large = [t for t in model.graph.initializer if math.prod(t.dims) >= _MANY]
    stored = save({t.name: numpy_helper.to_array(t) for t in large})
    places, start = _places(stored)
    _strip(model.graph)
    for tensor in large:
        begin, end = places[tensor.name]
        tensor.data_location = TensorProto.EXTERNAL
        external_data_helper.set_external_data(
            tensor, path.with_suffix(".safetensors").name, start + begin, end - begin
        )
        tensor.ClearField("raw_data")
    helper.set_model_props(model, {WEIGHTS_SHA256: hashlib.sha256(stored).hexdigest()})
    graph = model.SerializeToString()
    path.with_suffix(".safetensors").write_bytes(stored)
    path.with_suffix(".onnx").write_bytes(graph)
    return len(graph) + len(stored)


def _strip(graph: "onnx.GraphProto") -> None:
    """The exporter leaves stack traces, with the paths of whoever trained, in every node."""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")


def _places(stored: bytes) -> tuple[dict[str, tuple[int, int]], int]:
    """Begin and end of every tensor, counted from the byte that is given beside: safetensors is
    eight bytes of length, so much JSON, then the tensors."""
    length = int.from_bytes(stored[:8], "little")
    header = json.loads(stored[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: tuple(about["data_offsets"]) for name, about in header.items()}, 8 + length


def _halve(graph: object) -> None:
    """Store large float32 initialisers as float16 followed by a cast."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:  # type: ignore[attr-defined]
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= _MANY:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + ".half"))
            casts.append(helper.make_node("Cast", [name + ".half"], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)  # type: ignore[attr-defined]
    del graph.node[:]  # type: ignore[attr-defined]
    graph.node.extend(casts + nodes)  # type: ignore[attr-defined]
