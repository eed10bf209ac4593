"""DenseGcnn: a small dense network of group convolutions, static or dynamic.

Source: the P4M-DenseNet of Veeling et al. (arXiv 1806.03962) for patches of lymph nodes: dense blocks of one 3x3
convolution each, transitions of a 1x1 convolution and a mean pool, the mean over orientations and positions at the end,
so that the answer is invariant. Ours: three blocks for patches of 48 pixels, a pool right behind the lifting layer,
transitions that halve the channels.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans.groups import Group
from fewscans.nn.dynamic import ChannelGate, DynamicGroupConv
from fewscans.nn.gconv import GroupBatchNorm, LiftingConv

BLOCKS = 3
COOLED = (30.0, 1.0)  # the softmax temperature at the first update, and behind `anneal` updates


class DenseGcnn(nn.Module):
    """Patch in, one logit out.

    group: a plane group or its name.   width: channels of the lifting layer and of each block's convolution, per
    orientation.   kernels, attention: see `DynamicGroupConv`; 1 is the static network.   gate: a `ChannelGate` behind
    each block's convolution.   noise: attention is fed with normal noise, from generators made of this seed and the
    number of updates.   blind: it is fed with ones.   anneal: updates over which the temperature falls evenly from 30
    to 1; it stays there.
    in (B, in_channels, *patch), out (B,) logits.   Raises ValueError for a group of space and for sides that the pools
    do not halve evenly, where the symmetry would end.
    """

    def __init__(
        self, group, patch=(48, 48), width=8, in_channels=1, kernels=1, attention="invariant", gate=False,
        noise: int | None = None, anneal: int = 1, blind: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.group = group = group if isinstance(group, Group) else Group.named(group)
        self.patch, self.noise, self.anneal = tuple(patch), noise, anneal
        if group.dim != 2 or len(self.patch) != 2 or any(side % 2**BLOCKS for side in self.patch):
            raise ValueError(
                f"a plane group and two sides that {2**BLOCKS} divides are wanted, got {group.name}, {self.patch}"
            )
        dynamic = {"kernels": kernels, "attention": attention, "bias": False}
        self.lift = LiftingConv(group, in_channels, width, 3, bias=False)
        self.lift_norm = GroupBatchNorm(group, width)
        self.norms, self.grow, self.gates = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.transition_norms, self.transitions = nn.ModuleList(), nn.ModuleList()
        channels = width
        for block in range(BLOCKS):
            self.norms.append(GroupBatchNorm(group, channels))
            self.grow.append(DynamicGroupConv(group, channels, width, 3, **dynamic))
            self.gates.append(ChannelGate(width) if gate else nn.Identity())
            channels += width
            self.transition_norms.append(GroupBatchNorm(group, channels))
            if block < BLOCKS - 1:
                self.transitions.append(DynamicGroupConv(group, channels, channels // 2, 1, **dynamic))
                channels //= 2
        self.classifier = nn.Linear(channels, 1)
        self.channels = tuple(layer.out_channels for layer in self.convolutions())
        for layer in self.dynamic():
            layer.blind = blind
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def convolutions(self) -> list[nn.Module]:
        return [self.lift, *self.dynamic()]

    def dynamic(self) -> list[DynamicGroupConv]:
        """The convolutions behind the lifting layer, in their order."""
        found = []
        for block, layer in enumerate(self.grow):
            found += [layer, *self.transitions[block : block + 1]]
        return found

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Uniform Glorot everywhere, drawn from one explicit generator."""
        for layer in (*self.convolutions(), *self.norms, *self.transition_norms, self.lift_norm, *self.gates):
            if isinstance(layer, GroupBatchNorm):
                layer.reset_parameters()
            elif not isinstance(layer, nn.Identity):
                layer.reset_parameters(generator)
        with torch.no_grad():
            bound = math.sqrt(6 / (self.classifier.in_features + 1))
            self.classifier.weight.uniform_(-bound, bound, generator=generator)
            self.classifier.bias.zero_()

    def features(self, x: Tensor) -> Tensor:
        """The last feature map: (B, C, *patch) → (B, C', G, *S), turned as the image is."""
        self._cool()
        x = F.relu(self.lift_norm(_mean_pool(self.lift(x))))
        for block in range(BLOCKS):
            y = self.gates[block](self.grow[block](F.relu(self.norms[block](x))))
            x = F.relu(self.transition_norms[block](torch.cat([x, y], 1)))
            if block < BLOCKS - 1:
                x = _mean_pool(self.transitions[block](x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(2).mean(2)).squeeze(1)

    def _cool(self) -> None:
        """Sets temperature and noise for this pass; a pass in training counts as an update."""
        done, (hot, cold) = min(1.0, int(self.updates) / self.anneal), COOLED
        for place, layer in enumerate(self.dynamic()):
            layer.temperature = hot + (cold - hot) * done
            if self.noise is not None:
                layer.noise = (self.noise * 1_000_003 + int(self.updates)) * 16 + place
        if self.training:
            self.updates += 1

    def convolution_parameters(self) -> int:
        return sum(layer.weight.numel() for layer in self.convolutions())

    def macs(self) -> int:
        """Multiply-adds of convolutions and attention for one patch, forward."""
        positions = math.prod(self.patch)
        total = self.lift.weight.numel() * self.group.order * positions
        for block, layer in enumerate(self.grow):
            positions //= 4
            total += sum(one.macs(positions) for one in (layer, *self.transitions[block : block + 1]))
        return total

    def export(self) -> nn.Module:
        """A copy for prediction."""
        return copy.deepcopy(self).eval()


def _mean_pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x.flatten(1, 2), 2).unflatten(1, x.shape[1:3])
