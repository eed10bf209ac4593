"""Trees of vessels and airways that fill a lung: they divide, taper and bend, and run in every direction.

A tree is grown towards points strewn over the lung. At each level the points of a branch are parted into two halves
along their longest extent, and each half draws a branch of its own. Radii follow the number of points still to be
reached, as in Murray's law: flow goes with a power of the radius, here the one that leads from the trunk's radius to
the tips'. All branches of one level are grown at once.
"""

from dataclasses import dataclass

import numpy as np

from fewscans.twins.space import directions

PIECES = 3  # straight pieces a branch is bent from


@dataclass(frozen=True)
class Tree:
    """Straight pieces of vessel, and what is worth a second look along them.

    start, end: (n, 3) mm.   radius, far_radius: (n,) mm.   forks: (m, 3) where it divides.   fork_radius: (m,).
    bends: (k, 3) the middles of curved branches.   bend_radius: (k,).   tips: (t, 3) where it ends.   tip_radius: (t,).
    """

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray
    far_radius: np.ndarray
    forks: np.ndarray
    fork_radius: np.ndarray
    bends: np.ndarray
    bend_radius: np.ndarray
    tips: np.ndarray
    tip_radius: np.ndarray


def grow(root: np.ndarray, heading: np.ndarray, targets: np.ndarray, trunk: float, tip: float, rng) -> Tree:
    """A tree from `root`, (3,) mm, setting out along `heading`, to `targets`, (2^k, 3) mm, k ≥ 1.

    trunk, tip: mm, radius of its first branch and about that of its last ones.
    """
    levels = int(np.log2(len(targets)))
    if len(targets) != 2**levels or levels < 1:
        raise ValueError(f"a tree is grown towards 2, 4, 8, ... targets, not {len(targets)}")
    flow = rng.lognormal(0, 0.8, len(targets))  # uneven, so that forks are
    origin, ahead = np.asarray(root, float)[None], np.asarray(heading, float)[None]
    power = np.log(trunk / tip) / np.log(flow.sum())
    entering = np.array([trunk])
    groups = np.arange(len(targets))[None]  # (branches, targets of each)
    lines, radii, curved, ends, end_radii = [], [], [], [], []
    for level in range(levels + 1):
        points = targets[groups]  # (b, t, 3)
        goal = points.mean(axis=1)
        share = rng.uniform(0.3, 0.6, len(groups))[:, None] if level < levels else 1.0
        stop = origin + share * (goal - origin)
        length = np.linalg.norm(stop - origin, axis=1, keepdims=True)
        bow = origin + ahead * length * rng.uniform(0.15, 0.4, (len(groups), 1))
        bow = bow + 0.07 * length * rng.standard_normal(bow.shape)
        t = np.linspace(0, 1, PIECES + 1)[None, :, None]
        line = (1 - t) ** 2 * origin[:, None] + 2 * t * (1 - t) * bow[:, None] + t**2 * stop[:, None]  # (b, 4, 3)
        own = tip * flow[groups].sum(axis=1) ** power
        radius = np.linspace(np.minimum(entering, 1.15 * own), 0.9 * own, PIECES + 1, axis=1)
        if level == levels:
            radius *= np.linspace(1, 0.75, PIECES + 1)
        lines.append(line)
        radii.append(radius)
        curved.append(np.linalg.norm(line[:, 1] + line[:, 2] - line[:, 0] - line[:, 3], axis=1) / (length[:, 0] + 1e-6))
        ends.append(stop)
        end_radii.append(radius[:, -1])
        if level < levels:
            ahead = line[:, -1] - line[:, -2]
            ahead = np.repeat(ahead / (np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9), 2, axis=0)
            origin, entering = np.repeat(stop, 2, axis=0), np.repeat(radius[:, -1], 2)
            groups = _halves(points, groups, rng)
    line, radius, bend = np.concatenate(lines), np.concatenate(radii), np.concatenate(curved)
    bent = bend > 0.1
    return Tree(
        line[:, :-1].reshape(-1, 3), line[:, 1:].reshape(-1, 3), radius[:, :-1].reshape(-1), radius[:, 1:].reshape(-1),
        np.concatenate(ends[:-1]), np.concatenate(end_radii[:-1]), line[bent, PIECES // 2], radius[bent, PIECES // 2],
        ends[-1], end_radii[-1],
    )  # fmt: skip


def _halves(points: np.ndarray, groups: np.ndarray, rng) -> np.ndarray:
    """Each branch's targets in two halves along a direction near their longest extent, (2b, t / 2)."""
    centred = points - points.mean(axis=1, keepdims=True)
    spread = np.einsum("bti,btj->bij", centred, centred) / points.shape[1]
    longest = np.linalg.eigh(spread)[1][:, :, -1] + 0.35 * rng.standard_normal((len(groups), 3))
    order = np.argsort(np.einsum("bti,bi->bt", centred, longest), axis=1)
    return np.take_along_axis(groups, order, axis=1).reshape(2 * len(groups), -1)


def joined(trees: list[Tree]) -> Tree:
    """Several trees as one."""
    return Tree(*(np.concatenate([getattr(tree, name) for tree in trees]) for name in Tree.__dataclass_fields__))


def beside(tree: Tree, thinnest: float, rng: np.random.Generator) -> Tree:
    """The airway that runs along each thicker branch of an artery: pieces whose radius is that of the lumen.

    thinnest: mm, the artery's radius below which the airway is no longer seen.
    """
    whole = tree.radius.reshape(-1, PIECES).min(axis=1) > thinnest  # by branches, so that the airway has no gaps
    kept = np.repeat(whole, PIECES)
    start, end, radius, far = (v[kept] for v in (tree.start, tree.end, tree.radius, tree.far_radius))
    along = (end - start) / (np.linalg.norm(end - start, axis=1, keepdims=True) + 1e-9)
    lead = directions(1, rng)
    aside = lead - (along * lead).sum(axis=1, keepdims=True) * along
    aside /= np.linalg.norm(aside, axis=1, keepdims=True) + 1e-9
    # A piece ends where the next begins: aside of the piece before where it is the same branch's.
    first = np.arange(len(start)) % PIECES == 0
    before = np.where(first[:, None], aside, np.roll(aside, 1, axis=0))
    lumen = rng.uniform(0.5, 0.75)
    apart = 1.0 + lumen + 0.35
    none = np.empty((0, 3)), np.empty(0)
    start, end = start + before * (radius * apart)[:, None], end + aside * (far * apart)[:, None]
    return Tree(start, end, radius * lumen, far * lumen, *none, *none, *none)


def crossings(tree: Tree, rng: np.random.Generator, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Where two vessels touch that do not spring from each other, at most so many: (k, 3) mm and the radius (k,)."""
    from scipy.spatial import cKDTree

    middle = (tree.start + tree.end) / 2
    pairs = cKDTree(middle).query_pairs(2.5, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    linked = np.zeros(len(pairs), bool)
    for one, other in ((a, b), (b, a)):
        linked |= np.isclose(tree.end[one], tree.start[other]).all(axis=1)
    linked |= np.isclose(tree.start[a], tree.start[b]).all(axis=1)
    pairs = pairs[~linked]
    pairs = pairs[np.sort(rng.permutation(len(pairs))[:most])]
    return middle[pairs].mean(axis=1), np.maximum(tree.radius[pairs[:, 0]], tree.radius[pairs[:, 1]])
