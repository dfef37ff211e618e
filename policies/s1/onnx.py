"""One ONNX Runtime session: one thread, and an honest word on where it really runs."""

import hashlib
import os
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from tandem.runtime.errors import WeightsError

Array = np.ndarray
Device = Literal["cpu", "cuda", "auto"]
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_ERRORS_ONLY = 3
WEIGHTS_SHA256 = "weights_sha256"  # in the graph: of the safetensors file that belongs to it


class Session:
    """Named float32 arrays in, named arrays out. `provider` is what the session was granted."""

    def __init__(self, path: Path, device: Device = "cpu") -> None:
        """
        `device`: "cuda" insists, "auto" takes CUDA where it works, "cpu" is the fastest for
        networks as small as the shipped one.

        Raises:
            WeightsError: no such file, not a model, weights of another one, or "cuda" was asked
                for and not granted.
        """
        self.path = path
        options = onnxruntime.SessionOptions()
        # One thread: S1 shares its machine with an executor, and a pool would spin beside it.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERRORS_ONLY
        wanted = [_CPU] if device == "cpu" or not _cuda_possible() else [_CUDA, _CPU]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
        except Exception as error:  # ONNX Runtime's errors share no base class but this one
            raise WeightsError(
                f"{path} cannot be loaded ({error}); fetch or train it again"
            ) from error
        self._refuse_other_weights()
        # What is available says nothing about what works here; only the session knows.
        self.provider = str(self._session.get_providers()[0])
        if device == "cuda" and self.provider != _CUDA:
            raise WeightsError(
                f"{path.name}: CUDA was asked for, ONNX Runtime grants {self.provider}; install "
                "CUDA and cuDNN, or set the device to auto or cpu"
            )
        self.inputs = {i.name: tuple(i.shape) for i in self._session.get_inputs()}
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def _refuse_other_weights(self) -> None:
        """Those of another training would fit, and drive the arm somewhere else."""
        wanted = self._session.get_modelmeta().custom_metadata_map.get(WEIGHTS_SHA256)
        path = self.path.with_suffix(".safetensors")
        if wanted and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            raise WeightsError(f"{path} does not belong to {self.path.name}; fetch or train both")

    def run(self, **arrays: Array) -> dict[str, Array]:
        values = self._session.run(None, arrays)
        return dict(zip(self.outputs, values, strict=True))


def _cuda_possible() -> bool:
    """Asking for CUDA where there is no device prints red errors; look first."""
    available = _CUDA in onnxruntime.get_available_providers()
    return available and (Path("/proc/driver/nvidia").exists() or "CUDA_PATH" in os.environ)
