"""Normalising flows: invertible maps with the logarithm of their Jacobian determinant (Kingma, Dhariwal, 2018)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Mapped = tuple[Tensor, Tensor]  # maps [M, C, H, W], and log |det| of the Jacobian [M]


class ActNorm(nn.Module):
    """Scale and shift of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale, self.shift = (
            nn.Parameter(torch.zeros(channels, 1, 1)),
            nn.Parameter(torch.zeros(channels, 1, 1)),
        )

    def forward(self, x: Tensor, number: Tensor) -> Mapped:
        positions = x.shape[2] * x.shape[3]
        return (x + self.shift) * self.log_scale.exp(), (positions * self.log_scale.sum()).expand(x.shape[0])

    def inverse(self, z: Tensor, number: Tensor) -> Tensor:
        return z * (-self.log_scale).exp() - self.shift


class InvertibleConv(nn.Module):
    """1 x 1 convolution by P L (U + diag(s)), of which the determinant is the product of s; begins as a rotation."""

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation.float())
        self.register_buffer("sign", diagonal.sign().float())
        self.lower, self.upper = nn.Parameter(lower.tril(-1).float()), nn.Parameter(upper.triu(1).float())
        self.log_diagonal = nn.Parameter(diagonal.abs().log().float())

    def weight(self) -> Tensor:
        """Compose the matrix, [C, C]."""
        lower = self.lower.tril(-1) + torch.eye(len(self.lower), device=self.lower.device)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        return self.permutation @ lower @ upper

    def forward(self, x: Tensor, number: Tensor) -> Mapped:
        positions = x.shape[2] * x.shape[3]
        return F.conv2d(x, self.weight()[..., None, None]), (positions * self.log_diagonal.sum()).expand(x.shape[0])

    def inverse(self, z: Tensor, number: Tensor) -> Tensor:
        return F.conv2d(z, torch.linalg.inv(self.weight())[..., None, None])


class Coupling(nn.Module):
    """Affine coupling: half of the channels is scaled and shifted by what a network computes from the other half.

    Args:
        channels: of the maps, at least 2.
        hidden: channels within the network.
        kernel: of its first and last convolution; 1 for vectors.
        conditions: number of machine IDs; each has a bias of its own in the network.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, conditions: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.first = nn.Conv2d(self.kept, hidden, kernel, padding=kernel // 2)
        self.condition = nn.Embedding(conditions, hidden)
        self.middle = nn.Conv2d(hidden, hidden, 1)
        self.last = nn.Conv2d(hidden, 2 * (channels - self.kept), kernel, padding=kernel // 2)
        nn.init.normal_(self.condition.weight, std=0.1)
        nn.init.normal_(self.last.weight, std=1e-3)  # nearly the identity, but not a dead end for gradients
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]  # it has one

    def _affine(self, kept: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the logarithm of the scale, and the shift, of the other half."""
        hidden = F.relu(self.first(kept) + self.condition(number)[:, :, None, None])
        raw, shift = self.last(F.relu(self.middle(hidden))).chunk(2, dim=1)
        return F.logsigmoid(raw + 2), shift

    def forward(self, x: Tensor, number: Tensor) -> Mapped:
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        log_scale, shift = self._affine(kept, number)
        return torch.cat([kept, (changed + shift) * log_scale.exp()], dim=1), log_scale.sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor, number: Tensor) -> Tensor:
        kept, changed = z[:, : self.kept], z[:, self.kept :]
        log_scale, shift = self._affine(kept, number)
        return torch.cat([kept, changed * (-log_scale).exp() - shift], dim=1)


class Glow(nn.Module):
    """Levels of steps of ActNorm, 1 x 1 convolution and coupling, to a normal distribution of each machine ID's own.

    With more than one level, maps are squeezed (2 x 2 positions become channels) before each, and half of the channels
    leave after each but the last. With one level nothing is squeezed: vectors [M, D, 1, 1] stay what they are.

    Args:
        shape: (C, H, W) of what is modelled; H and W multiples of 2^levels if there is more than one level.
        conditions: number of machine IDs K.
        levels: 1 for vectors.
        depth: steps per level.
        hidden: channels within the couplings.
        kernel: of the couplings.
    """

    def __init__(
        self, shape: tuple[int, int, int], conditions: int, *, levels: int, depth: int, hidden: int, kernel: int
    ) -> None:
        super().__init__()
        self.squeezes = levels > 1
        self.dimensions = math.prod(shape)
        channels = shape[0]
        self.levels = nn.ModuleList()
        for level in range(levels):
            channels = 4 * channels if self.squeezes else channels
            steps: list[nn.Module] = []
            for _ in range(depth):
                steps += [ActNorm(channels), InvertibleConv(channels), Coupling(channels, hidden, kernel, conditions)]
            self.levels.append(nn.ModuleList(steps))
            channels = channels if level == levels - 1 else channels // 2
        self.mean = nn.Embedding(conditions, self.dimensions)
        self.log_std = nn.Embedding(conditions, self.dimensions)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.log_std.weight)

    def forward(self, x: Tensor, number: Tensor) -> Mapped:
        """Map [M, C, H, W] of machine IDs [M] to latents, standard normal if they are typical, [M, D]."""
        total, parts = x.new_zeros(x.shape[0]), []
        for level, steps in enumerate(self.levels):
            x = F.pixel_unshuffle(x, 2) if self.squeezes else x
            for step in steps:  # type: ignore[attr-defined]  # a ModuleList
                x, log_det = step(x, number)
                total = total + log_det
            if level < len(self.levels) - 1:
                x, leaving = x.chunk(2, dim=1)
                parts.append(leaving.flatten(1))
        z = torch.cat([*parts, x.flatten(1)], dim=1)
        log_std = self.log_std(number)
        return (z - self.mean(number)) * (-log_std).exp(), total - log_std.sum(dim=1)

    def nll(self, x: Tensor, number: Tensor) -> Tensor:
        """Compute the negative log likelihood per dimension in nats, [M]."""
        z, log_det = self(x, number)
        log_density = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)
        return -(log_density + log_det) / self.dimensions
