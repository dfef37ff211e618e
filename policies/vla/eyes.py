"""One vision for several cameras: pictures [cameras, S, S, 3], features one below the other."""

from collections.abc import Sequence

import numpy as np
import torch
from tandem.policies.caches.session import Backbone
from tandem.policies.caches.strategy import Image
from tandem.policies.trunk.trunk import Trunk
from tandem.policies.trunk.vision import Vision
from torch import Tensor


class Eyes(Vision):
    """The same weights for each camera; what towers keep of a picture is each camera's own."""

    def __init__(self, vision: Vision, cameras: int, crop: float) -> None:
        """crop: share of each picture's area that is looked at, around its middle."""
        super().__init__(list(vision.towers), vision.norms, vision.projector, vision.fit)
        self.crop = crop
        self.each = [vision.own() for _ in range(cameras)]

    @property
    def patches(self) -> int:
        return len(self.each) * self.grid**2

    def own(self) -> "Eyes":
        return Eyes(self.each[0], len(self.each), self.crop)

    def macs(self, patches: int) -> int:
        """Rows before the patches are computed once for each camera."""
        return super().macs(patches) + (len(self.each) - 1) * super().macs(0)

    def seen(self, images: Sequence[Image]) -> Image:
        """Pictures of any sizes as the towers see them, [cameras, S, S, 3]."""
        return np.stack([self.fit(middle(image, self.crop), self.size) for image in images])

    @torch.no_grad()
    def look(self, image: Image, patches: Tensor | None = None) -> Tensor:
        """Features [cameras · N, F]; computes only `patches` bool [cameras · N] anew."""
        if patches is None:
            seen = [eye.look(one) for eye, one in zip(self.each, image, strict=True)]
        else:
            parts = patches.to(next(self.towers.parameters()).device).split(self.grid**2)
            looks = zip(self.each, image, parts, strict=True)
            seen = [eye.look(one, part) for eye, one, part in looks]
        return torch.cat(seen)


class Seeing(Backbone):
    """A backbone of several cameras."""

    def __init__(self, vision: Vision, trunk: Trunk, cameras: int, crop: float = 1.0) -> None:
        super().__init__(Eyes(vision, cameras, crop), trunk)

    @property
    def eyes(self) -> Eyes:
        assert isinstance(self.vision, Eyes)
        return self.vision


def middle(image: Image, share: float) -> Image:
    """The middle of [H, W, 3], in its own proportions, with that share of its area."""
    off = [round(side * (1 - share**0.5) / 2) for side in image.shape[:2]]
    return image[off[0] : image.shape[0] - off[0], off[1] : image.shape[1] - off[1]]
