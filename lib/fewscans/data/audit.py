"""Do two splits share images? Near-duplicates are what a split at random over candidates leaks.

One nodule marked twice gives two patches that show the same, a few pixels apart; a network that has seen the one in
training is not tested by the other. Two blobs of different people can look alike too, so a match is only telling
where it is very close, or where splits that cannot share a scan have far fewer of them. `near_duplicates` compares
patches of LUNA16 so; `across_splits` looks at any set, with its fine detail alone: X-rays of strangers are alike in all
that is coarse.
"""

from dataclasses import dataclass

import numpy as np

from fewscans.data.base import Cases
from fewscans.data.group_splits import fold_of_group
from fewscans.data.luna16_patches import MARGIN_ROWS

SHIFT = 8  # pixels, about 5 mm: marks inside one nodule lie that far apart
ALIKE = 0.9  # correlation of fine detail from which on two pictures are called near-duplicates


@dataclass(frozen=True)
class Matches:
    """The most similar reference patch for each query patch."""

    queries: np.ndarray  # (k,) indices
    references: np.ndarray  # (k,) indices, the best match of each query
    correlation: np.ndarray  # (k,) normalised correlation at the best shift, -1 to 1
    same_scan: np.ndarray  # (k,) bool, whether their candidate rows are near enough to be of one scan

    def above(self, threshold: float = 0.97) -> "Matches":
        """Those more alike than the threshold, the most alike first. At 0.95 strangers match; at 0.97 hardly any do."""
        order = np.argsort(-self.correlation, kind="stable")
        order = order[self.correlation[order] > threshold]
        return Matches(*(values[order] for values in vars(self).values()))

    def __len__(self) -> int:
        return len(self.queries)


def near_duplicates(patches: Cases, repository: bool = False, shift: int = SHIFT) -> Matches:
    """Find for each positive of the test split the most similar positive of the other two.

    Args:    patches: those of LUNA16.   repository: of the source's own, leaky split instead of the scan-disjoint one.
             shift: how far apart two patches of the same thing may be centred, in pixels either way.
    """
    splits = {name: patches.indices(name, repository) for name in ("train", "val", "test")}
    queries, references = splits["test"], np.concatenate([splits["train"], splits["val"]])
    queries, references = queries[patches.target[queries] == 1], references[patches.target[references] == 1]
    best, correlation = nearest(patches.images[queries], patches.images[references], shift)
    row = patches.about["candidate_row"].to_numpy()
    apart = np.abs(row[queries] - row[references[best]])
    return Matches(queries, references[best], correlation, apart < MARGIN_ROWS)


def nearest(queries: np.ndarray, references: np.ndarray, shift: int = SHIFT) -> tuple[np.ndarray, np.ndarray]:
    """Find the reference that correlates best with the centre of each query, over all shifts of up to `shift` pixels.

    Args:    queries: (k, *S) images.   references: (m, *S) images.
    Returns: (k,) indices of the best references; (k,) their normalised correlations.
    Raises:  ValueError if either is empty, or the shift leaves no centre.
    """
    sides = queries.shape[1:]
    if not len(queries) or not len(references):
        raise ValueError(f"{len(queries)} queries and {len(references)} references; both must hold images")
    if shift < 0 or min(sides) - 2 * shift < 2:
        raise ValueError(f"a shift of {shift} pixels leaves no centre of images of side {min(sides)}")

    def part(offset: tuple[int, ...]) -> tuple[slice, ...]:
        return (slice(None), *(slice(o, o + side - 2 * shift) for o, side in zip(offset, sides, strict=True)))

    centre = _standardised(queries[part((shift,) * len(sides))])
    best, correlation = np.zeros(len(queries), np.int64), np.full(len(queries), -np.inf)
    for offset in np.ndindex(*(2 * shift + 1,) * len(sides)):
        similarity = centre @ _standardised(references[part(offset)]).T  # (k, m)
        here = similarity.max(axis=1)
        better = here > correlation
        best[better], correlation[better] = similarity.argmax(axis=1)[better], here[better]
    return best, correlation


