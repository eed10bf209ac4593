"""Group convolutions on the plane and in space: one index table and one convolution call.

Sources: Cohen & Welling, ICML 2016, section 7 (filter transformation as precomputed indexing, then one planar
convolution); Winkels & Cohen, Med. Image Anal. 55 (2019), section 3 (the same in space).

Layout: a feature map on a group has shape (B, C, G, *S); its orientations are flattened into channels, G fastest, for
the one `conv` call. In memory a layer's output follows its input; lifting makes channels-last maps, because
convolution, norm and pool all run faster on them.

The law of every layer is f(h·x) = h·f(x), where (h·y)(position, g) = y(h⁻¹ position, h⁻¹ g) and, for an image,
(h·x)(position) = x(h⁻¹ position). Whatever is learnt per channel (bias, batch norm) is tied over orientations, or the
law breaks as soon as training starts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fewscans.groups import Group


class _Gather(torch.autograd.Function):
    """`source[:, table]` for a matrix, whose gradient is a gather too.

    Every source position is read equally often (once per orientation), so the transposed table is rectangular: the
    gradient is a gather and a sum. Scatter-add, autograd's own choice, is slower and on a GPU not deterministic.
    """

    @staticmethod
    def forward(ctx, source: Tensor, table: Tensor, transposed: Tensor) -> Tensor:
        ctx.save_for_backward(transposed)
        return source.index_select(1, table)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (transposed,) = ctx.saved_tensors  # (G, sources)
        return gradient.index_select(1, transposed.flatten()).unflatten(1, transposed.shape).sum(1), None, None


class _GroupConvolution(nn.Module):
    """What lifting and group convolutions share; their inputs differ in orientations (1 or the group's order)."""

    def __init__(self, group, in_orientations, in_channels, out_channels, kernel_size, padding, bias):
        super().__init__()
        self.group = group if isinstance(group, Group) else Group.named(group)
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"channels must be positive, got {in_channels} in and {out_channels} out")
        self.in_channels, self.out_channels, self.in_orientations = in_channels, out_channels, in_orientations
        dim = self.group.dim
        self.kernel_size = (kernel_size,) * dim if isinstance(kernel_size, int) else tuple(kernel_size)
        self.padding = padding
        taps = torch.from_numpy(self.group.taps(self.kernel_size))  # (G, K)
        if in_orientations > 1:  # W_g[h, t] = W[g⁻¹h, g⁻¹t]
            turned = torch.from_numpy(self.group.product[self.group.inverse])  # (G, G): index of g⁻¹h
            taps = (turned[:, :, None] * taps.shape[1] + taps[:, None, :]).flatten(1)  # (G, G·K)
        # one table for all input channels, so that the gather writes the kernels in the convolution's order
        table = (torch.arange(in_channels)[:, None] * taps.shape[1] + taps[:, None, :]).flatten()  # (G·C·G_in·K,)
        # the transposed table: where each source position was copied to, once per orientation
        transposed = torch.argsort(table, stable=True).view(-1, self.group.order).t().contiguous()  # (G, C·G_in·K)
        self.register_buffer("_table", table, persistent=False)
        self.register_buffer("_transposed", transposed, persistent=False)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, in_orientations, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self._expanded: tuple[tuple, Tensor, Tensor | None] | None = None
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Uniform Glorot, as in the paper, with the fans of the expanded convolution; biases zero."""
        taps = math.prod(self.kernel_size)
        fan_in, fan_out = self.in_channels * self.in_orientations * taps, self.out_channels * self.group.order * taps
        bound = math.sqrt(6 / (fan_in + fan_out))
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            if self.bias is not None:
                self.bias.zero_()

    def expanded_weight(self) -> Tensor:
        """The plain convolution's weight: (C'·G, C·G_in, *kernel)."""
        expanded = _Gather.apply(self.weight.flatten(1), self._table, self._transposed)  # (C', G·C·G_in·K)
        channels = self.out_channels * self.group.order, self.in_channels * self.in_orientations
        return expanded.view(*channels, *self.kernel_size)

    def expanded_bias(self) -> Tensor | None:
        """The plain convolution's bias, one value per channel, tied over orientations: (C'·G,)."""
        return None if self.bias is None else self.bias.repeat_interleave(self.group.order)

    def train(self, mode: bool = True):
        self._expanded = None
        return super().train(mode)

    def _weight_and_bias(self) -> tuple[Tensor, Tensor | None]:
        if self.training or torch.is_grad_enabled():
            self._expanded = None
            return self.expanded_weight(), self.expanded_bias()
        parameters = [self.weight] if self.bias is None else [self.weight, self.bias]
        version = tuple((p._version, p.data_ptr(), p.device, p.dtype) for p in parameters)
        if self._expanded is None or self._expanded[0] != version:
            self._expanded = (version, self.expanded_weight(), self.expanded_bias())
        return self._expanded[1:]

    def _convolve(self, x: Tensor) -> Tensor:
        """(B, C·G_in, *S) → (B, C', G, *S)."""
        weight, bias = self._weight_and_bias()
        convolve = F.conv2d if self.group.dim == 2 else F.conv3d
        return convolve(x, weight, bias, padding=self.padding).unflatten(1, (self.out_channels, self.group.order))

    def export(self) -> nn.Module:
        """A plain `nn.Conv2d` or `nn.Conv3d` on (B, C·G_in, *S) with the same output, for deployment."""
        kind = nn.Conv2d if self.group.dim == 2 else nn.Conv3d
        weight = self.expanded_weight().detach()
        has_bias = self.bias is not None
        plain = kind(weight.shape[1], weight.shape[0], self.kernel_size, padding=self.padding, bias=has_bias)
        plain = plain.to(weight.device, weight.dtype)
        with torch.no_grad():
            plain.weight.copy_(weight)
            if has_bias:
                plain.bias.copy_(self.expanded_bias())
        return plain

    def extra_repr(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{self.group.name}, {sizes}, padding={self.padding!r}"

    def _check(self, x: Tensor, lead: int) -> None:
        if x.ndim != lead + self.group.dim or x.shape[1] != self.in_channels:
            axes = "(B, C, *S)" if lead == 2 else "(B, C, G, *S)"
            raise ValueError(
                f"{type(self).__name__}({self.group.name}) wants {axes} with C = {self.in_channels} and "
                f"{self.group.dim} spatial axes, got {tuple(x.shape)}"
            )


class LiftingConv(_GroupConvolution):
    """From an image to a feature map on the group: each kernel is applied in every orientation.

    group: a `Group` or its name.   kernel_size: odd, a number or one per axis.   padding: "same", "valid" or a number.
    in (B, C, *S), out (B, C', G, *S').   Raises ValueError for an even kernel size or a wrong input shape.
    """

    def __init__(self, group, in_channels, out_channels, kernel_size, padding="same", bias=True):
        super().__init__(group, 1, in_channels, out_channels, kernel_size, padding, bias)

    def expanded_weight(self) -> Tensor:
        # copied to channels-last strides even for one channel, where torch would call it channels-last as it is
        weight = super().expanded_weight().movedim(1, -1)
        return weight.clone(memory_format=torch.contiguous_format).movedim(-1, 1)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, 2)
        return self._convolve(x)


class GroupConv(_GroupConvolution):
    """From one feature map on the group to the next: kernels are turned in space and their orientations permuted along.

    Arguments as for `LiftingConv`.   in (B, C, G, *S), out (B, C', G, *S').
    """

    def __init__(self, group, in_channels, out_channels, kernel_size, padding="same", bias=True):
        group = group if isinstance(group, Group) else Group.named(group)
        super().__init__(group, group.order, in_channels, out_channels, kernel_size, padding, bias)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, 3)
        if x.shape[2] != self.group.order:
            raise ValueError(f"GroupConv({self.group.name}) wants {self.group.order} orientations, got {x.shape[2]}")
        return self._convolve(x.flatten(1, 2))


