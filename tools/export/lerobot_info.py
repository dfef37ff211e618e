"""What a LeRobot dataset says about itself: its features, by name, type and shape."""

import json
from collections.abc import Mapping
from typing import Any

VIDEO = "observation.images."
FLAG = "complementary_info.is_intervention"  # LeRobot's own name for what a person did
_VERSION = "v3.0"
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_COUNTED = ("frame_index", "episode_index", "index", "task_index")


def dataset_info(
    robot: str, fps: int, joints: list[str], cameras: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """meta/info.json but for the totals; `cameras` are (height, width) by name."""
    return {
        "codebase_version": _VERSION,
        "robot_type": robot,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "data_path": f"data/{_FILE}.parquet",
        "video_path": f"videos/{{video_key}}/{_FILE}.mp4" if cameras else None,
        "features": _numbers(joints) | {VIDEO + c: _video(*s, fps) for c, s in cameras.items()},
    }


def joint_names(facts: Mapping[str, str], joints: int) -> list[str]:
    """As recorded; numbered where a recording does not say."""
    names: list[str] = json.loads(facts.get("joint_names", "[]"))
    return names if len(names) == joints else [f"joint{i}" for i in range(1, joints + 1)]


def _numbers(joints: list[str]) -> dict[str, Any]:
    columns = {
        "observation.state": ("float32", [*joints, "gripper_width_m"]),
        "action": ("float32", [*joints, "gripper"]),
        FLAG: ("bool", None),
        "mode": ("string", None),
        "timestamp": ("float32", None),
        **dict.fromkeys(_COUNTED, ("int64", None)),
    }
    return {
        name: {"dtype": dtype, "shape": [len(names) if names else 1], "names": names}
        for name, (dtype, names) in columns.items()
    }


def _video(height: int, width: int, fps: int) -> dict[str, Any]:
    about = {"height": height, "width": width, "codec": "mpeg4", "pix_fmt": "yuv420p"}
    about |= {"is_depth_map": False, "fps": fps, "channels": 3}
    return {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {f"video.{name}": value for name, value in about.items()} | {"has_audio": False},
    }
