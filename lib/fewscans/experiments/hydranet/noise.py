"""How noisy the gradient is that one update follows: of four single scans, of one set of the same four, of one scan.

The loss of a set is (Σ r)², with r the residual of a scan, and its gradient 2 Σr Σ∇f; that of single scans the mean of
2 r ∇f. So the residuals and the gradients ∇f of the scans' own outputs, at the network's current weights, give both for
any four scans of a batch. They are computed for all scans of a few batches, and four are then drawn many times.

Noise is the trace of the covariance of one draw's gradient. Signal² is the squared length of the expected gradient of
single scans, from more batches, less what chance adds to it, and at least as much as that: a ratio that is too large to
be measured is given as a lower bound. A set's signal is four times as long, as residuals of centred labels are 0 on
average; so ratios of two of the three numbers do not depend on how well the signal is known.

Batch norm couples the scans of a batch. Here, as in an update, it has the statistics of a whole batch, through which an
output depends on all of its scans, and gradients follow it there; the running statistics do not change.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from fewscans import train
from fewscans.experiments.hydranet import sets
from fewscans.experiments.hydranet.batches import Batches
from fewscans.nn.regressor import BaseRegressor

BATCHES = 48  # the run's first of single scans: the same at each measurement
IN_PARTS = 6  # of them, scan by scan
DRAWS = 1024  # of four scans, from each of these
POINTS = 8  # measurements in a run


def ratios(net: BaseRegressor, batches: Batches) -> dict[str, float]:
    """Noise / signal² at the network's current weights, for single scans and the mean squared error.

    noise_singles: of the mean loss of four single scans.   noise_set: of the loss of one set of the four.
    noise_single: of one scan's loss. The network is left as it is.
    """
    net = copy.deepcopy(net).train()
    residual, slopes, means = [], [], []
    for step in range(BATCHES):
        inputs, target = batches.draw(step)
        x = batches.augmented(inputs.places.flatten(), inputs.decisions)
        with torch.enable_grad(), train.mixed_precision(x.device, batches.half):
            r = net(x).float() - target
            means.append(_gradient(net, r.square().mean()))
            if step < IN_PARTS:
                slopes += [_gradient(net, one) for one in r]
                residual.append(r.detach().double())
    slopes, residual, means = torch.stack(slopes), torch.cat(residual), torch.stack(means).double()
    chance = float(means.var(0).sum()) / len(means)
    signal = max(float(means.mean(0).square().sum()) - chance, chance)
    products = (slopes @ slopes.T).double()  # (m, m) of the m scans
    generator = train.generator(batches.seed, "noise")
    drawn = sets.draw_sets(batches.count, IN_PARTS * DRAWS, sets.SIZE, 0.0, generator=generator)
    drawn += batches.count * (torch.arange(len(drawn)) % IN_PARTS)[:, None]  # (draws, 4)
    drawn = drawn.to(residual.device)
    of_four = residual[drawn]
    weights = residual.new_zeros(len(drawn), len(residual))  # of each scan's ∇f in the gradient
    sums = weights.scatter(1, drawn, 2 * of_four.sum(1, keepdim=True).expand_as(of_four))
    return {
        "noise_singles": _noise(weights.scatter(1, drawn, 2 * of_four / sets.SIZE), products) / signal,
        "noise_set": _noise(sums / sets.SIZE, products) / signal,
        "noise_single": _noise(torch.diag(2 * residual), products) / signal,
    }


def _gradient(net: BaseRegressor, value: Tensor) -> Tensor:
    """By all parameters, (parameters,)."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(net.parameters()), retain_graph=True)])


def _noise(weights: Tensor, products: Tensor) -> float:
    """The trace of the covariance.   weights: (draws, m), of which each gradient is made; products: (m, m)."""
    around = weights - weights.mean(0)
    return float(((around @ products) * around).sum(1).mean())
