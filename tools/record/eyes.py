"""Pictures for a recording: from a camera's ring to a file's bytes. They alone may be lost."""

from typing import Literal

import cv2
import numpy as np
from tandem.runtime.images import ImageReader
from tandem.runtime.interfaces import Frame

Kind = Literal["jpeg", "png"]
_HOW: dict[Kind, tuple[str, list[int]]] = {
    "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90]),
    "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]),
}


class Eye:
    """One camera. `dropped` counts frames that were overwritten before we came, or left out."""

    def __init__(self, name: str, ring: ImageReader, kind: Kind = "jpeg") -> None:
        self.name, self.kind, self.dropped, self.seen = name, kind, 0, 0
        self._ring = ring
        self._newest = -1

    def look(self, pressed: bool) -> list[tuple[Frame, bytes]]:
        """New frames with their encoding, oldest first; under pressure they are only counted.

        Raises:
            WireError: the ring is of another size than the configuration says.
        """
        count = self._ring.ring.count
        missed, first = 0, self._newest + 1
        frames = [] if pressed else self._ring.since(self._newest)
        if self._newest >= 0 or frames:
            first = first if self._newest >= 0 else frames[0].seq
            last = frames[-1].seq if frames else count - 1
            missed = max(last + 1 - first - len(frames), 0)
            self._newest = max(last, self._newest)
        self.dropped += missed
        self.seen += len(frames)
        return [(frame, encode(frame.image, self.kind)) for frame in frames]


def encode(image: np.ndarray, kind: Kind = "jpeg") -> bytes:
    """[H, W, 3] uint8 RGB to a file's bytes."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    suffix, options = _HOW[kind]
    done, data = cv2.imencode(suffix, bgr, options)
    assert done, f"OpenCV is built without {kind}"
    return data.tobytes()


def decode(encoded: bytes) -> np.ndarray:
    """A file's bytes to [H, W, 3] uint8 RGB."""
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
