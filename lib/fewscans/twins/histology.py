"""Drawing a lymph node as a slide stained with haematoxylin and eosin shows it, with or without tumour.

Where each tissue lies is drawn on a coarse grid of smooth fields. Cells stand on jittered lattices, so that they do not
overlap, and are kept as often as the fields say. `paint` stamps nuclei and cytoplasm as densities of the two stains and
turns their sum into light by Beer's law. Sizes are a textbook's: lymphocytes of 7 µm, large pale nuclei of germinal
centres of 9 to 11, tumour nuclei of 10 to 15 that differ among themselves. How pale, dense and varied the tissues are
was set by hand after the look of such slides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GRID_UM = 8.0  # spacing of the fields: field[i, j] is what lies at x = 8 j, y = 8 i µm
STRIP = 256  # rows of pixels painted at a time
PENS = ((1.6, 0.9, 0.25), (1.5, 0.45, 1.0), (1.5, 1.5, 1.4))  # absorbance of blue, green and black ink


class Look(NamedTuple):
    """What a laboratory and its scanner do to their slides.

    stains: (2, 3) absorbance of red, green and blue by haematoxylin and eosin.   varied: log-sd of the strength of
    either stain between slides.   blur_um: of the optics.   pale: how much less dense all is.   folded, blurred,
    marked: shares of slides with folds, parts out of focus, pen marks.
    """

    stains: tuple = ((0.66, 0.74, 0.40), (0.12, 0.94, 0.40))
    varied: float = 0.13
    white: tuple[float, float, float] = (243.0, 241.0, 244.0)
    blur_um: float = 0.7
    pale: float = 0.0
    folded: float = 0.35
    blurred: float = 0.3
    marked: float = 0.35


class Cells(NamedTuple):
    """Ellipses, one a row; x, y, radius in µm. The length is `stretch` times the width and lies at `angle`.

    bump: how far from an ellipse.   ink: density of the stain.   pale: how much less of it is in the middle, below 0
    how much more.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    stretch: np.ndarray
    angle: np.ndarray
    bump: np.ndarray
    ink: np.ndarray
    pale: np.ndarray

    def grown(self, factor: float, ink: np.ndarray | float) -> Cells:
        """The same ellipses, larger, with less ink to the border: cytoplasm about nuclei."""
        return self._replace(radius=self.radius * factor, ink=ink / 2 + 0 * self.ink, pale=self.pale * 0 - 1.5)


class Tissue(NamedTuple):
    """What `paint` reads. layers: fields by name.   stamps: cells inked with haematoxylin, with eosin, and holes."""

    layers: dict[str, np.ndarray]
    stamps: tuple[tuple[Cells, ...], ...]


def smooth(rng: np.random.Generator, shape: tuple[int, int], length_um: float) -> np.ndarray:
    """A random field of mean 0 and sd about 1 whose hills are about `length_um` apart, float32."""
    step = length_um / GRID_UM / 2
    sides = []
    for n in shape:
        away = np.abs(np.arange(n)[:, None] / step + rng.uniform(1, 2) - np.arange(int(np.ceil(n / step)) + 4))
        sides.append((np.clip(2 - away, 0, None) ** 3 - 4 * np.clip(1 - away, 0, None) ** 3) / 6)  # cubic B-spline
    rows, columns = sides
    hills = rng.standard_normal((rows.shape[1], columns.shape[1]))
    return (rows @ hills @ columns.T / 0.48).astype(np.float32)


def share(value: np.ndarray, width: float) -> np.ndarray:
    """How far a value is above 0: from 0 at -width to 1 at width, float32."""
    return np.clip(value / (2 * width) + 0.5, 0, 1).astype(np.float32)


