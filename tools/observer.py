"""Processes that watch a running daemon and may never slow it: the film and the viewer."""

import signal
import sys
import time
from collections.abc import Callable

from tandem.runtime import config
from tandem.runtime.errors import TandemError
from tandem.runtime.images import ImageReader, ImageRing
from tandem.runtime.interfaces import CameraSpec
from tandem.runtime.lifeline import Lifeline

_SILENCE_NS = 10_000_000_000  # a daemon that is gone is known at once; this one may be starved


class Watch:
    """How long to go on: until SIGTERM, or until the supervisor is gone."""

    def __init__(self) -> None:
        self.line = Lifeline.from_environment()
        self._ending = False
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def goes_on(self) -> bool:
        return not self._ending and self.line.silence_ns(time.monotonic_ns()) < _SILENCE_NS

    def _end(self, *_: object) -> None:
        self._ending = True


def observe(body: Callable[[Watch], None]) -> int:
    """Run an observer's body; tell the supervisor if it cannot even begin."""
    watch = Watch()
    try:
        body(watch)
    except TandemError as error:
        watch.line.failed(str(error))
        print(error, file=sys.stderr)
        return 1
    return 0


def image_readers(settings: config.Config) -> dict[str, ImageReader]:
    """The image rings of all cameras, by name."""
    return {
        name: ImageRing.of(settings.folder, _spec(name, camera)).reader()
        for name, camera in settings.cameras.items()
    }


def _spec(name: str, camera: config.Camera) -> CameraSpec:
    width, height = camera.size
    return CameraSpec(name, height, width, camera.rate_hz, 0)
