"""The rules of other caches, by name, scaled to the shipped model's 8×8 patches and 4 layers."""

from pathlib import Path

from tandem.policies.caches.dual_cache import DualCache
from tandem.policies.caches.lac_networks import LacNetworks, load
from tandem.policies.caches.relevance import LAYERS
from tandem.policies.caches.strategy import Strategy
from tandem.policies.caches.ttf import Ttf
from tandem.policies.caches.vla_cache import VlaCache, VlaCacheRule
from tandem.policies.s2.config import S2Config
from tandem.policies.s2.patchwise import patch_layout
from tandem.policies.s2.storage import resolve
from tandem.policies.trunk.vision import HALF
from tandem.runtime.errors import RefusedError

NAMES = ("vla_cache", "ttf", "lac", "dual_cache")
LAC_WEIGHTS = "pick_s2_lac"  # of `tandem train lac`
LAC_CHANNELS = (8, 16, 32)  # 2 % of this trunk's multiply-adds; the default is 23 %
_RECOVERED = 0.1  # LAC: every row within 11 frames, a second; it halves the error that is left


def rule(name: str, config: S2Config, lac_weights: str | Path = LAC_WEIGHTS) -> Strategy:
    """A fresh rule for one stream.

    The stem's pixels are in −1 … 1, so a change of pixels counts as in the towers that the rules
    were written for. VLA-Cache's four depths would all be layer 1 of 4: here rows may leave at
    every layer but the first.

    Raises:
        RefusedError: no such rule.
        WeightsError: LAC's networks are missing or of another grid.
    """
    layout, grid, depth = patch_layout(config), config.grid, config.depth
    match name:
        case "vla_cache":
            layers = tuple(layer * LAYERS // depth for layer in range(1, depth))
            return VlaCache(layout, grid, depth, VlaCacheRule(leave_layers=layers))
        case "ttf":
            return Ttf(layout, grid, depth, ((config.width, HALF),))
        case "lac":
            # They bring OpenCV, which no other rule needs.
            from tandem.policies.caches.flow import dis
            from tandem.policies.caches.lac import Lac, LacRule

            networks = lac_networks(lac_weights, grid)
            often = LacRule(recovered=_RECOVERED, bucket=1)
            return Lac(layout, networks, dis(), often)
        case "dual_cache":
            return DualCache(layout, grid, depth, (HALF,))
    raise RefusedError(f"no rule is called '{name}'; there are {', '.join(NAMES)}")


def lac_networks(weights: str | Path, grid: int) -> LacNetworks:
    """Shipped weights by name, or from a path. Raises WeightsError."""
    return load(resolve(weights).with_suffix(".safetensors"), grid, LAC_CHANNELS)
