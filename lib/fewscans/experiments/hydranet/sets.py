"""Sets of scans to train on their sum: which scans stand together, which are black, and what the set's label is.

Source: Dubost et al., Hydranet: Data Augmentation for Regression Neural Networks, MICCAI 2019: an epoch on m scans has
m sets of 4, drawn anew and without replacement; each scan is replaced by a black image (zeros, which hold no lesion)
with probability 0.1, so that a set may sum up fewer scans. Its label is the sum of the labels. We read "without
replacement" as: no scan stands twice in a set.

Two controls remove what the idea rests on: `epoch_sets(fixed=True)` gives the same sets in every epoch, so that no new
combination is ever seen, and `permuted` labels belong to other scans or sets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fewscans import train

BLACK = -1  # stands for a black image among a set's indices
SIZE = 4
P_BLACK = 0.1


def draw_sets(
    n_images: int, n_sets: int, size: int = SIZE, p_black: float = P_BLACK, replacement: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Sets of image indices, -1 where the image is replaced by a black one: (n_sets, size) int64.

    Without replacement no image stands twice in a set, and every choice of `size` images is as likely as another.
    generator: on the CPU; torch's own if none is given.
    Raises ValueError for impossible numbers: too few images for a set without replacement, a probability beyond [0, 1].
    """
    if min(n_images, n_sets, size) < 1:
        raise ValueError(f"sets want at least 1 image, set and place, got {n_images}, {n_sets} and {size}")
    if not replacement and n_images < size:
        raise ValueError(
            f"a set of {size} without replacement wants at least as many images, got {n_images}; "
            "make the sets smaller or draw with replacement"
        )
    if not 0 <= p_black <= 1:
        raise ValueError(f"p_black must be between 0 and 1, got {p_black}")
    if replacement:
        sets = torch.randint(n_images, (n_sets, size), generator=generator)
    else:  # the places of the `size` largest among random numbers; in double precision ties do not happen
        sets = torch.rand(n_sets, n_images, dtype=torch.float64, generator=generator).topk(size).indices
    black = torch.rand(n_sets, size, generator=generator) < p_black
    return sets.masked_fill(black, BLACK)


def epoch_sets(
    n_images: int, n_sets: int, seed: int, epoch: int, size: int = SIZE, p_black: float = P_BLACK,
    replacement: bool = False, fixed: bool = False,
) -> Tensor:  # fmt: skip
    """The sets of one epoch of a run, decided by its seed and the epoch alone: (n_sets, size), as `draw_sets` has them.

    fixed: the sets of epoch 0 in every epoch, black images included (control).
    """
    generator = train.generator(seed, "order", 0 if fixed else epoch)
    return draw_sets(n_images, n_sets, size, p_black, replacement, generator)


def distinct_sets(n_images: int, size: int = SIZE) -> int:
    """How many different sets of 1 to `size` images there are, in any order and without replacement."""
    return sum(math.comb(n_images, k) for k in range(1, size + 1))


def set_images(images: Tensor, sets: Tensor) -> Tensor:
    """The sets' images, zeros where black: images (n, *shape), sets (B, size) → (B, size, *shape)."""
    black = (sets < 0).view(*sets.shape, *(1,) * (images.ndim - 1))
    return images[sets.clamp(min=0)].masked_fill_(black.to(images.device), 0)


def set_labels(labels: Tensor, sets: Tensor) -> Tensor:
    """Sums of the labels of each set's images, black ones counting nothing: labels (n,), sets (B, size) → (B,)."""
    return labels[sets.clamp(min=0)].masked_fill_((sets < 0).to(labels.device), 0).sum(1)


def permuted(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Each label on another owner (control): the scans', once for a run, or the sets', each epoch anew.

    None keeps its own: in a random order, each gives to the next and the last to the first; a lone label stays.
    """
    order = torch.randperm(len(labels), generator=generator)
    return torch.empty_like(labels).scatter_(0, order.to(labels.device), labels[order.roll(1)])
