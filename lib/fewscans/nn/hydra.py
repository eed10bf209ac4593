"""Hydranet: training on sums over sets of scans, in both forms that its paper describes.

Source: Dubost et al., Hydranet: Data Augmentation for Regression Neural Networks, MICCAI 2019, section 2.2. The base
regressor f is repeated in parallel branches that share their weights, and the loss compares the sum of their outputs
with the sum of the scans' labels: loss(Σ f(x), Σ y), which is not Σ loss(f(x), y).

`Hydra` is the branched network that the paper built. `streamed_step` is the other implementation, which the paper
recommends for large images and did not build: a set's images pass one after another through the base regressor, and
memory does not grow with the set. Both have the same gradients.

At inference the paper removes all branches but one (figure 2), or feeds the others with zero images (section 2.2). The
former is the base regressor itself, which is what predicts here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


class Hydra(nn.Module):
    """Parallel branches of one base regressor: in (B, n, 1, D, H, W) with n <= branches, out (B,), the sum over n.

    base: (B, 1, D, H, W) → (B,); it holds all parameters. Which images are black is the sampler's doing: `forward`
    treats a zero image as any other, and a set of fewer images as one whose other branches are removed.
    Raises ValueError if branches is below 1.
    """

    def __init__(self, base: nn.Module, branches: int = 4):
        super().__init__()
        if branches < 1:
            raise ValueError(f"Hydra wants at least 1 branch, got {branches}")
        self.base = base
        self.branches = branches

    def forward(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        """seeds: (B, n), one for each image's dropout masks, as `BaseRegressor` wants them.

        Raises ValueError for a set of no images or of more than there are branches, and for seeds that do not fit.
        """
        if x.ndim != 6 or not 1 <= x.shape[1] <= self.branches:
            raise ValueError(f"Hydra wants (B, n, 1, D, H, W) with n of 1 to {self.branches}, got {tuple(x.shape)}")
        if seeds is not None:
            if tuple(seeds.shape) != tuple(x.shape[:2]):
                raise ValueError(f"seeds must be {tuple(x.shape[:2])}, one an image, got {tuple(seeds.shape)}")
            return self.base(x.flatten(0, 1), seeds.flatten()).view(x.shape[:2]).sum(1)
        return self.base(x.flatten(0, 1)).view(x.shape[:2]).sum(1)  # (B n,) → (B, n) → (B,)


def streamed_step(
    base: nn.Module,
    image: Callable[[int], Tensor],
    sets: Tensor,
    labels: Tensor,
    loss: Loss,
    size: Sequence[int],
    seeds: Tensor | None = None,
    at_once: int = 1,
) -> Tensor:
    """Adds the gradients of a batch of sets to the base's parameters, holding the graph of `at_once` images at a time.

    A first pass without graph sums the predictions of each set; the loss's derivative at those sums is then the factor
    with which, in a second pass, each image's own prediction is followed backwards. Costs a forward pass more than the
    branched network. An image that stands in several places with the same masks, as black ones do, passes once.

    Args:    base: (B, 1, D, H, W) → (B,), each image on its own: nothing may depend on the others, as batch norm does.
             image: index → (1, D, H, W); called once in each pass, it must give the same image both times.
             sets: (B, n) indices, -1 for a black image.   labels: (B,) of the sets.   size: (D, H, W) of the images.
             loss: (predictions (B,), labels (B,)) → scalar.   seeds: (B, n), as `Hydra.forward` has them.
             at_once: how many images share a pass: memory for them, less time where images are small.
    Returns: the loss, a scalar without graph.
    Raises:  ValueError if sets, labels, seeds or an image do not fit one another, or at_once is below 1.
    """
    if sets.ndim != 2 or tuple(labels.shape) != (len(sets),):
        raise ValueError(f"sets must be (B, n) and labels (B,), got {tuple(sets.shape)} and {tuple(labels.shape)}")
    if seeds is not None and seeds.shape != sets.shape:
        raise ValueError(f"seeds must be {tuple(sets.shape)}, one an image, got {tuple(seeds.shape)}")
    if at_once < 1:
        raise ValueError(f"at_once must be at least 1 image, got {at_once}")
    weight = next(base.parameters())
    stands = torch.stack([sets, torch.zeros_like(sets) if seeds is None else seeds.to(sets)], -1).cpu()
    # What passes through the network, (k, 2) image and seed, and how often it stands in each set, (B, k).
    passing, where = stands.flatten(0, 1).unique(dim=0, return_inverse=True)
    times = F.one_hot(where.view(sets.shape), len(passing)).sum(1).to(weight)
    parts = torch.arange(len(passing)).split(at_once)

    def outputs(part: Tensor) -> Tensor:
        x = torch.stack([_checked(image, index, size) for index in passing[part, 0].tolist()])
        x = x.to(weight)  # (at_once, 1, D, H, W)
        y = base(x) if seeds is None else base(x, passing[part, 1])
        return y.to(weight.dtype)  # in mixed precision too, sums are full

    with torch.no_grad():
        sums = times @ torch.cat([outputs(part) for part in parts])  # (B,)
    with torch.enable_grad():
        value = loss(sums.requires_grad_(), labels.to(weight.device))
        (slope,) = torch.autograd.grad(value, sums)
        for part in parts:
            outputs(part).backward(slope @ times[:, part])
    return value.detach()


def _checked(image: Callable[[int], Tensor], index: int, size: Sequence[int]) -> Tensor:
    """One image, black for -1: (1, D, H, W). Raises ValueError if it has another form."""
    x = image(index) if index >= 0 else torch.zeros(1, *size)
    if tuple(x.shape) != (1, *size):
        raise ValueError(f"image {index} must be (1, {', '.join(map(str, size))}), got {tuple(x.shape)}")
    return x
