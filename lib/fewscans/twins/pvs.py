"""A synthetic stand-in for T2 scans of the basal ganglia whose perivascular spaces an expert counted.

Each scan is a box about the basal ganglia of the right side: caudate, putamen and pallidum of differing grey in white
matter, the ventricle before and the furrows of the insula beside them, as bright as the spaces themselves. In the
region, and counted: bright tubes, 0.8 to 2.5 mm thick and 3 to 8 mm long, most of them rising, as the arteries do that
they follow. In the region, and not counted: lacunes (bright too, but round and larger), faint patches, dark vessels and
iron. The mask is a segmentation's: it misses some of the border or takes in some of the ventricle.

How the real counts are distributed we do not know; here they are negative binomial, 0 to 40 with a median of about 6.
Contrast, thickness, noise and shading differ from scan to scan, so that the sum of what is bright, or its histogram,
says little of the count. Sizes and shapes were set by hand from the look of such scans. How faint the spaces are and
how much is in the way was settled so that a regressor neither fails nor saturates: one of a quarter of the base's maps,
trained on 25 single scans, came to an ICC of 0.85 on others, from 0.93 when they stood out more. No comparison of
methods was looked at.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewscans.data.pvs import COUNTS, IMAGE, MASK
from fewscans.twins.base import Spec, Twin, one_of, seed, whole
from fewscans.twins.space import Grid, Outline, blob, directions, rotation, smooth_noise, tubes


class Resolution(NamedTuple):
    """spacing_mm, voxels: z y x, of a scan.   crop: voxels that show the region with a margin, to be read.   parts:
    what the region is made of."""

    spacing_mm: tuple[float, float, float]
    voxels: tuple[int, int, int]
    crop: tuple[int, int, int]
    parts: tuple[str, ...] = ("caudate", "putamen", "pallidum", "capsule")


GRIDS = {
    "coarse": Resolution((1.8, 1.25, 1.25), (16, 32, 32), (12, 24, 24)),  # 6,912 voxels a crop
    "medium": Resolution((1.1, 0.85, 0.85), (26, 46, 46), (20, 36, 36)),  # 25,920
    # One nucleus of the four, for a laptop: 2,880 voxels, of which more are in a space
    "putamen": Resolution((1.8, 1.25, 1.25), (16, 32, 32), (12, 24, 10), ("putamen",)),
}
COUNT = ("volume", "slice")

MEAN_COUNT, SHAPE, MOST = 9.0, 1.5, 40  # of the negative binomial
DIAMETER_MM, LENGTH_MM = (0.8, 2.5), (3.0, 8.0)
APART_MM = 0.8  # between the walls of two tubes, at least: closer ones would be counted as one
TRIES = 200  # a tube
LACUNES, PATCHES, VESSELS = 0.8, 1.2, 1.5  # a scan, on average

# Intensities on a scale on which cerebrospinal fluid is 1.
WHITE, FLUID, DARK = 0.36, 1.0, 0.12
GREY = {"caudate": 0.50, "putamen": 0.46, "pallidum": 0.30, "thalamus": 0.45}
# Centre and half axes (z y x, mm; y to the front, x to the side) and the turn about z, in radians.
PARTS = {
    "caudate": ((3, 8.5, -7.0), (8.5, 6.5, 3.8), 0.35),
    "putamen": ((0, -0.5, 6.5), (9.0, 12.5, 4.0), 0.22),
    "pallidum": ((-1.5, -2.0, 0.8), (6.0, 7.5, 3.2), 0.30),
    "capsule": ((1, 5.0, -1.0), (7.5, 6.5, 5.0), 0.55),  # the white matter between them: no grey of its own
    "thalamus": ((1, -13.0, -10.0), (8.0, 9.0, 6.0), -0.3),
}
VENTRICLE = ((4, 10.0, -14.0), (9.0, 9.0, 3.6), 0.30)
INSULA_MM = 13.5  # its furrows lie further to the side than this


@dataclass(frozen=True)
class PvsSpec(Spec):
    """How many scans, each of another person.

    grid: one of GRIDS.   count: "volume", all tubes, or "slice", those that cross the middle slice, as the paper's
    expert counted in one slice; far fewer, and known to nobody who cannot tell which slice it was.
    """

    scans: int = whole(10, 9_999)
    grid: str = one_of(GRIDS)
    count: str = one_of(COUNT)
    seed: int = seed()


@dataclass(frozen=True, eq=False)
class Tubes:
    """Perivascular spaces: straight, with round ends, thinning from start to end."""

    start: np.ndarray  # (n, 3) mm, z y x
    end: np.ndarray  # (n, 3) mm
    radius: np.ndarray  # (n,) mm, at the start
    far_radius: np.ndarray  # (n,) mm, at the end

    def __len__(self) -> int:
        return len(self.radius)

    def crossing(self, z: float) -> int:
        """How many of them the plane at that height meets."""
        low, high = np.minimum(self.start, self.end)[:, 0], np.maximum(self.start, self.end)[:, 0]
        return int(((low <= z) & (z <= high)).sum())


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan before it is written: t2 (D, H, W) uint16, mask (D, H, W) bool, on the grid."""

    t2: np.ndarray
    mask: np.ndarray
    grid: Grid
    tubes: Tubes


