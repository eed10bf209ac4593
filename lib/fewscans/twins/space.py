"""Shapes in space, drawn onto a grid of voxels: tubes and blobs, and smooth fields drawn coarsely and refined.

Points are (z, y, x) in mm; x grows to the patient's left, y to the back, z to the head, as in the coordinates LUNA16
publishes (there in the order x, y, z). A shape raises a layer to its value times the share of the voxel it fills, by
taking the larger value: tissue does not add up. Only voxels near a shape are looked at.
"""

from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 17  # voxels looked at in one go: a few arrays of them fit into a core's cache
ON_AXIS = 0.2  # mm: so close to a tube's axis there is no shortest way out, and all directions count alike


@dataclass(frozen=True)
class Grid:
    """Where the voxels lie. shape: (3,) voxels.   spacing, origin: (3,) mm, the origin being the first voxel's centre.

    All in the order z, y, x.
    """

    shape: tuple[int, int, int]
    spacing: np.ndarray
    origin: np.ndarray

    @classmethod
    def box(cls, low: np.ndarray, high: np.ndarray, spacing: np.ndarray) -> "Grid":
        """The grid of a given spacing whose voxel centres fill the box from low to high, (3,) mm each."""
        shape = np.maximum(np.floor((high - low) / spacing).astype(int) + 1, 2)
        return cls(tuple(int(n) for n in shape), np.asarray(spacing, float), np.asarray(low, float))

    def axes(self) -> list[np.ndarray]:
        """Positions along z, y and x, float32, shaped to be broadcast against one another."""
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        return [
            (o + s * np.arange(n)).astype(np.float32).reshape(shape)
            for n, s, o, shape in zip(self.shape, self.spacing, self.origin, shapes, strict=True)
        ]

    def index(self, points: np.ndarray) -> np.ndarray:
        """Points in mm as fractional voxel indices, (..., 3)."""
        return (points - self.origin) / self.spacing

    def far(self) -> np.ndarray:
        """The last voxel's centre, (3,) mm."""
        return self.origin + self.spacing * (np.array(self.shape) - 1)


def refined(field: np.ndarray, coarse: Grid, grid: Grid) -> np.ndarray:
    """A field on a coarse grid, linearly between its points on a finer one; constant beyond its border. float32."""
    field = np.asarray(field, np.float32)
    for axis in (2, 1, 0):  # last along z, where whole slices are copied: that pass is over the most voxels
        place = (grid.origin[axis] + grid.spacing[axis] * np.arange(grid.shape[axis]) - coarse.origin[axis]) / (
            coarse.spacing[axis]
        )
        place = np.clip(place, 0, coarse.shape[axis] - 1)
        low = np.minimum(place.astype(int), coarse.shape[axis] - 2)
        shape = [1, 1, 1]
        shape[axis] = -1
        share = (place - low).astype(np.float32).reshape(shape)
        before = np.take(field, low, axis)
        after = np.take(field, low + 1, axis)
        after -= before
        after *= share
        before += after
        field = before
    return field


def at(field: np.ndarray, grid: Grid, points: np.ndarray) -> np.ndarray:
    """A field's values at points (n, 3) mm, linearly between voxels; constant beyond its border."""
    from scipy.ndimage import map_coordinates

    return map_coordinates(field, grid.index(points).T, order=1, mode="nearest")


