"""A recording as a LeRobot dataset, format v3.0.

Layout: meta/info.json, meta/stats.json, meta/tasks.parquet, meta/episodes/…, data/… and
videos/<camera>/…, one file of each: episodes lie one after the other in it and are found by index
and by time. Written without the `lerobot` library, which would bring a training stack along.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tandem.runtime.errors import ConfigError
from tandem.tools.export import statistics
from tandem.tools.export.episodes import Frames, episodes, on_grid
from tandem.tools.export.lerobot_info import FLAG, VIDEO, dataset_info, joint_names
from tandem.tools.export.statistics import Pixels
from tandem.tools.record import eyes
from tandem.tools.record.reader import Picture, Recording

_FPS = 30  # without cameras
_SAMPLED = 100  # pictures per episode that statistics are taken of
_FILE = "chunk-000/file-000"


def export(recording: Recording, out: Path, fps: int | None = None, robot: str = "") -> str:
    """Write the dataset; returns in words what it holds. Leaves nothing behind when it fails.

    Raises:
        ConfigError: nobody drove in this recording, or pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError("LeRobot datasets are parquet files: pip install pyarrow")
    rate = fps or _rate(recording)
    parts = [f for f in (on_grid(e, rate) for e in episodes(recording)) if f is not None]
    if not parts:
        raise ConfigError(f"nobody drove in {recording.path}: there is nothing to learn from")
    dataset = _Dataset(recording, parts, rate, robot or recording.facts["tandem"]["robot"])
    try:
        out.mkdir()
        dataset.write(out)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    frames, by_hand = sum(len(p.t_ns) for p in parts), sum(int(p.intervened.sum()) for p in parts)
    cameras = ", ".join(dataset.cameras) or "no cameras"
    return f"{len(parts)} episodes, {frames} frames at {rate} Hz, {by_hand} by hand, {cameras}"


def _rate(recording: Recording) -> int:
    """The fastest camera's."""
    cameras = yaml.safe_load(recording.config_yaml).get("cameras") or {}
    return round(max((camera["rate_hz"] for camera in cameras.values()), default=_FPS))


