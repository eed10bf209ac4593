"""What an axial cut through a lung is drawn from: tubes, blobs, walls, as soft-edged densities on a 50×50 grid.

A density is the share of soft tissue in a pixel: 1 inside, 0 outside, a logistic edge between, which stands for the
blur of the scanner and for voxels that are partly filled. Positions and sizes are in pixels from the patch's centre,
angles in radians.
"""

import numpy as np

SIDE = 50
CHUNK = 64  # cases drawn at once: 64 × 2,500 float32 stay in a core's cache
_AXIS = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
Y, X = _AXIS[:, None], _AXIS[None, :]


class Canvas:
    """Densities of n patches, which shapes are added to by taking the larger value: tissue does not add up.

    tissue, bone, marrow, air: (n, 50, 50) float32. `air` is what is emptier than lung: the lumen of an airway.
    roughness: (n,) float32, how much faint tissue shows the lung's texture.
    again: (n,) int, the patch that shows the same scene once more, or -1.
    offset: (n, 2) float32, where the patch's centre lies in its scene, y and x; zero unless it shows another's.
    """

    def __init__(self, n: int) -> None:
        self.tissue, self.bone, self.marrow, self.air = np.zeros((4, n, SIDE, SIDE), np.float32)
        self.roughness = np.zeros(n, np.float32)
        self.again = np.full(n, -1)
        self.offset = np.zeros((n, 2), np.float32)

    def add(self, shape, patch: np.ndarray, amplitude=1.0, to: str = "tissue", **parameters) -> None:
        """Draw `shape(**parameters)` into the patches named, each at most once, and into those that show their scenes.

        Args:    shape: one of this module's functions.   patch: (k,) indices.
                 amplitude: density inside, scalar or (k,).   to: the layer's name.
                 parameters: scalars or arrays whose first axis is k.
        """
        layer = getattr(self, to)
        amplitude = np.broadcast_to(np.asarray(amplitude, np.float32), patch.shape)
        repeated = np.flatnonzero(self.again[patch] >= 0)
        target = np.concatenate([patch, self.again[patch[repeated]]])
        source = np.concatenate([np.arange(len(patch)), repeated])  # whose parameters
        for start in range(0, len(target), CHUNK):
            into, row = target[start : start + CHUNK], source[start : start + CHUNK]
            grid = Y + self.offset[into, 0, None, None], X + self.offset[into, 1, None, None]
            these = {name: _column(value, row) for name, value in parameters.items()}
            layer[into] = np.maximum(layer[into], shape(grid, **these) * amplitude[row, None, None])


def tube(grid, y, x, angle, start, end, radius, edge, taper=0.0, bend=0.0, fade=0.0) -> np.ndarray:
    """A vessel: a capsule along `angle` from `start` to `end`, thinned by `taper`, bent into a parabola by `bend`.

    A vessel that pierces the slice is a short capsule, one that runs in it a long one; over `fade` pixels at either
    end it leaves the slice.
    """
    along, across = _turned(grid, y, x, angle)
    across = (across - bend * along * along) / np.sqrt(1 + (2 * bend * along) ** 2)
    nearest = np.clip(along, start, end)
    distance = np.hypot(along - nearest, across)
    density = _soft(radius * (1 - taper * (nearest - start) / (end - start + 1e-6)) - distance, edge)
    if np.ndim(fade):
        density *= _soft(np.minimum(end - along, along - start) + radius + fade, fade)
    return density


def blob(grid, y, x, radius, edge, aspect=1.0, angle=0.0, lobes=None) -> np.ndarray:
    """A nodule: an ellipse of area π·radius², its outline waved.

    lobes: (k, m, 2), cosine and sine amplitudes of the waves of order 2, 3, ..., as shares of the radius.
    """
    along, across = _turned(grid, y, x, angle)
    along, across = along / np.sqrt(aspect), across * np.sqrt(aspect)
    distance = np.hypot(along, across) + 1e-6
    outline = np.ones_like(distance)
    if lobes is not None:
        cosine, sine = along / distance, across / distance
        c, s = cosine, sine
        for order in range(lobes.shape[1]):  # angle addition: order 1 → 2 → 3 ...
            c, s = c * cosine - s * sine, s * cosine + c * sine
            outline += lobes[:, order, 0, None, None] * c + lobes[:, order, 1, None, None] * s
    return _soft(radius * outline - distance, edge)


def wall(grid, angle, distance, edge, curvature=0.0) -> np.ndarray:
    """Chest wall, mediastinum or diaphragm: all beyond `distance` in direction `angle`.

    A positive `curvature` wraps the wall round the lung, a negative one bulges it into the lung.
    """
    along, across = _turned(grid, 0.0, 0.0, angle)
    return _soft(along + curvature * across * across - distance, edge)


def chest_wall(canvas: Canvas, patch, angle, distance, edge, rng: np.random.Generator) -> None:
    """A slightly curved wall and, in every other one, the cut through a rib: a bright cortex round marrow."""
    k = len(patch)
    canvas.add(wall, patch, angle=angle, distance=distance, edge=edge, curvature=rng.normal(0.005, 0.006, k))
    ribbed = rng.random(k) < 0.55
    patch, angle, edge, k = patch[ribbed], angle[ribbed], edge[ribbed], int(ribbed.sum())
    depth, shift, half = distance[ribbed] + rng.uniform(5, 9, k), rng.normal(0, 9, k), rng.uniform(4, 18, k)
    y, x = depth * np.sin(angle) + shift * np.cos(angle), depth * np.cos(angle) - shift * np.sin(angle)
    angle, bend = angle + np.pi / 2 + rng.normal(0, 0.25, k), rng.normal(0, 0.006, k)
    where = dict(y=y, x=x, angle=angle, start=-half, end=half, bend=bend, edge=edge)
    radius = rng.uniform(3, 5.5, k)
    canvas.add(tube, patch, 1.0, to="bone", radius=radius, **where)
    density, inner = rng.uniform(0.1, 0.8, k), radius - rng.uniform(1.4, 2.6, k)
    canvas.add(tube, patch, density, to="marrow", radius=inner, **where)


def any_angle(n: int, rng: np.random.Generator) -> np.ndarray:
    """Directions, uniform over the circle."""
    return rng.uniform(-np.pi, np.pi, n)


def _turned(grid, y, x, angle):
    """Coordinates along and across a direction, (k, 50, 50)."""
    c, s = np.cos(angle), np.sin(angle)
    down, right = grid[0] - y, grid[1] - x
    return right * c + down * s, down * c - right * s


def _soft(inside, edge) -> np.ndarray:
    """Logistic of the depth inside a shape, in units of the edge."""
    return 0.5 + 0.5 * np.tanh(inside / (2 * edge))


def _column(value, rows: np.ndarray):
    """A parameter ready to meet the grid: scalars as they are, (k,) as (k, 1, 1), (k, m, ...) as it is."""
    value = np.asarray(value, np.float32)
    if value.ndim == 0:
        return value
    return value[rows, None, None] if value.ndim == 1 else value[rows]
