"""The chunk head by regression: one pass, one chunk."""

from tandem.policies.s1.network import HeadConfig, Inputs, ToolPosition, Trunk, Units
from torch import Tensor, nn


class ChunkHead(nn.Module):
    """State and conditioning to a chunk of absolute joint targets and gripper commands."""

    def __init__(self, config: HeadConfig, tool: ToolPosition) -> None:
        super().__init__()
        self.config = config
        self.inputs = Inputs(config, tool)
        self.units = Units(config)
        outputs = config.horizon * config.action
        self.trunk = Trunk(self.inputs.size, outputs, config.width, config.blocks)

    def in_units(
        self, state: Tensor, latent: Tensor, before: Tensor, times: Tensor, quick: bool = False
    ) -> Tensor:
        """As `forward`, in the units that training compares in."""
        raw = self.trunk(self.inputs(state, latent, before, times), quick)
        return raw.unflatten(-1, (self.config.horizon, self.config.action))

    def forward(self, state: Tensor, latent: Tensor, before: Tensor, times: Tensor) -> Tensor:
        """[B, S], [B, K·D], [B, K·D], [B, 2] to actions [B, H, D]."""
        units = self.in_units(state, latent, before, times)
        return self.units.decode(units, state[:, : self.config.joints])
