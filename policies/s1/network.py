"""What both chunk heads share: the inputs they look at and the trunk that thinks about them.

Normalisation is part of the network, so that whatever runs it (torch in training, ONNX Runtime on
the robot) takes and gives plain SI units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of a head. `latent` is the flattened width of a conditioning, K·D."""

    joints: int = 7
    latent: int = 128
    horizon: int = 16
    width: int = 512
    blocks: int = 3

    @property
    def action(self) -> int:
        """Joints and one gripper."""
        return self.joints + 1

    @property
    def state(self) -> int:
        """q_cmd, dq_cmd, gripper_cmd, width_m: see `inputs.state_vector`."""
        return 2 * self.joints + 2


class ToolPosition(nn.Module):
    """Forward kinematics as a layer: where the tool is says more about reaching than the angles
    do.
    """

    mdh: Tensor
    tool: Tensor

    def __init__(self, mdh: Tensor, tool_in_last: Tensor) -> None:
        """`mdh` [D, 4] rows (a_m, d_m, alpha_rad, theta_rad), `tool_in_last` [3] m."""
        super().__init__()
        self.register_buffer("mdh", mdh.float())
        self.register_buffer("tool", tool_in_last.float())

    def forward(self, q: Tensor) -> Tensor:
        """Joints [B, D] rad to the tool's position [B, 3] m in the base frame."""
        point = self.tool.expand(q.shape[0], 3)
        for i in reversed(range(self.mdh.shape[0])):
            a, d, alpha, offset = self.mdh[i]
            cq, sq = torch.cos(q[:, i] + offset), torch.sin(q[:, i] + offset)
            ca, sa = torch.cos(alpha), torch.sin(alpha)
            x, y, z = point[:, 0], point[:, 1], point[:, 2] + d
            turned = sq * x + cq * y
            point = torch.stack(
                [a + cq * x - sq * y, ca * turned - sa * z, sa * turned + ca * z], dim=-1
            )
        return point


class Inputs(nn.Module):
    """State, tool, the newest latent and an earlier one, and how old they are, as one vector."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: HeadConfig, tool: ToolPosition) -> None:
        super().__init__()
        self.joints = config.joints
        self.tool = tool
        self.size = config.state + 3 + 2 * config.latent + 2
        plain = config.state + 3
        self.register_buffer("mean", torch.zeros(plain))
        self.register_buffer("scale", torch.ones(plain))

    def plain(self, state: Tensor) -> Tensor:
        return torch.cat([state, self.tool(state[:, : self.joints])], dim=-1)

    def fit(self, state: Tensor) -> None:
        """Take mean and deviation of the training states [N, S]."""
        plain = self.plain(state)
        self.mean.copy_(plain.mean(0))
        self.scale.copy_(plain.std(0) + 1e-3)

    def forward(self, state: Tensor, latent: Tensor, before: Tensor, times: Tensor) -> Tensor:
        """[B, S], [B, K·D], [B, K·D], [B, 2] (age and gap, s) to [B, size].

        The earlier latent enters as a difference: for a cube at rest it is noise around zero.
        """
        plain = (self.plain(state) - self.mean) / self.scale
        return torch.cat([plain, latent, latent - before, 5.0 * times], dim=-1)


class Trunk(nn.Module):
    """Residual perceptron [B, inputs] → [B, outputs]; the last layer begins at zero."""

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
            )
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, outputs)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, quick: bool = False) -> Tensor:
        """`quick`: the blocks in bfloat16, for training; entry, stream and exit stay float32."""
        x = self.enter(x)
        for block in self.blocks:
            with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=quick):
                change = block(x)
            x = x + change
        return self.leave(self.norm(x))


class Units(nn.Module):
    """Chunks in the units of the network: offsets from q_cmd, scaled per step; gripper ±1."""

    spread: Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.joints = config.joints
        self.register_buffer("spread", torch.ones(config.horizon, config.joints))

    def fit(self, chunks: Tensor, q_cmd: Tensor) -> None:
        """Take the deviation per step and joint of the training chunks [N, H, D]."""
        offsets = chunks[..., : self.joints] - q_cmd[:, None]
        self.spread.copy_(offsets.std(0) + 1e-4)

    def encode(self, chunks: Tensor, q_cmd: Tensor) -> Tensor:
        """Actions [B, H, D] (rad, gripper 0…1) to network units."""
        offsets = (chunks[..., : self.joints] - q_cmd[:, None]) / self.spread
        return torch.cat([offsets, 2.0 * chunks[..., self.joints :] - 1.0], dim=-1)

    def decode(self, units: Tensor, q_cmd: Tensor) -> Tensor:
        """Network units [B, H, D] to actions."""
        offsets = units[..., : self.joints] * self.spread + q_cmd[:, None]
        gripper = (0.5 * (units[..., self.joints :] + 1.0)).clamp(0.0, 1.0)
        return torch.cat([offsets, gripper], dim=-1)
