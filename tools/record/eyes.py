"""Pictures for a recording: from the camera's ring to JPEG. The only thing that may be left out."""

import cv2
import numpy as np
from tandem.runtime.images import ImageReader
from tandem.runtime.interfaces import Frame

_QUALITY = 90


class Eye:
    """One camera. `dropped` counts frames that were overwritten before we came, or left out."""

    def __init__(self, name: str, ring: ImageReader) -> None:
        self.name, self.dropped, self.seen = name, 0, 0
        self._ring = ring
        self._newest = -1

    def look(self, pressed: bool) -> list[tuple[Frame, bytes]]:
        """New frames with their JPEG, oldest first; under pressure they are only counted.

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
        return [(frame, encode(frame.image)) for frame in frames]


def encode(image: np.ndarray) -> bytes:
    """[H, W, 3] uint8 RGB to JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done, "OpenCV is built without JPEG"
    return data.tobytes()


def decode(jpeg: bytes) -> np.ndarray:
    """JPEG to [H, W, 3] uint8 RGB."""
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
