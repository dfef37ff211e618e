"""The read-out: a pointer over patches, and the latent that System 1 is conditioned on.

The pointer softly attends to the L2 patches and to the newest frame's changed patches, so a cube
may be found where it stood when L2 was refreshed or where it is seen to be now. Static candidates
are prepared once a refresh and cached. A patch is larger than a cube: it offers a position for each
kind of object that it may show, and the read-out chooses among them.
"""

import torch
from tandem.policies.s2.config import S2Config
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 256
LATENT_LIMIT = 8.0  # standard deviations; far inside float16


class Pointer(nn.Module):
    """Keys and values of candidates, and the soft choice among them."""

    def __init__(self, config: S2Config) -> None:
        super().__init__()
        self.key = nn.Linear(config.width, config.pointer)
        # A value begins with the positions of the kinds, 3 numbers each, see `position_units`.
        self.value = nn.Linear(config.width, config.pointed)
        self.query = nn.Linear(config.width, config.pointer)
        self.kind = nn.Linear(config.width, config.kinds)

    def candidates(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Trunk rows [B, N, width] to keys [B, N, 64] and values [B, N, 96]."""
        return self.key(rows), self.value(rows)

    def point(self, readout: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Read-out rows [B, Q, width] to logits [B, Q, N] and what they point at [B, Q, 99].

        What is pointed at begins with the position [3] of the kind chosen.
        """
        logits = self.query(readout) @ keys.transpose(1, 2) * keys.shape[-1] ** -0.5
        fetched = logits.float().softmax(-1).to(values.dtype) @ values
        chosen = self.kind(readout).float().softmax(-1).to(values.dtype)
        position = (chosen[..., None] * positions(fetched, chosen.shape[-1])).sum(-2)
        return logits, torch.cat([position, fetched], -1)


def positions(values: Tensor, kinds: int) -> Tensor:
    """Values [..., 96] to the position of each kind [..., kinds, 3]."""
    return values[..., : 3 * kinds].unflatten(-1, (kinds, 3))


class Readout(nn.Module):
    """Read-out rows and what the pointer fetched, to the latent and its plain meaning."""

    def __init__(self, config: S2Config) -> None:
        super().__init__()
        self.shape = (config.latent_tokens, config.latent_width)
        size = config.latent_tokens * config.latent_width
        pointed = 3 + config.pointed
        inputs = config.readouts * config.width + pointed
        self.pointer = Pointer(config)
        self.hidden = nn.Linear(inputs, HIDDEN)
        self.latent = nn.Linear(HIDDEN + pointed, size)
        self.says = nn.Linear(size, 8)  # position 3, velocity 2, pick, bin, held: see `Meaning`
        self.register_buffer("latent_mean", torch.zeros(size))
        self.register_buffer("latent_scale", torch.ones(size))

    def raw(self, readouts: Tensor, pointed: Tensor) -> Tensor:
        """Read-out rows [..., 2, width] and what they point at [..., 99] to a latent [..., 128]."""
        joined = torch.cat([readouts.flatten(-2), pointed], -1)
        hidden = functional.gelu(self.hidden(joined), approximate="tanh")
        return self.latent(torch.cat([hidden, pointed], -1))

    def normalised(self, raw: Tensor) -> Tensor:
        """Raw latent [..., 128] to [..., K, D], mean 0 and deviation 1 over the training set."""
        scaled = (raw.float() - self.latent_mean) * self.latent_scale
        return scaled.clamp(-LATENT_LIMIT, LATENT_LIMIT).unflatten(-1, self.shape)

    def meaning(self, raw: Tensor) -> Tensor:
        """Plain numbers [..., 8] that training asks for, and that people can read."""
        return self.says(raw)


# Positions are learned as (metre − centre) / spread, in the robot's base frame.
CENTRE_M = (0.49, 0.0, 0.05)
SPREAD_M = (0.08, 0.12, 0.06)
SPEED_M_S = 0.05  # one unit of velocity


def position_m(meaning: Tensor) -> Tensor:
    """Pointed-at position [..., 3] in metres from `Readout.meaning`."""
    return meaning[..., :3] * torch.tensor(SPREAD_M) + torch.tensor(CENTRE_M)


def position_units(position_m: Tensor) -> Tensor:
    return (position_m - torch.tensor(CENTRE_M)) / torch.tensor(SPREAD_M)