@dataclass(frozen=True)
class Shared:
    """Near-duplicates of test pictures in train or val, the most alike first.   asked: how many were looked at."""

    queries: np.ndarray  # (k,) indices
    references: np.ndarray  # (k,) indices
    correlation: np.ndarray  # (k,) of fine detail
    asked: int

    def __len__(self) -> int:
        return len(self.queries)

    def named(self, cases: Cases) -> list[tuple[str, str, float]]:
        """The pairs by the names of their cases."""
        pairs = zip(self.queries, self.references, self.correlation, strict=True)
        return [(str(cases.case[one]), str(cases.case[other]), float(r)) for one, other, r in pairs]


def across_splits(
    cases: Cases, repository: bool = False, threshold: float = ALIKE, most: tuple[int, int] = (400, 4000)
) -> Shared:
    """Test pictures of which train or val has nearly the same: a copy, a neighbouring slice, the same thing shifted.

    Pictures are made coarser, to 24 pixels a side (in space 10 voxels), and freed of what is smooth; each is compared
    with those of its own label, shifted by up to a sixth of its side (in space by one voxel).
    A set without a split is divided by its groups.
    Args:    repository: of the source's own split.   threshold: of the correlation.   most: how many test pictures are
             looked at, of the rarer label first, and how many of the others; drawn at random, always the same ones.
    """
    splits = [cases.indices(name, repository) for name in ("test", "train", "val")]
    if not len(splits[1]) or not len(splits[0]):  # experiments make folds of the groups
        fold = fold_of_group(cases.group, min(5, len(np.unique(cases.group))), 0)
        splits = [np.flatnonzero(fold == 0), np.flatnonzero(fold != 0)]
    rng, few = np.random.default_rng(0), len(np.unique(cases.target)) == 2
    rare = min(np.unique(cases.target), key=lambda v: (cases.target == v).sum()) if few else None
    queries = rng.permutation(splits[0])
    queries = (
        queries[np.argsort(cases.target[queries] != rare, kind="stable")][: most[0]] if few else queries[: most[0]]
    )
    found = []
    for value in np.unique(cases.target) if few else [None]:
        mine, others = (
            i if value is None else i[cases.target[i] == value] for i in (queries, np.concatenate(splits[1:]))
        )
        others = rng.permutation(others)[: most[1]]
        if len(mine) and len(others):
            one, other = (_detail(cases.images[np.sort(i)]) for i in (mine, others))
            best, correlation = nearest(
                one, other, one.shape[1] // 6 if one.ndim == 3 else min(1, min(one.shape[1:]) // 4)
            )
            found.append((np.sort(mine), np.sort(others)[best], correlation))
    query, reference, correlation = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-correlation, kind="stable")
    # where strangers are alike, as shapes of one organ are, duplicates are four times nearer than the usual best match
    order = order[correlation[order] > max(threshold, 1 - (1 - np.median(correlation)) / 4)]
    return Shared(query[order], reference[order], correlation[order], len(queries))


def _detail(images: np.ndarray) -> np.ndarray:
    """Grey pictures made coarse and freed of their means over 5 pixels: (n, *S) float32."""
    import torch
    from torch.nn import functional as F

    x = torch.from_numpy(np.ascontiguousarray(images)).float()
    x = x.mean(-1) if x.ndim == 4 and x.shape[-1] == 3 else x
    flat = x.ndim == 3 or x.shape[1] == 1
    x = x.reshape(len(x), 1, *x.shape[-2:]) if flat else x[:, None]
    shrink, mean = (F.adaptive_avg_pool2d, F.avg_pool2d) if flat else (F.adaptive_avg_pool3d, F.avg_pool3d)
    x = shrink(x, [min(24 if flat else 10, side) for side in x.shape[2:]])
    return (x - mean(x, 5, 1, 2, count_include_pad=False))[:, 0].numpy()


def _standardised(images: np.ndarray) -> np.ndarray:
    """Rows of zero mean and unit length, so that products are correlations; a blank one correlates with nothing."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