def draw_scan(spec: PvsSpec, number: int, tubes_wanted: int | None = None) -> Scan:
    """Scan `number` of a twin; it depends on the spec's seed and its own number, and on no other scan.

    Args:    tubes_wanted: how many perivascular spaces, instead of a number drawn.
    """
    rng = np.random.default_rng([spec.seed, number])
    wanted = draw_count(rng)
    wanted = wanted if tubes_wanted is None else tubes_wanted
    resolution = GRIDS[spec.grid]
    spacing = np.array(resolution.spacing_mm)
    shift = rng.uniform(-0.5, 0.5, 3)  # where the voxels fall in the head
    grid = Grid(resolution.voxels, spacing, (shift - (np.array(resolution.voxels) - 1) / 2) * spacing)
    shares = _anatomy(grid, rng)
    region = np.max([shares[name] for name in resolution.parts], axis=0)
    tissue = _tissue(grid, shares, rng)
    lacunes = _unlike(tissue, grid, region, rng)
    drawn = _tubes(grid, region, lacunes, wanted, rng)
    layer = np.zeros(grid.shape, np.float32)
    contrast = rng.uniform(0.65, 1.0)  # of the fluid in them, as this scanner and this person show it
    value = contrast * rng.uniform(0.85, 1.0, len(drawn))
    tubes(layer, grid, drawn.start, drawn.end, drawn.radius, drawn.far_radius, value)
    tissue += layer * np.maximum(FLUID - tissue, 0)
    return Scan(_scanned(tissue, grid, rng), _segmented(grid, region, rng), grid, drawn)


def draw_count(rng: np.random.Generator) -> int:
    """How many perivascular spaces: most have few, some have many."""
    while True:
        count = int(rng.negative_binomial(SHAPE, SHAPE / (SHAPE + MEAN_COUNT)))
        if count <= MOST:
            return count