def outline(width_um: float, height_um: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One or two sections of a node: two fields, µm inside the tissue and µm inside the node; fat is between them."""
    shape = tuple(int(np.ceil(um / GRID_UM)) + 2 for um in (height_um, width_um))
    size, two, upright = min(width_um, height_um) / 2, rng.random() < 0.4, rng.random() < 0.5
    y, x = (np.arange(n, dtype=np.float32) * GRID_UM for n in shape)
    u, v = x[None] - width_um / 2, y[:, None] - height_um / 2
    u, v = (v, u) if upright else (u, v)
    depth = np.full(shape, -np.inf, np.float32)
    for side in (-0.47, 0.47) if two else (0.0,):
        long, turn = size * rng.uniform(0.76, 0.86), rng.normal(0, 0.06 if two else 0.4)
        short = size * (rng.uniform(0.37, 0.42) if two else rng.uniform(0.62, 0.8))
        along, aside = u, v - side * size
        along, aside = along * np.cos(turn) + aside * np.sin(turn), aside * np.cos(turn) - along * np.sin(turn)
        np.maximum(depth, (1 - np.hypot(along / long, aside / short)) * short, out=depth)
    depth += size * (0.05 * smooth(rng, shape, 0.6 * size) + 0.012 * smooth(rng, shape, 0.15 * size))
    fat = size * np.clip(0.1 * smooth(rng, shape, 0.9 * size) - 0.02, 0, 0.2)
    return depth, depth - fat


def fill(depth: np.ndarray, node: np.ndarray, cancer: np.ndarray, rng: np.random.Generator) -> Tissue:
    """Lay out the tissues of a slide and scatter their cells.

    Args:    depth, node: µm inside the tissue and inside the node.   cancer: µm inside tumour, roughly, and exactly 0
             on its border.
    """
    shape = depth.shape
    tumour, inside = share(cancer, 4), share(node - 25, 8)
    ridge, course = smooth(rng, shape, 450), smooth(rng, shape, 160)
    capsule = share(rng.uniform(18, 40) - np.abs(node - 15), 10) * (1 - tumour)
    beams = share(0.07 - np.abs(ridge), 0.03) * share(smooth(rng, shape, 500), 0.4) * inside * (1 - tumour)
    septa = share(rng.uniform(0.02, 0.15) - np.abs(smooth(rng, shape, 140)), 0.06) * tumour
    collagen = np.maximum(np.maximum(beams, capsule), septa)
    medulla = share(node / 350 - 1.2 + 0.9 * smooth(rng, shape, 600), 0.5)
    sinus = np.maximum(share(18 - np.abs(node - 60), 8), medulla * share(0.25 - np.abs(course), 0.12))
    sinus *= share(node - 35, 8) * (1 - collagen)
    bumps = smooth(rng, shape, 110)
    follicles, centres = _follicles(node, rng)
    follicle, centre = share(follicles + 0.12 * bumps, 0.08), share(centres + 0.12 * bumps, 0.12)
    spots = _spots(node > 60, 1_000_000, rng)
    heaps = share(_hills(shape, spots, rng.lognormal(np.log(60), 0.5, len(spots))) + 0.3 * bumps, 0.15)

    healthy = inside * (1 - tumour)
    cells = healthy * (1 - 0.92 * collagen) * (1 - 0.85 * sinus) * (1 - 0.8 * centre) * (1 - 0.85 * heaps)
    cells *= (0.8 + 0.2 * follicle + 0.06 * smooth(rng, shape, 150)) * (1 - 0.25 * medulla * (1 - follicle))
    cells += tumour * (float(np.exp(rng.uniform(-4, -1.2))) + 0.35 * septa) + 0.03 * share(depth - 6, 4)
    pink = healthy * np.maximum(heaps, 0.35 * sinus) * (1 - collagen)

    radius, ink, eosin = rng.uniform(4.8, 6.6), rng.uniform(0.4, 0.7), rng.uniform(0.10, 0.36)  # this tumour's
    nests = share(cancer + 8, 4) * (1 - 0.9 * septa)
    sd, pale = rng.uniform(0.13, 0.22), rng.uniform(0.2, 0.5)
    atypical = scatter(nests, 2.5 * radius, radius, sd, rng, ink=ink, vary=0.3, bump=0.25, pale=pale)
    atypical = Cells(*(column[_at(cancer, atypical.x, atypical.y) > 0] for column in atypical))  # to the very border
    dark, size = rng.uniform(0.5, 0.75), rng.uniform(4.4, 5.3)  # of this node's germinal centres
    germ = scatter(healthy * centre, 2.45 * size, size, 0.12, rng, ink=dark, vary=0.2, bump=0.1, pale=0.35)
    mild = scatter(pink, 17.5, 4.5, 0.1, rng, ink=0.55, vary=0.15, stretch=1.5, pale=0.25)
    small = scatter(cells, 7.6, 3.3, 0.09, rng, ink=1.25, vary=0.12, bump=0.08, pale=0.1)
    spindle = scatter(collagen * share(depth - 5, 5), 21, 2.6, 0.15, rng, ink=0.8, stretch=4.0)
    vessel = scatter(healthy * (0.4 + 0.6 * medulla), 230, 12, 0.35, rng, ink=0.5, stretch=1.5, bump=0.1)
    fat = scatter(share(depth - 45, 6) * share(-25 - node, 8), 66, 31, 0.1, rng, ink=1.0, bump=0.08)
    fibres = np.where(beams + septa > capsule, 9 * ridge + 4 * septa, node / 14 + ridge).astype(np.float32)
    down, right = (_at(slope, spindle.x, spindle.y) for slope in np.gradient(fibres))
    spindle = spindle._replace(angle=np.arctan2(right, -down))
    return Tissue(
        {
            "depth": depth, "collagen": collagen, "fibres": fibres,
            "haematoxylin": 0.05 * inside + 0.10 * centre * healthy + 0.04 * tumour,
            "eosin": 0.13 * inside * (1 - 0.75 * sinus) + 0.08 * tumour + 0.2 * (1 - inside),
        },
        (
            (small, germ, mild, atypical, spindle),
            (
                atypical.grown(1.55, eosin), mild.grown(2.1, 0.2), germ.grown(1.35, rng.uniform(0.08, 0.28)),
                vessel, vessel.grown(1.3, 0.2),
            ),
            (fat,),
        ),
    )  # fmt: skip


def scatter(often, pitch_um, radius_um, sd, rng, *, ink, vary=0.1, stretch=1.12, bump=0.05, pale=0.0) -> Cells:
    """Cells on a jittered hexagonal lattice, each kept with the probability that the field `often` has there.

    Args:    pitch_um: of the lattice.   sd: log-sd of the radius.   vary: log-sd of the ink.
    """
    height, width = ((n - 2) * GRID_UM for n in often.shape)
    y, x = np.mgrid[0 : height : pitch_um * 0.866, 0:width:pitch_um]
    x[1::2] += pitch_um / 2
    x, y = (a.ravel() + rng.normal(0, 0.17 * pitch_um, a.size) for a in (x, y))
    kept = rng.random(x.size) < _at(often, x, y)
    x, y, n = x[kept], y[kept], np.count_nonzero(kept)
    angle, normal = rng.uniform(0, np.pi, n), rng.standard_normal((4, n)).clip(-2, 2)
    return Cells(
        x, y, radius_um * np.exp(sd * normal[0]), stretch * np.exp(0.1 * normal[1]), angle, bump * normal[2],
        ink * np.exp(vary * normal[3]), np.full(n, pale),
    )  # fmt: skip


def paint(tissue: Tissue, width: int, height: int, microns_per_pixel: float, look: Look, rng) -> np.ndarray:
    """The slide as the scanner sees it: (height, width, 3) uint8. The first pixel's corner is the fields' origin."""
    from scipy.ndimage import gaussian_filter

    shape = tissue.layers["depth"].shape
    layers = tissue.layers | {"thick": _thickness(shape, look, rng)}
    sharp = rng.random() >= look.blurred
    if not sharp:
        layers["blur"] = share(smooth(rng, shape, 1500) - rng.uniform(-0.3, 0.8), 0.4)
    if rng.random() < look.marked:
        layers["pen"] = _pen(tissue.layers["depth"], rng)
    pen = PENS[rng.integers(len(PENS))]
    strength = np.exp(look.varied * rng.standard_normal(2) - look.pale)
    stains = (np.array(look.stains) * np.exp(0.06 * rng.standard_normal((2, 3))) * strength[:, None]).astype(np.float32)
    optics, defocus = look.blur_um / microns_per_pixel, rng.uniform(3.0, 6.0) / microns_per_pixel
    margin = 4 + round(3 * (optics if sharp else defocus))
    slide = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, STRIP):
        rows = np.arange(top - margin, min(top + STRIP, height) + margin)
        seen = {name: _enlarged(layer, rows, width, microns_per_pixel) for name, layer in layers.items()}
        dyes = [_stamped(cells, rows, width, microns_per_pixel) for cells in tissue.stamps]
        noise = gaussian_filter(rng.standard_normal(dyes[0].shape, np.float32), 0.7)
        there = share(seen["depth"], 2.5) * (1 - np.minimum(dyes.pop(), 1)) * seen["thick"]
        dyes[0] = (np.minimum(dyes[0] + 0.2 * dyes[1], 1.5) + seen["haematoxylin"] + 0.05 * noise) * there
        wavy = seen["collagen"] * (0.42 + 0.13 * np.sin(2 * np.pi * seen["fibres"]))
        dyes[1] = (dyes[1] + seen["eosin"] + wavy + 0.06 * noise) * there
        for i, dye in enumerate(dyes):
            dyes[i] = gaussian_filter(dye, optics)
            if not sharp:
                dyes[i] += seen["blur"] * (gaussian_filter(dye, defocus) - dyes[i])
        inner = slice(margin, len(rows) - margin)
        grain = 1.3 * rng.standard_normal((len(rows) - 2 * margin, width), np.float32)
        for channel in range(3):
            density = stains[0, channel] * dyes[0][inner] + stains[1, channel] * dyes[1][inner]
            if "pen" in seen:
                density += pen[channel] * share(seen["pen"][inner], 6)
            light = look.white[channel] * np.exp(-density) + grain
            slide[top : top + STRIP, :, channel] = np.clip(light + 0.5, 0, 255)
    return slide


def _thickness(shape: tuple[int, int], look: Look, rng: np.random.Generator) -> np.ndarray:
    """How thick the section is, about 1; nearly twice as much in folds."""
    thick = 1 + 0.07 * smooth(rng, shape, 900)
    for _ in range(rng.poisson(-np.log1p(-look.folded))):
        line = np.abs(smooth(rng, shape, 1600) - rng.normal(0, 0.5))
        fold = share(rng.uniform(0.02, 0.06) - line, 0.015) * share(smooth(rng, shape, 900), 0.3)
        thick += rng.uniform(0.6, 1.1) * fold
    return thick


def _pen(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A line drawn along some of the tissue's border, on glass and partly on tissue: µm inside the ink."""
    away = np.abs(depth + rng.uniform(-60, 250) + 90 * smooth(rng, depth.shape, 900))
    ink = rng.uniform(30, 55) + 5 * smooth(rng, depth.shape, 60) - away
    return np.minimum(ink, 150 * (smooth(rng, depth.shape, 2500) - rng.uniform(-0.2, 0.9)))


def _follicles(node: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Hills above 0 in follicles, and in the germinal centres that two thirds of them have."""
    spots = _spots((node > 120) & (node < 650), 330_000, rng)
    radii = rng.uniform(110, 240, len(spots))
    active = rng.random(len(spots)) < 0.65
    inner = radii * rng.uniform(0.5, 0.75, len(spots))
    return _hills(node.shape, spots, radii), _hills(node.shape, spots[active], inner[active])


def _spots(where: np.ndarray, area_um2: float, rng: np.random.Generator) -> np.ndarray:
    """Rows and columns of places where `where` is true, one in such an area on average, (n, 2)."""
    places = np.argwhere(where)
    return places[rng.integers(max(1, len(places)), size=rng.poisson(len(places) * GRID_UM**2 / area_um2))]


def _hills(shape: tuple[int, int], spots: np.ndarray, radii_um: np.ndarray) -> np.ndarray:
    """Cones of height 1 with their foot at 0 on circles; -1 far from all."""
    hills = np.full(shape, -1, np.float32)
    for spot, radius in zip(spots, radii_um / GRID_UM, strict=True):
        rows, columns = (slice(max(0, int(c - 2 * radius)), int(c + 2 * radius) + 2) for c in spot)
        y, x = (np.arange(*s.indices(n)) - c for s, n, c in zip((rows, columns), shape, spot, strict=True))
        hills[rows, columns] = np.maximum(hills[rows, columns], 1 - np.hypot(y[:, None], x) / radius)
    return hills


def _at(field: np.ndarray, x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    return map_coordinates(field, (y_um / GRID_UM, x_um / GRID_UM), order=1, mode="nearest")


def _enlarged(field: np.ndarray, rows: np.ndarray, width: int, microns_per_pixel: float) -> np.ndarray:
    """Some rows of pixels of a field, by linear interpolation at their centres, (len(rows), width) float32."""
    for places, last in ((rows, field.shape[0] - 2), (np.arange(width), field.shape[1] - 2)):
        place = ((places + 0.5) * (microns_per_pixel / GRID_UM)).clip(0, last + 1)
        low = np.minimum(place.astype(int), last)
        part = (place - low).astype(np.float32)[:, None]
        field = (field[low] + part * (field[low + 1] - field[low])).T
    return field


def _stamped(groups: tuple[Cells, ...], rows: np.ndarray, width: int, microns_per_pixel: float) -> np.ndarray:
    """The ink of cells in some rows of pixels, added up, (len(rows), width) float32."""
    edge, scale = int(150 / microns_per_pixel) + 2, np.float32(microns_per_pixel)  # no cell reaches further
    ink = np.zeros((len(rows) + 2 * edge, width + 2 * edge), np.float32)
    for cells in groups:
        long = 1.2 * cells.radius * np.sqrt(cells.stretch)
        near = (cells.y + long > rows[0] * scale) & (cells.y - long < rows[-1] * scale + scale)
        near &= (cells.x > 0) & (cells.x < width * scale)
        reaches, table = (long[near] / scale + 0.5).astype(int), np.stack([c[near] for c in cells]).astype(np.float32)
        for reach in np.unique(reaches):  # cells of one size have windows of one size
            x, y, radius, stretch, angle, bump, dark, pale = table[:, reaches == reach, None, None]
            x, y, radius = x / scale, y / scale - int(rows[0]), radius / scale
            step = np.arange(-reach, reach + 1)
            first = (np.floor(y).astype(int) + edge) * ink.shape[1] + np.floor(x).astype(int) + edge
            right, down = (step.astype(np.float32) + np.float32(0.5) - c % 1 for c in (x, y))  # from the centre
            down = down.swapaxes(1, 2)  # (n, k, 1); right is (n, 1, k)
            wide, high = np.sqrt(stretch) * radius, radius / np.sqrt(stretch)
            u = right * (np.cos(angle) / wide) + down * (np.sin(angle) / wide)
            v = down * (np.cos(angle) / high) - right * (np.sin(angle) / high)
            v *= v
            u += bump * v
            v += u * u  # squared distance from the centre, 1 at the border
            filled = np.clip(radius + 0.5 - radius * np.sqrt(v), 0, 1)
            filled *= dark * (1 - pale) + (dark * pale) * np.minimum(v, 1)
            np.add.at(ink.reshape(-1), (first + step[:, None] * ink.shape[1] + step).reshape(-1), filled.reshape(-1))
    return ink[edge:-edge, edge:-edge]
