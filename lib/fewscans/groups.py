"""The finite rotation and reflection groups of the square and the cube, as integer matrices with their product table.

Sources: Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016 (p4, p4m); Winkels & Cohen, Pulmonary
nodule detection in CT scans with equivariant CNNs, Med. Image Anal. 55 (2019), section 3.1 (D4, D4h, O, Oh).

A matrix acts on a column vector of offsets in tensor-axis order, (y, x) or (z, y, x). Everything that a layer needs of
a group is an index table, so nothing here knows about networks; the plane and space differ by the length of a vector
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

_TURN = [[0, -1], [1, 0]]  # a quarter turn of the last two axes
_FLIP_X = [[1, 0], [0, -1]]


def _on_yx(matrix: list[list[int]]) -> list[list[int]]:
    """The 3D matrix that leaves z alone and acts on (y, x)."""
    return [[1, 0, 0], [0, *matrix[0]], [0, *matrix[1]]]


_TURN_Z = _on_yx(_TURN)
_HALF_TURN_X = [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]  # 180 degrees about x: z and y change sign
_TURN_X = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]  # a quarter turn about x
_INVERSION = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]

# name: (dimension, generators, order)
_GROUPS: dict[str, tuple[int, list[list[list[int]]], int]] = {
    "Z2": (2, [], 1),
    "p4": (2, [_TURN], 4),
    "p4m": (2, [_TURN, _FLIP_X], 8),
    "Z3": (3, [], 1),
    "D4": (3, [_TURN_Z, _HALF_TURN_X], 8),
    "D4h": (3, [_TURN_Z, _HALF_TURN_X, _INVERSION], 16),
    "O": (3, [_TURN_Z, _TURN_X], 24),
    "Oh": (3, [_TURN_Z, _TURN_X, _INVERSION], 48),
}
NAMES = tuple(_GROUPS)


@dataclass(frozen=True, eq=False)
class Group:
    """A finite group of rotations and reflections that map the square or the cube onto itself.

    name: one of `NAMES`.   elements: (order, dim, dim) integer matrices on column vectors in tensor-axis order;
    elements[0] is the identity, rotations come before reflections.   inverse: (order,) index of each element's inverse.
    product: (order, order), product[i, j] is the index of elements[i] @ elements[j].   sham_seed: see `sham`.
    """

    name: str
    elements: np.ndarray
    sham_seed: int | None = None

    @staticmethod
    def named(name: str) -> Group:
        """The group of that name: "Z2" "p4" "p4m" on the plane, "Z3" "D4" "D4h" "O" "Oh" in space.

        D4 and D4h turn about z. Raises ValueError for any other name.
        """
        if name not in _GROUPS:
            raise ValueError(f"unknown group {name!r}; known groups are {', '.join(NAMES)}")
        return _named(name)

    def sham(self, seed: int) -> Group:
        """A control: the same order and product table, but each element scrambles the kernel's taps at random.

        A layer over it has the same parameters, cost and weight sharing as one over the true group, without its
        geometry.
        """
        return Group(f"{self.name}-sham", self.elements, sham_seed=seed)

    @property
    def order(self) -> int:
        return len(self.elements)

    @property
    def dim(self) -> int:
        return self.elements.shape[1]

    @cached_property
    def product(self) -> np.ndarray:
        index = {element.tobytes(): i for i, element in enumerate(self.elements)}
        table = np.einsum("iab,jbc->ijac", self.elements, self.elements)
        return np.array([[index[np.ascontiguousarray(m).tobytes()] for m in row] for row in table])

    @cached_property
    def inverse(self) -> np.ndarray:
        return np.argmax(self.product == 0, axis=1)

    def taps(self, kernel_size: tuple[int, ...]) -> np.ndarray:
        """Where each tap of a kernel turned by g comes from: (order, taps), taps[g, t] is the flat index of g⁻¹ t.

        kernel_size: odd, one number per axis, and unchanged by every element (a 1x3x3 kernel suits D4, not O).
        Raises ValueError otherwise.
        """
        kernel_size = tuple(int(k) for k in kernel_size)
        if len(kernel_size) != self.dim:
            raise ValueError(f"{self.name} acts on {self.dim} axes, the kernel {kernel_size} has {len(kernel_size)}")
        if any(k < 1 or k % 2 == 0 for k in kernel_size):
            raise ValueError(f"kernel size {kernel_size}: every size must be odd, or a turned kernel has no centre")
        for element in self.elements:
            if not np.array_equal(np.abs(element) @ kernel_size, kernel_size):
                raise ValueError(
                    f"kernel size {kernel_size} changes shape under {self.name}; the sizes it mixes must be equal"
                )
        count = int(np.prod(kernel_size))
        if self.sham_seed is not None:
            random = np.random.default_rng(self.sham_seed)
            return np.stack([np.arange(count)] + [random.permutation(count) for _ in range(self.order - 1)])
        half = np.array(kernel_size) // 2
        offsets = np.array(list(product(*(range(k) for k in kernel_size)))) - half  # (taps, dim)
        sources = np.einsum("gab,tb->gta", self.elements[self.inverse], offsets) + half  # (order, taps, dim)
        return np.ravel_multi_index(tuple(np.moveaxis(sources, -1, 0)), kernel_size)


@lru_cache
def _named(name: str) -> Group:
    dim, generators, order = _GROUPS[name]
    found = {np.eye(dim, dtype=np.int64).tobytes(): np.eye(dim, dtype=np.int64)}
    frontier = list(found.values())
    while frontier:
        candidates = [np.array(g, dtype=np.int64) @ element for element in frontier for g in generators]
        frontier = []
        for candidate in candidates:
            if candidate.tobytes() not in found:
                found[candidate.tobytes()] = candidate
                frontier.append(candidate)
    # identity first, then rotations, then reflections, each in a fixed order
    elements = sorted(
        found.values(), key=lambda m: (not np.array_equal(m, np.eye(dim)), round(np.linalg.det(m)) < 0, m.tolist())
    )
    assert len(elements) == order
    stacked = np.stack(elements)
    stacked.setflags(write=False)
    return Group(name, stacked)