def write(folder: Path, spec: PvsSpec) -> Path:
    """Write the twin into `folder`, which exists: a folder of two files a scan, and the counts. Returns the folder.

    Equal specs give equal bytes.
    """
    folder, lines = Path(folder), ["case,count"]
    for number in range(spec.scans):
        scan, case = draw_scan(spec, number), f"sub-{number + 1:04d}"
        middle = scan.grid.origin[0] + scan.grid.spacing[0] * (scan.grid.shape[0] // 2)
        count = len(scan.tubes) if spec.count == "volume" else scan.tubes.crossing(middle)
        (folder / case).mkdir()
        _save(folder / case / IMAGE, scan.t2, scan.grid)
        _save(folder / case / MASK, scan.mask.astype(np.uint8), scan.grid)
        lines.append(f"{case},{count}")
    (folder / COUNTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _anatomy(grid: Grid, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The share of each voxel that a structure fills, of one person: sizes, places and turns differ a little."""
    size, turn = rng.normal(1, 0.06), rng.normal(0, 0.08)
    parts = PARTS | {"ventricle": VENTRICLE}
    shares = {}
    for name, (centre, axes, own_turn) in parts.items():
        wide = rng.normal(1, 0.07, 3)
        if name == "ventricle":
            wide = wide * [1, 1, rng.lognormal(0, 0.3)]  # the aged have wide ones
        centre = _turned(np.array(centre, float) * size + rng.normal(0, 0.5, 3), turn)
        shares[name] = np.zeros(grid.shape, np.float32)
        blob(shares[name], grid, centre, _outline(np.array(axes) * size * wide, own_turn + turn, rng), 1.0)
    furrows = smooth_noise(grid, 7, rng) + 0.35 * smooth_noise(grid, 3, rng)
    side = grid.axes()[2] - INSULA_MM * size + rng.normal(0, 1) - 0.02 * np.square(grid.axes()[1])
    shares["insula"] = np.clip(side / 3, 0, 1).astype(np.float32)
    shares["furrow"] = np.clip(furrows * 1.2, 0, 1) * shares["insula"]
    return shares


def _outline(half_axes: np.ndarray, turn: float, rng: np.random.Generator) -> Outline:
    """An ellipsoid turned about z, with a few low bulges."""
    c, s = np.cos(turn), np.sin(turn)
    radius = float(np.cbrt(half_axes.prod()))
    axes = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    return Outline(radius, axes, half_axes / radius, directions(3, rng), rng.uniform(0, 0.12, 3), 3.0)


def _turned(point: np.ndarray, turn: float) -> np.ndarray:
    c, s = np.cos(turn), np.sin(turn)
    z, y, x = point
    return np.array([z, c * y - s * x, s * y + c * x])


def _tissue(grid: Grid, shares: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Intensities without what is drawn into them: white matter, on it the grey parts, on these the fluid."""
    tissue = np.full(grid.shape, WHITE * rng.normal(1, 0.05), np.float32)
    tissue += 0.012 * smooth_noise(grid, 4, rng)
    for name, value in GREY.items():
        _lay(tissue, shares[name], value * rng.normal(1, 0.06))
    _lay(tissue, shares["insula"], 0.50 * rng.normal(1, 0.06))
    for name in ("furrow", "ventricle"):
        _lay(tissue, shares[name], FLUID)
    return tissue


def _lay(tissue: np.ndarray, share: np.ndarray, value: float) -> None:
    tissue += share * (np.float32(value) - tissue)


def _unlike(tissue: np.ndarray, grid: Grid, region: np.ndarray, rng: np.random.Generator) -> list[tuple]:
    """Draw what is in or near the region and is not counted. Returns the lacunes: centre and reach, mm."""
    n = rng.poisson(PATCHES)
    for centre in _places(grid, region, n, 0.1, rng):
        share = np.zeros(grid.shape, np.float32)
        outline = Outline(rng.uniform(2, 5), rotation(rng), np.ones(3), directions(3, rng), rng.uniform(0, 0.3, 3), 3.0)
        blob(share, grid, centre, outline, rng.uniform(0.1, 0.35), soft_mm=4.0)
        _lay(tissue, share, FLUID)
    n = rng.poisson(VESSELS)
    middle, way = _places(grid, region, n, 0.1, rng), directions(n, rng) * rng.uniform(1, 6, (n, 1))
    share, radius = np.zeros(grid.shape, np.float32), rng.uniform(0.3, 0.9, n)
    tubes(share, grid, middle - way, middle + way, radius, radius, rng.uniform(0.4, 1.0, n))
    _lay(tissue, share, DARK)
    lacunes = []
    for centre in _places(grid, region, rng.poisson(LACUNES), 0.3, rng):
        stretch = rng.normal(1, 0.12, 3)
        outline = Outline(
            rng.uniform(1.7, 4.2), rotation(rng), stretch / np.cbrt(stretch.prod()), directions(3, rng),
            rng.uniform(0, 0.25, 3), 3.0,
        )  # fmt: skip
        share = np.zeros(grid.shape, np.float32)
        blob(share, grid, centre, outline, rng.uniform(0.75, 1.0))
        _lay(tissue, share, FLUID)
        lacunes.append((centre, outline.reach()))
    return lacunes


def _places(grid: Grid, region: np.ndarray, n: int, least: float, rng: np.random.Generator) -> np.ndarray:
    """Points anywhere in the voxels of which the region fills at least that share, (n, 3) mm."""
    voxels = np.argwhere(region >= least)
    chosen = voxels[rng.integers(len(voxels), size=n)]
    return grid.origin + grid.spacing * (chosen + rng.uniform(-0.5, 0.5, (n, 3)))


def _tubes(grid: Grid, region: np.ndarray, lacunes: list[tuple], n: int, rng: np.random.Generator) -> Tubes:
    """Place n tubes in the region, apart from each other and from lacunes; fewer where no more find room."""
    usual = rng.uniform(1.2, 1.9)  # mm; some have thicker ones than others
    thin, thick = DIAMETER_MM
    found: list[tuple] = []
    for _ in range(TRIES * n):
        length = rng.uniform(*LENGTH_MM)
        radius = float(np.clip(usual * rng.lognormal(0, 0.25), thin, thick)) / 2
        far = max(radius * rng.uniform(0.7, 1.0), thin / 2)
        (middle,) = _places(grid, region, 1, 0.6, rng)
        # Rising, fanned out to the side as the arteries are that come from below, and scattered.
        way = np.array([1.0, rng.normal(0, 0.3), 0.035 * middle[2] + rng.normal(0, 0.3)])
        half = way / np.linalg.norm(way) * (length - radius - far) / 2  # the round ends are part of the length
        new = (middle - half, middle + half, radius, far)
        ends = np.rint(grid.index(np.array(new[:2]))).astype(int).clip(0, np.array(grid.shape) - 1)
        others = [*found, *((centre, centre, reach) for centre, reach in lacunes)]
        if (region[tuple(ends.T)] > 0.3).all() and all(
            _gap(*new[:2], *other[:2]) > radius + other[2] + APART_MM for other in others
        ):
            found.append(new)
            if len(found) == n:
                break
    start, end, radius, far = zip(*found, strict=True) if found else ([], [], [], [])
    points = (np.array(point, float).reshape(-1, 3) for point in (start, end))
    return Tubes(*points, np.array(radius, float), np.array(far, float))


def _gap(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
    """The distance of the segments ab and cd, to a few hundredths: from nine points of the one to the other."""
    points = a + np.linspace(0, 1, 9)[:, None] * (b - a)
    way = d - c
    along = np.clip((points - c) @ way / max(way @ way, 1e-9), 0, 1)
    return float(np.linalg.norm(points - c - along[:, None] * way, axis=1).min())


def _scanned(tissue: np.ndarray, grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """What the scanner makes of it: shading, Rician noise, a scale of its own. uint16"""
    shaded = tissue * np.exp(0.08 * smooth_noise(grid, 40, rng))
    noise = rng.uniform(0.010, 0.030) * rng.standard_normal((2, *grid.shape), dtype=np.float32)
    return np.rint(np.hypot(shaded + noise[0], noise[1]) * rng.uniform(400, 2000)).astype(np.uint16)


def _segmented(grid: Grid, region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The region as a program would outline it: its border strays, in some scans further out or in than in others."""
    from scipy.ndimage import gaussian_filter

    near = gaussian_filter(region, 1.2 / grid.spacing)  # a border 2 or 3 mm wide in which to stray
    stray = 0.12 * smooth_noise(grid, 6, rng) * (near > 0.15)
    return near + stray > np.clip(rng.normal(0.42, 0.08), 0.25, 0.6)


def _save(file: Path, array: np.ndarray, grid: Grid) -> None:
    """An array (z, y, x), y to the front and x to the right, as .nii.gz with no clock in it."""
    import nibabel

    affine = np.diag([*grid.spacing[::-1], 1.0])
    affine[:3, 3] = grid.origin[::-1]
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.T), affine)
    file.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


TWIN = Twin(write, PvsSpec, "pvs")
