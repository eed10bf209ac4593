"""What lies in a lung beside its vessels: nodules, findings that count as neither, and what only looks like a nodule.

Nodules are 3 to 30 mm, solid, part-solid or ground-glass, smooth, lobulated or spiculated, free in the lung, on the
pleura or on a vessel. Look-alikes are drawn with the same edges, sizes and densities, and differ in shape alone: plates
(scars, thickened pleura) and rods (mucus in a bronchus). One cut through such a thing may well be round. Every shape is
turned at random in space: no orientation is special.
"""

from dataclasses import dataclass

import numpy as np

from fewscans.twins.space import Grid, Outline, blob, directions, rotation, tubes

SOLID, PART_SOLID, GROUND_GLASS, CALCIFIED = "solid", "part-solid", "ground-glass", "calcified"
SMOOTH, LOBULATED, SPICULATED = "smooth", "lobulated", "spiculated"
FREE, PLEURAL, VASCULAR = "free", "pleural", "vascular"
LOBES_MM = 5.0  # smaller nodules are too small to show lobes or spicules


@dataclass(frozen=True)
class Finding:
    """One of them.

    centre: (3,) mm, z y x.   diameter: mm, of a sphere of about the same volume.   density: HU above lung, inside.
    spicules: (m, 3) unit vectors.   soft: mm by which the edge is blurred.   core: of a part-solid nodule.
    malignant: 1.0, 0.0, or NaN where no grade was given.
    """

    centre: np.ndarray
    diameter: float
    kind: str
    surface: str
    place: str
    density: float
    outline: Outline
    spicules: np.ndarray
    soft: float = 0.0
    core: Outline | None = None
    malignant: float = float("nan")


def draw_diameters_mm(n: int, rng: np.random.Generator) -> np.ndarray:
    """Lognormal about 6.8 mm, drawn again outside LUNA16's 3 to 30: most nodules are small."""
    diameters = np.exp(rng.normal(np.log(6.8), 0.6, n))
    while (outside := (diameters < 3) | (diameters > 30)).any():
        diameters[outside] = np.exp(rng.normal(np.log(6.8), 0.6, int(outside.sum())))
    return diameters


def draw_nodule(centre: np.ndarray, diameter: float, place: str, rng: np.random.Generator) -> Finding:
    """A nodule of that size, of any kind, with a grade or none (one in ten)."""
    kind = str(rng.choice([SOLID, PART_SOLID, GROUND_GLASS], p=[0.76, 0.14, 0.10]))
    surface = str(rng.choice([SMOOTH, LOBULATED, SPICULATED], p=[0.40, 0.33, 0.27]))
    if diameter < LOBES_MM:
        surface = SMOOTH
    if kind != SOLID and diameter < 4:
        kind = SOLID  # a fainter one of this size would not have been found
    # How many bulges, how high as a share of the radius, how narrow.
    many, height, sharpness = {SMOOTH: (2, 0.08, 4), LOBULATED: (7, 0.42, 8), SPICULATED: (11, 0.38, 14)}[surface]
    many += int(rng.integers(-2, 3)) if many > 2 else 0
    outline = Outline(
        radius=diameter / 2,
        axes=rotation(rng),
        stretch=_stretch(rng.normal(0, 0.12, 3)),
        bulges=directions(many, rng),
        heights=height * rng.uniform(0.4, 1.2, many),
        sharpness=sharpness * float(rng.uniform(0.75, 1.3)),
    )
    spicules = directions(int(rng.integers(8, 18)), rng) if surface == SPICULATED else np.empty((0, 3))
    density, soft, core = rng.uniform(830, 940), 0.0, None
    if kind == GROUND_GLASS:
        density, soft = rng.uniform(230, 420), 1.2
    if kind == PART_SOLID:
        density, soft = rng.uniform(260, 480), 0.8
        radius = diameter / 2 * rng.uniform(0.35, 0.6)
        core = Outline(radius, rotation(rng), _stretch(rng.normal(0, 0.15, 3)), *_no_bulges())
    malignant = float(rng.random() < malignant_share(diameter, kind, surface, rng.normal(0, 1)))
    if rng.random() < 0.1:
        malignant = float("nan")
    return Finding(centre, diameter, kind, surface, place, density, outline, spicules, soft, core, malignant)


def malignant_share(diameter: float, kind: str, surface: str, luck: float = 0.0) -> float:
    """How probable a grade of malignant is: growing with size, with spicules, less with lobes.

    That larger, spiculated and part-solid nodules are the more suspicious ones is common to all guidelines; how much
    each weighs here is ours. luck: what a reader's grade depends on and no picture shows, standard normal.
    """
    odds = -3.6 + 2.2 * np.log(diameter / 8) + 0.8 * luck
    odds += {SMOOTH: 0.0, LOBULATED: 0.9, SPICULATED: 1.8}[surface] + {PART_SOLID: 0.5}.get(kind, 0.0)
    return float(1 / (1 + np.exp(-odds)))