class _Dataset:
    """The parts of a dataset, each written by one method."""

    def __init__(self, recording: Recording, parts: list[Frames], fps: int, robot: str) -> None:
        self.cameras = recording.cameras
        self._recording, self._parts, self._fps, self._robot = recording, parts, fps, robot
        self._tasks = list(dict.fromkeys(part.task for part in parts))
        lengths = [len(part.t_ns) for part in parts]
        self._ends = np.cumsum(lengths).tolist()
        self._begins = [end - n for end, n in zip(self._ends, lengths, strict=True)]
        self._shapes: dict[str, tuple[int, int]] = {}

    def write(self, out: Path) -> None:
        pixels = {name: self._video(out, name) for name in self.cameras}
        columns = self._columns()
        self._data(out, columns)
        self._episodes(out, columns, pixels)
        _table(out / "meta/tasks.parquet", self._task_table())
        every = {name: statistics.of_numbers(v) for name, v in columns.items() if _counts(v)}
        every |= {
            VIDEO + name: statistics.of_all(seen).statistics() for name, seen in pixels.items()
        }
        _json(out / "meta/stats.json", every)
        _json(out / "meta/info.json", self._info())

    def _info(self) -> dict[str, Any]:
        facts = self._recording.facts["tandem"]
        joints = joint_names(facts, self._parts[0].state.shape[1] - 1)
        info = dataset_info(self._robot, self._fps, joints, self._shapes)
        return info | {
            "total_episodes": len(self._parts),
            "total_frames": self._ends[-1],
            "total_tasks": len(self._tasks),
            "splits": {"train": f"0:{len(self._parts)}"},
            "tandem": {k: v for k, v in facts.items() if k != "pid"},
        }

    # -- numbers -----------------------------------------------------------------------------------

    def _columns(self) -> dict[str, np.ndarray]:
        parts = self._parts
        lengths = [len(part.t_ns) for part in parts]
        frame = np.concatenate([np.arange(n) for n in lengths])
        return {
            "observation.state": np.concatenate([p.state for p in parts]).astype(np.float32),
            "action": np.concatenate([p.action for p in parts]).astype(np.float32),
            FLAG: np.concatenate([p.intervened for p in parts]),
            "mode": np.array([mode for p in parts for mode in p.mode]),
            "timestamp": (frame / self._fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.repeat(np.arange(len(parts)), lengths),
            "index": np.arange(sum(lengths)),
            "task_index": np.repeat([self._tasks.index(p.task) for p in parts], lengths),
        }

    def _data(self, out: Path, columns: dict[str, np.ndarray]) -> None:
        import pyarrow as pa

        made = {}
        for name, values in columns.items():
            if values.ndim == 2:
                flat = pa.array(values.ravel())
                made[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
            else:
                made[name] = pa.array(values.tolist() if values.dtype.kind == "U" else values)
        _table(out / f"data/{_FILE}.parquet", pa.table(made))

    def _episodes(
        self, out: Path, columns: dict[str, np.ndarray], pixels: dict[str, list[Pixels]]
    ) -> None:
        import pyarrow as pa

        rows = []
        for i, (begin, end) in enumerate(zip(self._begins, self._ends, strict=True)):
            row: dict[str, Any] = {
                "episode_index": i,
                "tasks": [self._parts[i].task],
                "length": end - begin,
                "data/chunk_index": 0,
                "data/file_index": 0,
                "dataset_from_index": begin,
                "dataset_to_index": end,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
            found = {
                n: statistics.of_numbers(v[begin:end]) for n, v in columns.items() if _counts(v)
            }
            for name in self.cameras:
                key = f"videos/{VIDEO}{name}"
                span = {"from_timestamp": begin / self._fps, "to_timestamp": end / self._fps}
                row |= {f"{key}/chunk_index": 0, f"{key}/file_index": 0}
                row |= {f"{key}/{word}": value for word, value in span.items()}
                found[VIDEO + name] = pixels[name][i].statistics()
            for feature, values in found.items():
                row |= {f"stats/{feature}/{word}": value for word, value in values.items()}
            rows.append(row)
        _table(out / f"meta/episodes/{_FILE}.parquet", pa.Table.from_pylist(rows))

    def _task_table(self) -> Any:
        """With the note that makes pandas read `task` as the index, as the loader expects."""
        import pyarrow as pa

        table = pa.table({"task_index": pa.array(range(len(self._tasks))), "task": self._tasks})
        described = [
            {"name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
            {"name": "task", "pandas_type": "unicode", "numpy_type": "object"},
        ]
        note = {
            "index_columns": ["task"],
            "column_indexes": [],
            "columns": [d | {"field_name": d["name"], "metadata": None} for d in described],
            "creator": {"library": "pyarrow", "version": pa.__version__},
            "pandas_version": "2.0.0",
        }
        return table.replace_schema_metadata({"pandas": json.dumps(note)})

    # -- pictures ----------------------------------------------------------------------------------

    def _video(self, out: Path, camera: str) -> list[Pixels]:
        """Encode one camera's frames of all episodes; gives the statistics of each."""
        path = out / f"videos/{VIDEO}{camera}/{_FILE}.mp4"
        path.parent.mkdir(parents=True)
        samples: list[Pixels] = []
        writer = None
        pictures = _Newest(self._recording.pictures(camera))
        for part in self._parts:
            every = max(len(part.t_ns) // _SAMPLED, 1)
            seen = Pixels()
            for i, t_ns in enumerate(part.t_ns.tolist()):
                image = pictures.at(t_ns)
                if writer is None:
                    writer = self._open(path, camera, image)
                writer.write(np.ascontiguousarray(image[..., ::-1]))
                if i % every == 0:
                    seen.add(image)
            samples.append(seen)
        assert writer is not None
        writer.release()
        return samples

    def _open(self, path: Path, camera: str, image: np.ndarray) -> cv2.VideoWriter:
        height, width = image.shape[:2]
        self._shapes[camera] = (height, width)
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(path), code, self._fps, (width, height))
        if not writer.isOpened():
            raise ConfigError(f"OpenCV cannot write {path}: it lacks the MPEG-4 encoder")
        return writer


class _Newest:
    """The newest picture at a time; times must not go back. One pass, one picture in memory."""

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self._coming: Iterator[Picture] = iter(pictures)
        self._next = next(self._coming, None)
        self._encoded = self._next.encoded if self._next else b""
        self._image: np.ndarray | None = None

    def at(self, t_ns: int) -> np.ndarray:
        """[H, W, 3] RGB; before the first picture, that one."""
        while self._next is not None and self._next.t_capture_ns <= t_ns:
            self._encoded, self._image = self._next.encoded, None
            self._next = next(self._coming, None)
        if self._image is None:
            self._image = eyes.decode(self._encoded)
        return self._image


def _counts(values: np.ndarray) -> bool:
    return values.dtype.kind != "U"


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def _table(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
