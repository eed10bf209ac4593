"""Do two splits share images? Near-duplicates are what a split at random over candidates leaks.

One nodule marked twice gives two patches that show the same, a few pixels apart; a network that has seen the one in
training is not tested by the other. Two blobs of different people can look alike too, so a match is only telling
where it is very close, or where splits that cannot share a scan have far fewer of them.
"""

from dataclasses import dataclass

import numpy as np

from fewscans.data.base import Cases
from fewscans.data.luna16_patches import MARGIN_ROWS

SHIFT = 8  # pixels, about 5 mm: marks inside one nodule lie that far apart


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

    Args:    queries: (k, s, s) images.   references: (m, s, s) images.
    Returns: (k,) indices of the best references; (k,) their normalised correlations.
    Raises:  ValueError if either is empty, or the shift leaves no centre.
    """
    side = queries.shape[-1]
    window = side - 2 * shift
    if not len(queries) or not len(references):
        raise ValueError(f"{len(queries)} queries and {len(references)} references; both must hold images")
    if shift < 0 or window < 2:
        raise ValueError(f"a shift of {shift} pixels leaves no centre of images of side {side}")
    centre = _standardised(queries[:, shift : shift + window, shift : shift + window])
    best, correlation = np.zeros(len(queries), np.int64), np.full(len(queries), -np.inf)
    for y in range(2 * shift + 1):
        for x in range(2 * shift + 1):
            similarity = centre @ _standardised(references[:, y : y + window, x : x + window]).T  # (k, m)
            here = similarity.max(axis=1)
            better = here > correlation
            best[better], correlation[better] = similarity.argmax(axis=1)[better], here[better]
    return best, correlation


def _standardised(images: np.ndarray) -> np.ndarray:
    """Rows of zero mean and unit length, so that products are correlations; a blank one correlates with nothing."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
