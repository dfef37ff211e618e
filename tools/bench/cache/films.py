"""What the caches look at: the simulated cell at work, or real footage from a folder of the user's.

Footage is TFRecord episodes as RLDS data sets have them (`steps/observation/image…`, encoded
pictures); it is read where it lies. Of several cameras the pictures of one moment are one frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
from tandem.drivers.sim import scene
from tandem.drivers.sim.world import World
from tandem.policies.s2.text import INSTRUCTIONS, TASKS
from tandem.runtime.errors import ConfigError
from tandem.tools import tfrecord
from tandem.tools.train import episodes
from tandem.tools.train.cell import Drive
from tandem.tools.train.expert import Expert

_STEPS_A_FRAME = 2  # of 50 ms each: 10 Hz, what S2 runs at
_MAX_STEPS = 140  # for one errand
_PICTURES = "steps/observation/image"
_CAMERAS = ("front", "wrist")  # of the simulated cell


@dataclass(frozen=True)
class Film:
    """Frames uint8 [H, W, 3], or [cameras, H, W, 3], in order of time, clip after clip."""

    name: str
    images: list[np.ndarray]
    begins: frozenset[int]  # frames with which another clip begins; 0 is one of them
    errands: tuple[str, ...] = ()  # what the robot is about in each frame, if that is known

    @property
    def clips(self) -> list[list[np.ndarray]]:
        edges = [*sorted(self.begins), len(self.images)]
        return [self.images[begin:end] for begin, end in pairwise(edges)]

    @property
    def pictures(self) -> list[np.ndarray]:
        """[H, W, 3], one camera after the other."""
        if self.images[0].ndim == 3:
            return self.images
        return [picture for camera in zip(*self.images, strict=True) for picture in camera]

    def cut(self, at: int) -> tuple["Film", "Film"]:
        """What comes before frame `at`, with which a clip begins, and what comes after."""
        before = frozenset(begin for begin in self.begins if begin < at)
        after = frozenset(begin - at for begin in self.begins - before)
        return (
            Film(self.name, self.images[:at], before, self.errands[:at]),
            Film(self.name, self.images[at:], after, self.errands[at:]),
        )


def simulated(seed: int, frames: int, size: int, cameras: int = 1) -> Film:
    """The pick cell at 10 Hz: an expert carries out one errand after the other.

    It is seen from the front and, by a second camera, from the wrist. The clip goes on until hardly
    a cube is left on the table; then another lay-out begins one.

    Raises:
        ConfigError: there are not so many cameras.
    """
    if cameras > len(_CAMERAS):
        raise ConfigError(
            f"--cameras {cameras}: the simulated cell is seen by {' and '.join(_CAMERAS)} only"
        )
    world = World(seed, render_size=size, step_s=0.002)
    images: list[np.ndarray] = []
    errands: list[str] = []
    begins = set()
    try:
        while len(images) < frames:
            begins.add(len(images))
            world.reset(seed + 1000 * len(begins))
            clip = _clip(world, seed + len(begins), _CAMERAS[:cameras])
            for image, errand in islice(clip, frames - len(images)):
                images.append(image)
                errands.append(errand)
    finally:
        world.close()
    return Film("simulator", images, frozenset(begins), tuple(errands))


def footage(folder: Path, size: int, frames: int, cameras: int = 1) -> Film:
    """At most so many frames of the episodes in a folder, each camera's a clip of its own.

    Of several cameras, as many as are asked for together are a clip.

    Raises:
        ConfigError: there is no TFRecord in the folder, or its episodes lack pictures or cameras.
    """
    files = sorted(folder.glob("*.tfrecord*"))
    if not files:
        raise ConfigError(f"--footage {folder}: there is no *.tfrecord file in it")
    images: list[np.ndarray] = []
    begins = set()
    for clip in (clip for file in files for clip in _clips(file, cameras)):
        if len(images) >= frames:
            break
        begins.add(len(images))
        moments = clip[: frames - len(images)]
        images += [_frame([_decoded(one, size) for one in moment]) for moment in moments]
    if not images:
        wanted = "no pictures" if cameras == 1 else f"no pictures of {cameras} cameras"
        raise ConfigError(f"--footage {folder}: its episodes have {wanted} under {_PICTURES}…")
    return Film(folder.name, images, frozenset(begins))


def _clip(world: World, seed: int, cameras: Sequence[str]) -> Iterator[tuple[np.ndarray, str]]:
    rng = np.random.default_rng(seed)
    expert, drive = Expert(), Drive(world)
    while len(world.present) - len(world.in_bin()) > 1:
        errand = episodes.random_errand(world, rng)
        told = INSTRUCTIONS[TASKS[errand.task]][0].format(errand.colour)
        disturber = episodes.Disturber(errand, rng)
        for step in range(_MAX_STEPS):
            disturber.act(world, step)
            if step % _STEPS_A_FRAME == 0:
                yield _frame([world.render(camera).copy() for camera in cameras]), told
            drive.follow(expert.step(drive.cell(errand.colour, errand.task)))
            if episodes.done(world, errand):
                break
        _lay_down(world, drive, rng)


def _lay_down(world: World, drive: Drive, rng: np.random.Generator) -> None:
    """A cube in the hand is back on the table; the arm goes on from where it is, gripper open."""
    held = world.in_hand()
    drive.start(world.q)
    if held is not None:
        taken = [world.cube_position(c)[:2] for c in world.present if c != held]
        world.place_cube(held, *scene.free_spot(rng, taken), yaw=0.0)


def _clips(file: Path, cameras: int) -> Iterator[list[tuple[bytes, ...]]]:
    """Moment by moment the encoded pictures of so many cameras of each episode.

    A camera that was not there is filled with one and the same picture; it is left out.
    """
    for example in tfrecord.examples(file):
        there = []
        for name, pictures in sorted(example.items()):
            encoded = name.startswith(_PICTURES) and isinstance(pictures, list)
            if encoded and len(set(pictures)) > 1:
                there.append(pictures)
        for first in range(0, len(there) - cameras + 1, cameras):
            yield list(zip(*there[first : first + cameras], strict=True))


def _frame(pictures: Sequence[np.ndarray]) -> np.ndarray:
    return pictures[0] if len(pictures) == 1 else np.stack(pictures)


def _decoded(picture: bytes, size: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ConfigError("a picture of the footage is neither JPEG nor PNG")
    smaller = size < image.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.cvtColor(cv2.resize(image, (size, size), interpolation=how), cv2.COLOR_BGR2RGB)
