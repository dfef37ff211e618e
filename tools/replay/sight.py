"""Recorded pictures as a camera shows them: the newest, under its own number and stamp."""

from collections.abc import Sequence

from tandem.runtime.app import build
from tandem.runtime.config import Config
from tandem.runtime.interfaces import CameraSpec, Frame
from tandem.tools.record import eyes
from tandem.tools.record.reader import Picture, Recording


class Shown:
    """A frame source; `show` decides what is the newest."""

    def __init__(self, spec: CameraSpec) -> None:
        self.spec = spec
        self._picture: Picture | None = None
        self._frame: Frame | None = None

    @property
    def seq(self) -> int:
        return self._picture.seq if self._picture else -1

    def show(self, picture: Picture) -> None:
        self._picture, self._frame = picture, None

    def latest(self) -> Frame | None:
        picture = self._picture
        if picture is not None and self._frame is None:
            image = eyes.decode(picture.encoded)
            self._frame = Frame(image, picture.t_capture_ns, picture.seq)
        return self._frame


class Sight:
    """All cameras that a policy looks at, up to a moment."""

    def __init__(self, recording: Recording, specs: dict[str, CameraSpec]) -> None:
        self.cameras = {name: Shown(spec) for name, spec in specs.items()}
        self._coming = {name: iter(recording.pictures(name)) for name in specs}
        self._next = {name: next(pictures, None) for name, pictures in self._coming.items()}

    def look(self, now_ns: int, newest_ns: int = 0) -> None:
        """Show what had been taken by `newest_ns`, if that is known, or else seen by `now_ns`."""
        for name, shown in self.cameras.items():
            picture = self._next[name]
            while picture is not None and (
                picture.t_capture_ns <= newest_ns if newest_ns else picture.arrival_ns <= now_ns
            ):
                shown.show(picture)
                picture = self._next[name] = next(self._coming[name], None)


def sight_of(recording: Recording, settings: Config, cameras: Sequence[str]) -> Sight:
    """The recorded eyes of a policy that looks at these cameras."""
    wanted = {name: given for name, given in settings.cameras.items() if name in cameras}
    return Sight(recording, {n: build.camera_spec(n, given) for n, given in wanted.items()})
