"""Mixup and C-Mixup for regression: the peers of training on sums, which blend two scans and their labels into one.

Sources: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018; Yao et al., C-Mixup: Improving
Generalization in Regression, NeurIPS 2022, which draws the second scan by a Gaussian kernel of the labels' distance.
The share of the first scan is Beta(alpha, alpha), drawn for each pair. Decisions are recorded values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """What each of B scans is blended with.

    partner: (B,) indices into the training set.   share: (B,), how much of the scan itself stays.
    """

    partner: Tensor
    share: Tensor


def draw(
    own: Tensor, labels: Tensor, alpha: float, generator: torch.Generator, bandwidth: float | None = None
) -> Pairs:
    """Partners and shares for a batch.

    Args:    own: (B,) indices of the batch in the training set.   labels: (n,) of the whole training set.
             alpha: of the Beta distribution, above 0; small ones blend little.   generator: on the CPU.
             bandwidth: standard deviation of the kernel, in the labels' unit; None (mixup): all are as likely. A scan
             may be its own partner, as in the authors' code, and often is where the bandwidth is small.
    Raises:  ValueError if alpha or the bandwidth is not above 0, or a label is not finite.
    """
    if not alpha > 0 or (bandwidth is not None and not bandwidth > 0):
        raise ValueError(f"alpha and bandwidth must be above 0, got {alpha} and {bandwidth}")
    if not torch.isfinite(labels).all():
        raise ValueError("labels must be finite; one is not")
    if bandwidth is None:
        partner = torch.randint(len(labels), own.shape, generator=generator)
    else:
        partner = torch.multinomial(kernel(own, labels, bandwidth), 1, generator=generator).squeeze(1)
    # torch has no Beta distribution with a generator of one's own, numpy has.
    beta = np.random.default_rng(torch.randint(2**62, (), generator=generator).item())
    share = torch.from_numpy(beta.beta(alpha, alpha, len(own))).to(labels.dtype)
    return Pairs(partner, share)


def kernel(own: Tensor, labels: Tensor, bandwidth: float) -> Tensor:
    """Probability of each partner: exp(-(y - y')² / (2 bandwidth²)), normalised: (B,), (n,) → (B, n) float64."""
    distance = (labels[own].double()[:, None] - labels.double()) / bandwidth
    return torch.softmax(-distance.square() / 2, 1)


def blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """share · first + (1 - share) · second, for scans (B, ...) and labels (B,) alike."""
    share = share.to(first).view(-1, *(1,) * (first.ndim - 1))
    return torch.lerp(second, first, share)
