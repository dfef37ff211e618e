"""From a trained head to the file that ships: an ONNX graph with its weights in half precision.

The robot then needs neither torch nor onnx. Weights are widened again when the session is made, so
the arithmetic is float32; the head is rounded before it is compared, hence both sides agree.
"""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

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
    """Write `module` called with `example` (batch of one, by name) to `path`; returns its bytes."""
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
    path.write_bytes(model.SerializeToString())
    return path.stat().st_size


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
