"""Vision towers side by side, as one: pixels normalised for each, features next to each other."""

from collections.abc import Sequence
from typing import Protocol

import torch
from tandem.policies.caches.patches import Norm
from tandem.policies.caches.strategy import Image
from torch import Tensor, nn


class Tower(Protocol):
    """A vision transformer on pictures of one size; keeps keys and values of the last picture."""

    def forward(self, pixels: Tensor) -> Tensor:
        """[1, 3, H, W] normalised to [1, N, F], every patch computed."""

    def partial(self, pixels: Tensor, patches: Tensor) -> Tensor:
        """The same, but only the patches in bool [N]; the others stand as they were."""

    def macs(self, patches: int) -> int:
        """Multiply-adds when so many patches are computed."""


class Eyes(nn.Module):
    """OpenVLA has two (DINOv2 and SigLIP), most have one."""

    def __init__(self, towers: Sequence[nn.Module], norms: Sequence[Norm]) -> None:
        super().__init__()
        self.towers = nn.ModuleList(towers)
        self.norms = tuple(norms)
        for i, norm in enumerate(norms):
            mean, std = torch.tensor(norm.mean) * 255, torch.tensor(norm.std) * 255
            self.register_buffer(f"_mean{i}", mean[:, None, None], persistent=False)
            self.register_buffer(f"_std{i}", std[:, None, None], persistent=False)

    @torch.no_grad()
    def look(self, image: Image, patches: Tensor | None = None) -> Tensor:
        """Features [N, F] of a picture; computes only `patches` bool [N], if given."""
        mean = self.get_buffer("_mean0")
        pixels = torch.from_numpy(image).to(mean.device).permute(2, 0, 1)
        seen = []
        for i, tower in enumerate(self.towers):
            normal = (pixels - self.get_buffer(f"_mean{i}")) / self.get_buffer(f"_std{i}")
            normal = normal.to(mean.dtype)[None]
            seen.append(tower(normal) if patches is None else tower.partial(normal, patches))
        return torch.cat(seen, -1)[0]

    def macs(self, patches: int) -> int:
        return sum(tower.macs(patches) for tower in self.towers)
