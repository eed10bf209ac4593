"""One patient on one scanner: lungs with their vessels, findings placed in them, and the scan of it all."""

from dataclasses import dataclass

import numpy as np

from fewscans.twins import chest as body
from fewscans.twins import findings as found
from fewscans.twins import vessels
from fewscans.twins.ct import Scanner, draw_scanner, expose, parenchyma
from fewscans.twins.findings import Finding
from fewscans.twins.space import Grid, at, directions, refined, tubes

MARGIN_MM = 18.0  # nothing is placed nearer to the scan's border: a patch of 36 mm about it lies inside
APART_MM = 5.0  # between the surfaces of any two findings
WHOLE_MM = 300.0  # fields of view from here on show both lungs, narrower ones show one
TIPS_MM3 = {"coarse": 1700.0, "published": 900.0}  # lung per vessel's tip: coarse voxels do not show the finest
TRIES = 60


@dataclass(frozen=True)
class Scene:
    """All that is in one scan, in patient coordinates (z, y, x) in mm.

    nodules: those that count.   excluded: findings that do not.   look_alikes: neither, but drawn for being mistaken.
    depth, coarse: about how deep points lie in a lung, mm, and the grid of it.
    """

    grid: Grid
    scanner: Scanner
    tree: vessels.Tree
    airway: vessels.Tree
    nodules: list[Finding]
    excluded: list[Finding]
    look_alikes: list[Finding]
    depth: np.ndarray
    coarse: Grid
    hu: np.ndarray  # (Z, Y, X) int16

    def within(self, points: np.ndarray) -> np.ndarray:
        """Which points, (n, 3) mm, are far enough from the scan's border for something to be marked there."""
        return ((points > self.grid.origin + MARGIN_MM) & (points < self.grid.far() - MARGIN_MM)).all(axis=1)

    def depth_at(self, points: np.ndarray) -> np.ndarray:
        """About how deep points (n, 3) lie in a lung, mm; negative outside."""
        return at(self.depth, self.coarse, points)


def draw_scene(
    field_of_view_mm: float, spacing: str, nodules: int, look_alikes: int, rng: np.random.Generator
) -> Scene:
    """Draw a patient with so many nodules and look-alikes, or fewer where there is no room, and scan them.

    Args:    field_of_view_mm: edge of the cube seen; the whole chest from 300 on.   spacing: see ct.SPACINGS.
    """
    build, scanner = body.draw_chest(rng), draw_scanner(spacing, rng)
    low, high, sides = _seen(build, field_of_view_mm, rng)
    grid = Grid.box(low, high, scanner.spacing)
    coarse = Grid.box(low - 9, high + 9, np.full(3, body.COARSE_MM))
    depth, tissue = body.lung_depth(build, coarse, rng), body.tissue(build, coarse, rng)
    tree, airway, windpipe = _trees(depth, coarse, sides, TIPS_MM3[spacing], rng)

    placing = _Placing(grid, coarse, depth, tree, rng)
    counted = [found.draw_nodule(*spot, rng) for spot in placing.spots(found.draw_diameters_mm(nodules, rng))]
    excluded = [
        found.draw_excluded(centre, rng) for centre, *_ in placing.spots(np.full(rng.poisson(1.3), 7.0), pleural=False)
    ]
    alike = [
        found.draw_look_alike(centre, size, rng)
        for centre, size, _ in placing.spots(found.draw_diameters_mm(look_alikes, rng).clip(None, 14))
    ]
    alike += [found.draw_plaque(centre, inward, rng) for centre, inward in placing.on_pleura(rng.poisson(1.0))]

    base = parenchyma(grid, rng)
    layer = np.zeros(grid.shape, np.float32)
    tubes(layer, grid, tree.start, tree.end, tree.radius, tree.far_radius, build.blood + 860)
    wall = 0.45 + 0.12 * airway.radius
    tubes(layer, grid, airway.start, airway.end, airway.radius + wall, airway.far_radius + wall, 830.0)
    hu = _composed(base, layer, depth, tissue, coarse, grid, rng)
    _hollow(hu, layer, grid, airway, windpipe)
    _ribbed(hu, layer, grid, build, rng)
    # Last, so that no airway is bored through a nodule.
    layer.fill(0)
    grain = refined(rng.standard_normal(coarse.shape, dtype=np.float32), coarse, grid)
    for one in (*counted, *excluded, *alike):
        found.render(layer, grain, grid, one)
    np.maximum(hu, np.add(base, layer, out=base), out=hu, where=layer > 0)
    return Scene(grid, scanner, tree, airway, counted, excluded, alike, depth, coarse, expose(hu, scanner, rng))


