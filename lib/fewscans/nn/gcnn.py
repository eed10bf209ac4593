"""NoduleNet: the G-CNN of Winkels & Cohen for candidate patches, in space and on the plane.

Source: Winkels & Cohen, Med. Image Anal. 55 (2019), section 4.2 and figure 5: six blocks of 3x3x3 convolution, batch
norm and ReLU, max-pools after the first, third and fifth, then everything flattened into one fully connected layer. The
paper ends in two logits and a softmax; one logit and a sigmoid are the same model and half the last layer.

For any group the channels of the plain network are divided by sqrt(order) and rounded, which keeps the convolutions'
parameters about equal ("equal parameters"); divided by the order, the convolutions' cost stays equal ("equal compute").
Convolutions carry no bias, as the batch norm behind them has one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans.groups import Group
from fewscans.nn.gconv import GroupBatchNorm, GroupConv, GroupPool, LiftingConv

_WIDTHS = (1, 1, 2, 2, 4, 4)  # channels of the six convolutions, in units of `width`
HEADS = ("paper", "invariant")
BUDGETS = ("parameters", "compute")


def scaled_channels(width: int, group: Group, budget: str = "parameters") -> tuple[int, ...]:
    """Channels per orientation of the six convolutions: C / sqrt(order) or, at equal compute, C / order.

    Rounded, at least 1. Raises ValueError for an unknown budget.
    """
    if budget not in BUDGETS:
        raise ValueError(f"budget must be one of {BUDGETS}, got {budget!r}")
    divisor = math.sqrt(group.order) if budget == "parameters" else group.order
    return tuple(max(1, round(width * w / divisor)) for w in _WIDTHS)


class NoduleNet(nn.Module):
    """Candidate patch in, one logit out.

    group: a `Group` or its name; a plane group takes patches (H, W), a space group (D, H, W).   width: channels of the
    plain network's first layer (16 in the paper).   head: "paper" flattens every orientation and position into the last
    layer, so the network may prefer some orientations; "invariant" pools over orientations (max) and positions (mean)
    first.   budget: see `scaled_channels`.   channels: overrides the six widths per orientation.   pools: windows
    of the three max-pools, 1 along an axis that is kept; by default the paper's, 2 but for z in the first, as its
    voxels are 1.25 mm apart in z and 0.5 mm in y and x. A pool that treats z apart ends the equivariance under O and
    Oh, and one that meets an odd size ends it under every group that mirrors or turns that axis.
    in_channels: of the images, 3 in colour.
    in (B, in_channels, *patch), out (B,) logits.   Raises ValueError for a patch with the wrong number of axes or one
    the pools reduce to nothing, for an unknown head, and for pools that do not fit.
    """

    def __init__(
        self, group, patch=(12, 72, 72), width=16, head="paper", budget="parameters", channels=None, pools=None,
        in_channels=1,
    ):  # fmt: skip
        super().__init__()
        self.group = group = group if isinstance(group, Group) else Group.named(group)
        self.patch = tuple(int(size) for size in patch)
        if len(self.patch) != group.dim:
            raise ValueError(f"{group.name} wants a patch with {group.dim} sizes, got {self.patch}")
        if head not in HEADS:
            raise ValueError(f"head must be one of {HEADS}, got {head!r}")
        self.head = head
        self.channels = tuple(channels) if channels is not None else scaled_channels(width, group, budget)
        if len(self.channels) != len(_WIDTHS):
            raise ValueError(f"six convolutions want six channel numbers, got {self.channels}")
        if pools is None:
            pools = [window[-group.dim :] for window in ((1, 2, 2), (2, 2, 2), (2, 2, 2))]
        if len(pools) != 3 or any(len(window) != group.dim or min(window) < 1 for window in pools):
            raise ValueError(f"pools must be three windows of {group.dim} sizes of at least 1, got {pools}")
        self.pools = [None] * 6
        self.pools[::2] = [None if set(window) == {1} else tuple(window) for window in pools]
        self.in_channels = in_channels
        convolutions = [LiftingConv(group, in_channels, self.channels[0], 3, bias=False)]
        convolutions += [
            GroupConv(group, a, b, 3, bias=False) for a, b in zip(self.channels, self.channels[1:], strict=False)
        ]
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(GroupBatchNorm(group, c) for c in self.channels)
        sizes = self.feature_sizes()
        if min(sizes[-1]) < 1:
            raise ValueError(f"a patch of {self.patch} is pooled to {sizes[-1]}; every size must stay at least 1")
        features = self.channels[-1] * (group.order * math.prod(sizes[-1]) if head == "paper" else 1)
        self.orientation_pool = GroupPool("max") if head == "invariant" else None
        self.classifier = nn.Linear(features, 1)

    def feature_sizes(self) -> list[tuple[int, ...]]:
        """Spatial size of each convolution's output, and last the size behind the last pool.

        Odd sizes at a pool end equivariance.
        """
        sizes = [self.patch]
        for pool in self.pools:
            sizes.append(sizes[-1] if pool is None else tuple(s // p for s, p in zip(sizes[-1], pool, strict=True)))
        return sizes

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Uniform Glorot everywhere, as in the paper, drawn from one explicit generator."""
        for convolution in self.convolutions:
            convolution.reset_parameters(generator)
        for norm in self.norms:
            norm.reset_parameters()
        with torch.no_grad():
            bound = math.sqrt(6 / (self.classifier.in_features + 1))
            self.classifier.weight.uniform_(-bound, bound, generator=generator)
            self.classifier.bias.zero_()

    def features(self, x: Tensor) -> Tensor:
        """The last feature map, equivariant as far as the pools allow: (B, in_channels, *patch) → (B, C, G, *S)."""
        if x.ndim != 2 + self.group.dim or tuple(x.shape[1:]) != (self.in_channels, *self.patch):
            raise ValueError(
                f"NoduleNet wants (B, {self.in_channels}, {', '.join(map(str, self.patch))}), got {tuple(x.shape)}"
            )
        max_pool = F.max_pool2d if self.group.dim == 2 else F.max_pool3d
        for convolution, norm, pool in zip(self.convolutions, self.norms, self.pools, strict=True):
            x = norm(convolution(x))  # (B, C, G, *S)
            if pool is not None:  # before the ReLU, which commutes with a maximum: fewer values to clip, same output
                channels = x.shape[1:3]
                x = max_pool(x.flatten(1, 2), pool).unflatten(1, channels)
            x = F.relu(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        if self.orientation_pool is not None:
            y = self.orientation_pool(y).flatten(2).mean(2)  # (B, C)
        return self.classifier(y.flatten(1)).squeeze(1)

    def convolution_parameters(self) -> int:
        """Weights of the convolutions alone: what "equal parameters" means in the paper."""
        return sum(convolution.weight.numel() for convolution in self.convolutions)

    def macs(self) -> int:
        """Multiply-adds of the convolutions for one patch, forward."""
        total, incoming = 0, self.in_channels
        for channels, size in zip(self.channels, self.feature_sizes(), strict=False):
            outgoing = channels * self.group.order
            total += incoming * outgoing * 3**self.group.dim * math.prod(size)
            incoming = outgoing
        return total

    def export(self) -> nn.Module:
        """The trained network as plain convolutions, norms and pools, for deployment; evaluation only.

        in (B, 1, *patch), out (B,).
        """
        return _Exported(self)


class _Exported(nn.Module):
    """Plain convolutions with each norm folded in as scale and shift; no group code runs."""

    def __init__(self, net: NoduleNet):
        super().__init__()
        stages: list[nn.Module] = []
        plain_pool = nn.MaxPool2d if net.group.dim == 2 else nn.MaxPool3d
        for convolution, norm, pool in zip(net.convolutions, net.norms, net.pools, strict=True):
            plain = convolution.export()
            scale, shift = (v.detach().repeat_interleave(net.group.order) for v in norm.scale_and_shift())
            plain.weight.data *= scale.view(-1, *(1,) * (net.group.dim + 1))
            plain.bias = nn.Parameter(shift)
            stages += [plain] + ([] if pool is None else [plain_pool(pool)]) + [nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.orientations = net.group.order if net.head == "invariant" else 0
        self.classifier = nn.Linear(net.classifier.in_features, 1, device=net.classifier.weight.device)
        self.classifier.load_state_dict(net.classifier.state_dict())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        y = self.stages(x)
        if self.orientations:
            y = y.unflatten(1, (-1, self.orientations)).amax(2).flatten(2).mean(2)
        return self.classifier(y.flatten(1)).squeeze(1)