def draw_excluded(centre: np.ndarray, rng: np.random.Generator) -> Finding:
    """What LUNA16 neither counts nor penalises: a calcified granuloma, a nodule below 3 mm, an elongated opacity."""
    what = rng.random()
    if what < 0.4:
        outline = Outline(rng.uniform(1.5, 3.5), rotation(rng), _stretch(rng.normal(0, 0.1, 3)), *_no_bulges())
        return _plain(centre, CALCIFIED, rng.uniform(1100, 1700), outline)
    if what < 0.75:
        outline = Outline(rng.uniform(0.9, 1.45), rotation(rng), _stretch(rng.normal(0, 0.1, 3)), *_no_bulges())
        return _plain(centre, SOLID, rng.uniform(830, 940), outline)
    outline = Outline(rng.uniform(2, 4), rotation(rng), _stretch(np.array([0.55, -0.2, -0.35])), *_no_bulges())
    return _plain(centre, SOLID, rng.uniform(600, 940), outline)


def draw_look_alike(centre: np.ndarray, volume_diameter: float, rng: np.random.Generator) -> Finding:
    """A rod or a plate with the volume of a nodule of that diameter, drawn like one."""
    long = np.log(rng.uniform(2.0, 3.2)) * np.array([1.0, -0.5, -0.5])
    flat = np.log(rng.uniform(2.0, 3.2)) * np.array([0.5, 0.5, -1.0])
    stretch = np.exp((long if rng.random() < 0.5 else flat) + rng.normal(0, 0.06, 3))
    many = int(rng.integers(0, 5))
    outline = Outline(
        volume_diameter / 2, rotation(rng), stretch / np.cbrt(stretch.prod()), directions(many, rng),
        0.15 * rng.uniform(0.4, 1.2, many), float(rng.uniform(3, 6)),
    )  # fmt: skip
    faint = rng.random() < 0.2
    density = rng.uniform(260, 480) if faint else rng.uniform(830, 940)
    return _plain(centre, GROUND_GLASS if faint else SOLID, density, outline, soft=1.0 if faint else 0.0)


def draw_plaque(centre: np.ndarray, inward: np.ndarray, rng: np.random.Generator) -> Finding:
    """Thickened pleura: a flat lens along the wall. inward: (3,) unit vector from the wall into the lung."""
    other = np.linalg.qr(np.column_stack([inward, rng.standard_normal((3, 2))]))[0].T
    stretch = np.exp(np.log(rng.uniform(1.6, 2.6)) * np.array([-1.0, 0.5, 0.5]) + rng.normal(0, 0.05, 3))
    outline = Outline(rng.uniform(2.5, 6), other, stretch / np.cbrt(stretch.prod()), *_no_bulges())
    return _plain(centre, SOLID, rng.uniform(830, 940), outline, place=PLEURAL)


def render(layer: np.ndarray, grain: np.ndarray, grid: Grid, finding: Finding) -> None:
    """Draw a finding into a layer of HU above lung. grain: what a faint one's density varies with, unit variance."""
    faint = finding.density < 550
    blob(layer, grid, finding.centre, finding.outline, finding.density, finding.soft, grain=grain if faint else None)
    if finding.core is not None:
        blob(layer, grid, finding.centre, finding.core, 860.0, 0.4)
    if len(finding.spicules):
        reach = finding.diameter / 2 * np.linspace(1.3, 2.1, len(finding.spicules)) + 1
        root = 0.4 + 0.03 * finding.diameter
        start = np.broadcast_to(finding.centre, finding.spicules.shape)
        end, widths = start + reach[:, None] * finding.spicules, (np.full(len(reach), w) for w in (2.4 * root, 0.3))
        tubes(layer, grid, start, end, *widths, min(finding.density, 800.0))


def _plain(centre, kind: str, density: float, outline: Outline, soft: float = 0.0, place: str = FREE) -> Finding:
    return Finding(centre, 2 * outline.radius, kind, SMOOTH, place, float(density), outline, np.empty((0, 3)), soft)


def _stretch(logs: np.ndarray) -> np.ndarray:
    """Ratios of axes of product 1, from their logarithms."""
    return np.exp(logs - logs.mean())


def _no_bulges() -> tuple[np.ndarray, np.ndarray, float]:
    return np.empty((0, 3)), np.empty(0), 1.0
