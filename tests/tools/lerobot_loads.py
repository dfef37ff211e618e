"""Run by LeRobot's own Python: opens a dataset with its loader, which decodes with its decoder.

    python lerobot_loads.py DATASET [torchcodec | pyav]

Prints JSON: what the loader found, and per camera the mean brightness (0 … 1) of each frame.
"""

import json
import sys

from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main(folder: str, backend: str | None) -> None:
    dataset = LeRobotDataset("here/recorded", root=folder, video_backend=backend)
    frames = [dataset[i] for i in range(len(dataset))]
    found = {
        "backend": dataset.video_backend,
        "frames": len(dataset),
        "episodes": dataset.num_episodes,
        "fps": dataset.fps,
        "tasks": [frame["task"] for frame in frames],
        "intervened": [bool(frame["complementary_info.is_intervention"]) for frame in frames],
        "shapes": {name: list(frames[0][name].shape) for name in ("observation.state", "action")},
        "brightness": {
            camera: [float(frame[camera].mean()) for frame in frames]
            for camera in dataset.meta.camera_keys
        },
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