class _TiedNorm(torch.autograd.Function):
    """Batch norm of (B, C·G, *S) by given batch moments (C,), with the gradient through these moments.

    `F.batch_norm` on a view (B, C, G·S) computes the same, but only after a copy into another memory layout.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        tied = [v.repeat_interleave(x.shape[1] // len(v)) for v in (mean, var, weight, bias)]  # (C·G,) each
        ctx.save_for_backward(x, weight, *tied[:3])
        ctx.eps = eps
        return F.batch_norm(x, *tied, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight, mean, var, tied_weight = ctx.saved_tensors
        order, count = len(mean) // len(weight), x.numel() // len(weight)
        inverse = torch.rsqrt(var + ctx.eps)
        # scale·gradient, Σ gradient·x̂ and Σ gradient. CUDA reads the saved mean and inverse, a CPU the moments.
        scaled, per_orientation, shifts = torch.ops.aten.native_batch_norm_backward(
            gradient, x, tied_weight, mean, var, mean, inverse, False, ctx.eps, [True, True, True]
        )
        d_weight, d_bias = (v.unflatten(0, (-1, order)).sum(1) for v in (per_orientation, shifts))
        # dx = scale·(gradient - mean(gradient) - x̂·mean(gradient·x̂)), written as scale·gradient + a·x + b; the norm
        # of moments 0 and 1 is the one kernel that makes a·x + b of half precision in one pass
        scale = tied_weight * inverse
        a = -scale * inverse * d_weight.repeat_interleave(order) / count
        b = -scale * d_bias.repeat_interleave(order) / count - a * mean
        line = F.batch_norm(x, torch.zeros_like(a), torch.ones_like(a), a, b, False, 0.0, 0.0)
        return scaled.add_(line), d_weight, d_bias, None, None, None


class GroupBatchNorm(nn.Module):
    """Batch norm whose statistics, scale and shift are shared by all orientations of a channel.

    in and out (B, C, G, *S). Statistics run over batch, orientations and positions; an untied norm would break the law.
    Raises ValueError in training if a channel has a single value, whose variance is not defined.
    """

    def __init__(self, group, channels: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.group = group if isinstance(group, Group) else Group.named(group)
        self.channels, self.eps, self.momentum = channels, eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.weight.fill_(1)
            self.bias.zero_()
            self.running_mean.zero_()
            self.running_var.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 3 + self.group.dim or x.shape[1:3] != (self.channels, self.group.order):
            raise ValueError(
                f"GroupBatchNorm({self.group.name}) wants (B, C, G, *S) with C = {self.channels}, "
                f"G = {self.group.order} and {self.group.dim} spatial axes, got {tuple(x.shape)}"
            )
        flat = x.flatten(1, 2)  # (B, C·G, *S): what lies channels-last stays so
        if len(x) == 1:  # torch's norm may misread the strides of a lone channels-last sample, not those of a flat one
            flat = flat.flatten(2)
        if self.training:
            flat = _TiedNorm.apply(flat, self.weight, self.bias, *self._batch_moments(flat), self.eps)
        else:
            tied = (self.running_mean, self.running_var, self.weight, self.bias)
            flat = F.batch_norm(flat, *(v.repeat_interleave(self.group.order) for v in tied), False, 0.0, self.eps)
        return flat.reshape(x.shape)

    @torch.no_grad()
    def _batch_moments(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) of this batch over orientations too; moves the running ones towards them."""
        count = flat.numel() // self.channels
        if count < 2:
            raise ValueError(f"batch norm in training wants more than one value per channel, got {tuple(flat.shape)}")
        if flat.dtype in (torch.bfloat16, torch.float16):
            flat = flat.float()
        means, variances = (v.view(-1, self.group.order) for v in torch.batch_norm_update_stats(flat, None, None, 0.0))
        mean = means.mean(1)
        var = (variances + (means - mean[:, None]).square()).mean(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum)  # unbiased, as in nn.BatchNorm
        return mean, var

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """What the norm does once training is over: (C,) scale and (C,) shift."""
        scale = self.weight / torch.sqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale


