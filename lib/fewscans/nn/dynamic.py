"""Dynamic group convolution: several kernels, mixed for each sample by attention that keeps the layer equivariant.

Source: "A Dynamic Group Equivariant Convolutional Networks for Medical Image Analysis" (BIBM 2020). Its abstract says
that kernels of a group convolution are aggregated by attention, and that the attention is equivariant, too. The rest is
ours: softmax over K kernels with a temperature, from two small layers on pooled features, after Chen et al.
(arXiv 1912.03458, Dynamic Convolution).

Two kinds of attention. "invariant": features are pooled over space and orientation, and a sample has one weight a
kernel; turning the image changes none. "equivariant": features are pooled over space alone, and a sample has one
weight a kernel and orientation; turning the image permutes them as it does the maps. Either keeps f(h·x) = h·f(x).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans.groups import Group
from fewscans.nn.gconv import GroupConv, _Gather

ATTENTIONS = ("invariant", "equivariant")


class DynamicGroupConv(GroupConv):
    """A group convolution whose kernel is a mean of `kernels` learnt ones, weighted for each sample.

    group, channels, kernel_size, padding, bias: as for `GroupConv`, whose parameters it has if kernels is 1.
    attention: "invariant" or "equivariant".   temperature: of the softmax; high ones mix evenly.   noise: a seed; the
    attention is fed with normal noise drawn from it in place of features.   blind: it is fed with ones, so that every
    sample has the same mixture. Both are controls.
    in (B, C, G, *S), out (B, C', G, *S').   Raises ValueError for less than one kernel, a temperature of 0 or less, an
    unknown attention, an even kernel size, and a wrong input shape.
    """

    def __init__(
        self, group, in_channels, out_channels, kernel_size, kernels=4, attention="invariant", temperature=1.0,
        padding="same", bias=True,
    ):  # fmt: skip
        if kernels < 1 or temperature <= 0:
            raise ValueError(f"kernels must be at least 1 and temperature above 0, got {kernels} and {temperature}")
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {ATTENTIONS}, got {attention!r}")
        self.kernels = 1  # while the static layer is made
        super().__init__(group, in_channels, out_channels, kernel_size, padding, bias)
        self.kernels, self.attention, self.temperature = kernels, attention, temperature
        self.noise: int | None = None
        self.blind = False
        self.weight = nn.Parameter(torch.empty(kernels * out_channels, *self.weight.shape[1:]))  # kernel by kernel
        self.bias = nn.Parameter(torch.empty(kernels * out_channels)) if bias else None
        if kernels > 1:  # on maps without extent, a group of one element makes of a group convolution a linear layer
            acting = self.group if attention == "equivariant" else Group.named("Z2")
            hidden = in_channels // 4 + 1
            self.squeeze = GroupConv(acting, in_channels, hidden, 1)
            self.weigh = GroupConv(acting, hidden, kernels, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Every kernel as that of the static layer."""
        super().reset_parameters(generator)
        if self.kernels > 1:
            self.squeeze.reset_parameters(generator)
            self.weigh.reset_parameters(generator)

    def attend(self, x: Tensor) -> Tensor:
        """The kernels' weights for features (B, C, G, *S): (B, K, 1), or (B, K, G) where attention is equivariant."""
        pooled = x.flatten(3).mean(3)  # (B, C, G)
        if self.attention == "invariant":
            pooled = pooled.mean(2, keepdim=True)
        if self.noise is not None:
            pooled = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(self.noise)).to(pooled)
        if self.blind:
            pooled = torch.ones_like(pooled)
        point = (1,) * self.squeeze.group.dim
        scores = self.weigh(F.relu(self.squeeze(pooled.unflatten(2, (-1, *point)))))  # (B, K, G or 1, *point)
        return F.softmax(scores.flatten(2) / self.temperature, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kernels == 1:
            return super().forward(x)
        self._check(x, 3)
        if x.shape[2] != self.group.order:
            raise ValueError(
                f"DynamicGroupConv({self.group.name}) wants {self.group.order} orientations, got {x.shape[2]}"
            )
        samples, weight, bias = len(x), *self._mixed(self.attend(x))
        convolve = F.conv2d if self.group.dim == 2 else F.conv3d
        y = convolve(x.flatten(0, 2)[None], weight, bias, padding=self.padding, groups=samples)  # (1, B·C'·G, *S)
        return y[0].unflatten(0, (samples, self.out_channels, self.group.order))

    def _mixed(self, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """Each sample's kernel, one below the other: (B·C'·G, C·G, *kernel), and biases (B·C'·G,)."""
        order = self.group.order
        bank = self.weight.view(self.kernels, self.out_channels, -1)  # (K, C', C·G·taps)
        if self.attention == "invariant":  # mixed first, then turned: a mean of kernels costs less than of their copies
            mixed = torch.einsum("bk,kcn->bcn", weights[..., 0].to(bank.dtype), bank)
            mixed = _Gather.apply(mixed.flatten(0, 1), self._table, self._transposed)  # (B·C', G·C·G·taps)
        else:
            turned = _Gather.apply(bank.flatten(0, 1), self._table, self._transposed)
            turned = turned.view(self.kernels, self.out_channels, order, -1)
            mixed = torch.einsum("bkg,kcgn->bcgn", weights.to(turned.dtype), turned)
        kernel = mixed.reshape(-1, self.in_channels * order, *self.kernel_size)
        if self.bias is None:
            return kernel, None
        bias = torch.einsum("bkg,kc->bcg", weights.to(self.bias.dtype), self.bias.view(self.kernels, -1))
        return kernel, bias.expand(-1, -1, order).flatten()

    def export(self) -> nn.Module:
        """As for the static layer; ValueError with more kernels than one, which no plain convolution has."""
        if self.kernels > 1:
            raise ValueError(f"{self.kernels} kernels mixed for each sample are no plain convolution")
        return super().export()

    def macs(self, positions: int) -> int:
        """Multiply-adds for one sample, forward: convolution at so many positions, mean of kernels, attention."""
        order, taps = self.group.order, math.prod(self.kernel_size)
        turned = self.out_channels * order * self.in_channels * order * taps
        if self.kernels == 1:
            return turned * positions
        mixing = self.kernels * turned // (order if self.attention == "invariant" else 1)
        attending = sum(layer.weight.numel() * layer.group.order for layer in (self.squeeze, self.weigh))
        return turned * positions + mixing + attending


class ChannelGate(nn.Module):
    """Attention without mixing: each channel is scaled by a factor from the pooled map, for each sample.

    Source: Hu et al., Squeeze-and-Excitation Networks, CVPR 2018. All orientations of a channel share its
    factor, so the gate is equivariant.   in and out (B, C, G, *S).
    """

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // 4 + 1
        self.squeeze, self.excite = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        for layer in (self.squeeze, self.excite):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        factor = torch.sigmoid(self.excite(F.relu(self.squeeze(x.flatten(2).mean(2)))))  # (B, C)
        return x * factor.view(*factor.shape, *(1,) * (x.ndim - 2))