def smooth_noise(grid: Grid, scale_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of about unit variance whose lumps are about `scale_mm` wide, on the grid; float32.

    Drawn at half that spacing and refined: its cost is that of two passes over the grid.
    """
    step = np.maximum(np.full(3, scale_mm / 2), grid.spacing)
    coarse = Grid.box(grid.origin - step * rng.random(3), grid.far() + 2 * step, step)
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(coarse.shape, dtype=np.float32), 0.8, mode="wrap", truncate=3)
    return refined(noise / noise.std(), coarse, grid)


def tubes(layer: np.ndarray, grid: Grid, start, end, radius, far_radius, value) -> None:
    """Raise a layer by tubes with round ends, thinning or widening linearly from start to end.

    A tube thinner than a voxel fills a share of it: its value is lessened so that its cross-section's sum is right.
    Args:    layer: changed in place.   start, end: (n, 3) mm.   radius, far_radius: (n,) mm.   value: scalar or (n,).
    """
    start, end = np.asarray(start, float), np.asarray(end, float)
    widest = np.maximum(radius, far_radius)
    mean = np.cbrt(np.prod(grid.spacing))
    low, high = np.minimum(start, end) - (widest + mean)[:, None], np.maximum(start, end) + (widest + mean)[:, None]
    seen = np.flatnonzero(((high > grid.origin) & (low < grid.far())).all(axis=1))
    value = np.broadcast_to(np.asarray(value, np.float32), widest.shape)
    size = np.ceil(np.log2(np.maximum(widest[seen] / mean, 0.5)) * 2).astype(int)  # classes, half an octave wide
    for one in np.unique(size):
        these = seen[size == one]
        _tubes_alike(layer, grid, *(v[these] for v in (start, end, radius, far_radius, value)))


def _tubes_alike(layer, grid: Grid, start, end, radius, far_radius, value) -> None:
    """Tubes of about one thickness: along each, boxes of one size are laid so close that they cover it."""
    widest = float(np.maximum(radius, far_radius).max())
    step = widest + float(grid.spacing.max())
    half = np.ceil((widest + grid.spacing * 0.5 + step / 2) / grid.spacing).astype(int)
    length = np.linalg.norm(end - start, axis=1)
    count = np.ceil(length / step).astype(int).clip(1)
    tube = np.repeat(np.arange(len(length)), count)
    place = np.arange(len(tube)) - np.repeat(np.cumsum(count) - count, count)
    middle = start[tube] + ((place + 0.5) / count[tube])[:, None] * (end - start)[tube]
    corner = np.rint(grid.index(middle)).astype(np.int64) - half  # (m, 3), the first voxel of each box
    shape, side = np.array(grid.shape), 2 * half + 1
    seen = ((corner + side > 0) & (corner < shape)).all(axis=1)
    tube, corner = tube[seen], corner[seen]
    direction = ((end - start) / np.maximum(length, 1e-6)[:, None]).astype(np.float32)
    slope = ((far_radius - radius) / np.maximum(length, 1e-6)).astype(np.float32)
    length, radius = length.astype(np.float32), radius.astype(np.float32)
    within = (np.maximum(radius, far_radius) + 0.5 * grid.spacing.max()).astype(np.float32)
    mean = np.cbrt(np.prod(grid.spacing))
    flat = layer.reshape(-1)
    rows = max(1, CHUNK // int(side.prod()))
    for first in range(0, len(tube), rows):
        t, c = tube[first : first + rows], corner[first : first + rows]
        # Voxels from each tube's start, by axis: (m, side_z), (m, side_y), (m, side_x).
        offset = [
            ((c[:, a, None] + np.arange(side[a])) * grid.spacing[a] + (grid.origin[a] - start[t, None, a])).astype(
                np.float32
            )
            for a in range(3)
        ]
        square = _outer_sum([o * o for o in offset])  # (m, side_z, side_y, side_x)
        ahead = _outer_sum([o * direction[t, None, a] for a, o in enumerate(offset)])
        along = np.clip(ahead, 0, length[t, None, None, None])
        square += along * (along - 2 * ahead)  # now from the nearest point of the axis
        near = np.nonzero(square < np.square(within[t])[:, None, None, None])
        box = near[0]
        voxel = [c[box, a] + near[a + 1] for a in range(3)]
        inside = np.logical_and.reduce([(v >= 0) & (v < n) for v, n in zip(voxel, shape, strict=True)])
        near, box, voxel = tuple(n[inside] for n in near), box[inside], [v[inside] for v in voxel]
        along, t = along[near], t[box]
        away = [offset[a][box, near[a + 1]] - along * direction[t, a] for a in range(3)]
        squares = [component * component for component in away]
        square = squares[0] + squares[1] + squares[2] + np.float32(ON_AXIS**2)
        distance = np.sqrt(square)
        # A voxel's extent along the shortest way to the tube: the width over which the tube's edge is spread.
        extent = sum(q * np.float32(s * s) for q, s in zip(squares, grid.spacing, strict=True))
        width = np.sqrt((extent + np.float32((ON_AXIS * mean) ** 2)) / square)
        thick = radius[t] + slope[t] * along
        share = np.clip(0.5 + (thick - distance) / width, 0, 1)
        where = (voxel[0] * shape[1] + voxel[1]) * shape[2] + voxel[2]
        np.maximum.at(flat, where, (share * value[t] * _filled(thick, width)).astype(np.float32))


def _outer_sum(parts: list[np.ndarray]) -> np.ndarray:
    """(m, a), (m, b), (m, c) → (m, a, b, c)."""
    z, y, x = parts
    return z[:, :, None, None] + (y[:, :, None] + x[:, None, :])[:, None]


def _filled(radius, width):
    """By how much a linear edge of that width exaggerates the cross-section of a tube of that radius, inverted."""
    height = 0.5 + radius / width
    thin = 3 * radius**2 / ((radius + width / 2) ** 2 * height)
    return np.where(radius > width / 2, radius**2 / (radius**2 + width**2 / 12), thin)


@dataclass(frozen=True)
class Outline:
    """A closed surface: an ellipsoid in any orientation, bulging here and there.

    radius: mm, that of a sphere of about the same volume.   axes: (3, 3), rows are the principal axes as unit vectors.
    stretch: (3,) along those axes, of product 1.   bulges: (m, 3) unit vectors.   heights: (m,) share of the radius.
    sharpness: how narrow the bulges are.
    """

    radius: float
    axes: np.ndarray
    stretch: np.ndarray
    bulges: np.ndarray
    heights: np.ndarray
    sharpness: float

    def reach(self) -> float:
        """No point of the surface is further from the centre than this, mm."""
        return float(self.radius * self.stretch.max() * self._highest())

    def depth(self, away: list[np.ndarray]) -> np.ndarray:
        """About how deep points lie inside, mm, negative outside; `away` is their z, y, x from the centre."""
        turned = [sum(away[a] * np.float32(self.axes[k, a]) for a in range(3)) for k in range(3)]
        distance = np.sqrt(sum(c * c for c in turned)) + np.float32(1e-4)
        stretched = [c * np.float32(1 / s) for c, s in zip(turned, self.stretch, strict=True)]
        level = np.sqrt(sum(c * c for c in stretched)) + np.float32(1e-4)  # a sphere's distance after the stretch
        outline = np.float32(1)
        if len(self.heights):
            # Bulges only add; what they add on average is taken off, so that the volume stays.
            mean = float(np.sum(self.heights)) * (1 - np.exp(-2 * self.sharpness)) / (2 * self.sharpness)
            for bulge, height in zip(self.bulges, self.heights, strict=True):
                cosine = sum(c * np.float32(b) for c, b in zip(stretched, bulge, strict=True)) / level
                outline = outline + np.float32(height) * np.exp(np.float32(self.sharpness) * (cosine - 1))
            outline = np.minimum(outline - np.float32(mean), np.float32(self._highest()))
        return (self.radius * outline - level) * (distance / level)

    def _highest(self) -> float:
        """No point rises higher above a sphere, as a ratio of radii, even where bulges meet."""
        return 1 + 1.4 * float(self.heights.max(initial=0))


def blob(layer, grid: Grid, centre, outline: Outline, value: float, soft_mm: float = 0.0, grain=None) -> None:
    """Raise a layer inside an outline to `value`, its edge spread over a voxel and `soft_mm` more.

    grain: (Z, Y, X) field of about unit variance that the value varies with, by a third; None for an even one.
    """
    centre = np.asarray(centre, float)
    margin = outline.reach() + soft_mm + grid.spacing
    low = np.maximum(np.floor(grid.index(centre - margin)).astype(int), 0)
    high = np.minimum(np.ceil(grid.index(centre + margin)).astype(int) + 1, grid.shape)
    if (low >= high).any():
        return
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    away = [
        (grid.origin[a] + grid.spacing[a] * np.arange(low[a], high[a]) - centre[a])
        .astype(np.float32)
        .reshape([-1 if a == k else 1 for k in range(3)])
        for a in range(3)
    ]
    width = np.cbrt(np.prod(grid.spacing)) + soft_mm
    raised = np.float32(value) * np.clip(0.5 + outline.depth(away) / np.float32(width), 0, 1)
    if grain is not None:
        raised *= np.clip(1 + grain[box] / 3, 0.2, None)
    np.maximum(layer[box], raised, out=layer[box])


def directions(n: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors, uniform over the sphere, (n, 3)."""
    vectors = rng.standard_normal((n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A rotation or rotoreflection, uniform over all of them, (3, 3)."""
    matrix, upper = np.linalg.qr(rng.standard_normal((3, 3)))
    return matrix * np.sign(np.diag(upper))
