"""Where a slide shows tissue, found in a small picture of it: a level of about 4 to 16 µm a pixel.

H&E tissue is coloured and glass is not. Both dyes absorb green the most, so pen marks in blue or green differ from
tissue by having more green than red, and black ink and black padding by being dark. Sizes are in µm, so levels agree.
`paper_rule` is the simpler rule of Liu et al., arXiv 1703.02442, as StAndrewsMedTech/repathcamelyon states it.
"""

from __future__ import annotations

import numpy as np

BLUR_UM = 4.0  # standard deviation; evens out noise
# By how many grey values green is below the stronger of red and blue. Noise and tinted glass stay below the first,
# pale stroma is above the second; Otsu's threshold is taken in between.
PALEST, SUREST = 10.0, 15.0
INK = 0.1  # green above red, as a share of the strongest channel less the weakest: hues from yellow to blue
DARK, COLOURLESS = 70, 25  # strongest channel, and strongest less weakest, below which it is black ink or padding
GAP_UM = 16.0  # between the walls of a torn or faint edge
SMALLEST_UM2 = 1e4  # less than 100 x 100 µm is dust
LARGEST_HOLE_UM2 = 1e5  # fat cells and their clusters, vessels: up to 0.1 mm²


def tissue(rgb: np.ndarray, microns_per_pixel: float) -> np.ndarray:
    """Tissue, pale stroma and enclosed fat included, without glass, pen marks (blue, green, black) and black padding.

    Args:    rgb: (H, W, 3) uint8.   microns_per_pixel: of this picture.
    Returns: (H, W) bool.
    """
    from skimage.filters import gaussian, threshold_otsu
    from skimage.morphology import isotropic_closing, remove_small_holes, remove_small_objects

    _check(rgb)
    if not 0 < microns_per_pixel < np.inf:
        raise ValueError(f"microns_per_pixel is {microns_per_pixel}; a picture of a slide has about 8")
    red, green, blue = smooth = [
        gaussian(rgb[..., n].astype(np.float32), BLUR_UM / microns_per_pixel) for n in range(3)
    ]
    colour = np.maximum(red, blue) - green
    strongest = np.maximum.reduce(smooth)
    spread = strongest - np.minimum.reduce(smooth)
    black = (strongest < DARK) & (spread < COLOURLESS)
    foreign = black | ((spread > PALEST) & (green - red > INK * spread))
    if foreign.all():
        return ~foreign
    threshold = np.clip(threshold_otsu(colour[~foreign]), PALEST, SUREST)
    found = isotropic_closing((colour > threshold) & ~foreign, GAP_UM / microns_per_pixel)
    found = remove_small_objects(found, max_size=int(SMALLEST_UM2 / microns_per_pixel**2))
    return remove_small_holes(found, max_size=int(LARGEST_HOLE_UM2 / microns_per_pixel**2)) & ~foreign


def paper_rule(rgb: np.ndarray, grey: float = 0.8) -> np.ndarray:
    """Pixels of (H, W, 3) uint8 whose luminance in [0, 1] is at most `grey`; pure black is padding. (H, W) bool."""
    from skimage.color import rgb2gray

    _check(rgb)
    return (rgb2gray(rgb) <= grey) & (rgb > 0).any(axis=-1)


def _check(rgb: np.ndarray) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"a picture of shape {rgb.shape}, {rgb.dtype}; it must be (height, width, 3) uint8")