class GroupPool(nn.Module):
    """Pools over orientations: the result turns with the image but no longer permutes.

    in (B, C, G, *S), out (B, C, *S).
    """

    def __init__(self, reduce: str = "max"):
        super().__init__()
        if reduce not in ("max", "mean"):
            raise ValueError(f"reduce must be 'max' or 'mean', got {reduce!r}")
        self.reduce = reduce

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(2) if self.reduce == "max" else x.mean(2)


def act_on_image(group: Group, element: int, x: Tensor) -> Tensor:
    """(h·x)(position) = x(h⁻¹ position): an image (..., *S) turned by one element about its centre, exactly.

    The last `group.dim` axes are turned; sizes that the element exchanges are exchanged in the result.
    """
    matrix = group.elements[element]
    axes = list(range(x.ndim - group.dim, x.ndim))
    # output axis a runs along input axis s with sign matrix[a, s]
    sources = [int(abs(row).argmax()) for row in matrix]
    x = x.permute(*range(x.ndim - group.dim), *(axes[s] for s in sources))
    flips = [axes[a] for a, s in enumerate(sources) if matrix[a, s] < 0]
    return x.flip(flips) if flips else x


def act_on_features(group: Group, element: int, y: Tensor) -> Tensor:
    """(h·y)(position, g) = y(h⁻¹ position, h⁻¹ g) for a feature map (B, C, G, *S)."""
    orientations = torch.from_numpy(group.product[group.inverse[element]])  # h⁻¹g for each g
    return act_on_image(group, element, y.index_select(2, orientations.to(y.device)))