def _seen(build: body.Chest, field: float, rng) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """The box that is scanned, and the sides of the lungs in it: -1 right, 1 left."""
    if field >= WHOLE_MM:
        skin = build.wall + build.fat + 12
        half = np.minimum([np.inf, build.half_depth + 2.2 * skin, build.half_width + skin], field / 2)
        low, high = -half, half.copy()
        low[0], high[0] = max(-field / 2, build.base - 15), min(field / 2, build.top + 15)
        return low, high, (-1, 1)
    side = int(rng.choice([-1, 1]))
    middle = np.array([rng.uniform(-15, 35), rng.uniform(-12, 12), build.side(side) + rng.uniform(-6, 12) * side])
    return middle - field / 2, middle + field / 2, (side,)


def _trees(depth, coarse: Grid, sides, per_tip: float, rng):
    """Arteries and veins of the lungs in view as one tree, the airways beside the arteries, and the windpipe."""
    vessel, airway, windpipe = [], [], []
    lung = np.argwhere(depth > 2.5)
    points = coarse.origin + coarse.spacing * (lung + rng.uniform(-0.5, 0.5, lung.shape))
    for side in sides:
        own = points[points[:, 2] * side > 0]
        count = 2 ** round(np.log2(max(len(own) * np.prod(coarse.spacing) / per_tip * rng.uniform(0.7, 1.4), 16)))
        trunk, tip = rng.uniform(4.5, 6.0), rng.uniform(0.5, 0.65)
        for root, airy in ((np.array([12.0, 12, 36 * side]), True), (np.array([-8.0, 0, 36 * side]), False)):
            targets = own[rng.choice(len(own), count)] + rng.uniform(-1, 1, (count, 3))
            tree = vessels.grow(root, np.array([0.0, 0, side]), targets, trunk, tip, rng)
            vessel.append(tree)
            if airy:
                airway.append(vessels.beside(tree, 1.2, rng))
                windpipe.append((np.array([42.0, 10, 0]), airway[-1].start[0], 6.5, airway[-1].radius[0]))
    windpipe.append((np.array([200.0, 4, 0]), np.array([42.0, 10, 0]), 8.5, 8.5))
    return vessels.joined(vessel), vessels.joined(airway), windpipe


class _Placing:
    """Finds room in the lungs, away from all that was placed before."""

    def __init__(self, grid: Grid, coarse: Grid, depth: np.ndarray, tree: vessels.Tree, rng) -> None:
        low, high = grid.origin + MARGIN_MM, grid.far() - MARGIN_MM
        voxel = np.argwhere(depth > -3)
        points = coarse.origin + coarse.spacing * (voxel + rng.uniform(-0.5, 0.5, voxel.shape))
        points = points[((points > low) & (points < high)).all(axis=1)]
        self.points, self.depth = points, at(depth, coarse, points)
        self.field, self.coarse, self.rng = depth, coarse, rng
        middle = (tree.start + tree.end) / 2
        fit = (tree.radius > 0.6) & (tree.radius < 2.5) & ((middle > low + 6) & (middle < high - 6)).all(axis=1)
        self.vessel, self.vessel_radius = middle[fit], tree.radius[fit]
        self.low, self.high = low, high
        self.taken: list[tuple[np.ndarray, float]] = []

    def spots(self, diameters: np.ndarray, pleural: bool = True):
        """Centre, diameter and place of each that finds room, largest first."""
        for diameter in np.sort(diameters)[::-1]:
            place = str(self.rng.choice([found.PLEURAL, found.VASCULAR, found.FREE], p=[0.2, 0.25, 0.55]))
            if place == found.PLEURAL and not pleural:
                place = found.FREE
            centre = self._room(float(diameter), place)
            if centre is not None:
                self.taken.append((centre, float(diameter)))
                yield centre, float(diameter), place

    def on_pleura(self, count: int):
        """Points just inside the wall, and the direction into the lung there, (3,) each."""
        near = self.points[np.abs(self.depth - 1) < 1]
        for _ in range(count if len(near) else 0):
            centre = near[self.rng.integers(len(near))]
            if self._free(centre, 10):
                self.taken.append((centre, 10.0))
                step = np.eye(3) * 3
                slope = at(self.field, self.coarse, centre + step) - at(self.field, self.coarse, centre - step)
                yield centre, slope / (np.linalg.norm(slope) + 1e-9)

    def _room(self, diameter: float, place: str) -> np.ndarray | None:
        radius = diameter / 2
        if place == found.PLEURAL:
            fit = np.flatnonzero((self.depth > max(0.15 * radius, 0.5)) & (self.depth < 0.85 * radius))
        else:
            fit = np.flatnonzero(self.depth > radius + 1.5)
        for _ in range(TRIES):
            if place == found.VASCULAR and len(self.vessel):
                one = self.rng.integers(len(self.vessel))
                centre = self.vessel[one] + directions(1, self.rng)[0] * (0.6 * radius + self.vessel_radius[one])
                if not ((centre > self.low) & (centre < self.high)).all():
                    continue
                if at(self.field, self.coarse, centre[None])[0] < radius + 1:
                    continue
            elif len(fit):
                centre = self.points[fit[self.rng.integers(len(fit))]]
            else:
                return None
            if self._free(centre, diameter):
                return centre
        return None

    def _free(self, centre: np.ndarray, diameter: float) -> bool:
        return all(np.linalg.norm(centre - other) > (diameter + size) / 2 + APART_MM for other, size in self.taken)


def _composed(base, layer, depth, tissue, coarse: Grid, grid: Grid, rng) -> np.ndarray:
    """Lung, what is drawn into it, its fissure and the tissue about it, HU."""
    outside = refined(depth, coarse, grid)
    outside *= np.float32(-1 / np.cbrt(np.prod(grid.spacing)))
    outside += np.float32(0.5)
    np.clip(outside, 0, 1, out=outside)
    np.maximum(layer, _fissure(grid, rng), out=layer, where=outside == 0)
    hu = refined(tissue, coarse, grid)
    hu -= base
    hu *= outside
    hu += base
    return np.maximum(hu, base + layer, out=hu, where=layer > 0)


def _fissure(grid: Grid, rng) -> np.ndarray:
    """The oblique fissure, HU above lung: a sheet of pleura that climbs to the back, thinner than a voxel, so faint."""
    z, y, x = grid.axes()
    above = z - rng.uniform(-5, 30) - rng.uniform(0.7, 1.1) * y - 5 * np.sin(x / rng.uniform(15, 25) + y / 40)
    width = 0.7 * np.hypot(grid.spacing[0], grid.spacing[1])  # a voxel's extent across it, about
    np.abs(above, out=above)
    above *= np.float32(-1 / (1.4 * width))
    above += np.float32(1)
    np.clip(above, 0, 1, out=above)
    above *= np.float32(160 / width)
    return above


def _hollow(hu, share, grid: Grid, airway: vessels.Tree, windpipe) -> None:
    """Fill the airways with air; the windpipe and its two branches get their walls here. share: an array to work in."""
    start, end, radius, far = (np.array(v, float) for v in zip(*windpipe, strict=True))
    share.fill(0)
    tubes(share, grid, start, end, radius + 1.5, far + 1.5, 1.0)
    hu += (30 - hu) * share
    share.fill(0)
    tubes(share, grid, start, end, radius, far, 1.0)
    tubes(share, grid, airway.start, airway.end, airway.radius, airway.far_radius, 1.0)
    hu += (-985 - hu) * share


def _ribbed(hu, share, grid: Grid, build: body.Chest, rng) -> None:
    """Draw the ribs: a dense cortex round marrow."""
    start, end, radius = body.draw_ribs(build, rng)
    for thickness, inside in ((radius, body.CORTEX), (radius - 1.8, body.MARROW)):
        share.fill(0)
        tubes(share, grid, start, end, thickness, thickness, 1.0)
        hu += (inside - hu) * share
