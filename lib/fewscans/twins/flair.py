"""What a FLAIR sequence makes of a head: fluid dark, cortex a little brighter than white matter, what is ill bright.

Intensities are in shares of the white matter's. Each site has a contrast and a noise of its own, each scan departs from
it; all are set by hand after the look of such images.

Three settings were tried on one coarse twin of 120 scans, and the third was kept. ICC of ridge on a 16-bin histogram
from 24 scans: first 0.58; darker, steadier scalps, brighter lesions and less noise 0.73, nearly all of it read off the
mean; the same with the scalps brighter again and more varied 0.58. In some 375 updates the base regressor had learned
from the latter two (0.51, 0.33 on scans of the same twin, one seed each).
"""

from dataclasses import dataclass, replace

import numpy as np

from fewscans.twins.brain import CORTEX_MM, Head, share
from fewscans.twins.lesions import Infarct
from fewscans.twins.space import Grid, smooth_noise

WHITE = 400.0  # a scanner's units for white matter; MR intensities have none of their own


@dataclass(frozen=True)
class Contrast:
    """Intensities as shares of white matter's, and what spoils them."""

    grey: float
    fluid: float
    lesion: float
    scalp: float
    rim: float  # brightness that the wall of healthy ventricles adds
    noise: float  # standard deviation in either channel of the receiver
    bias: float  # by how much, as a standard deviation of its logarithm, sensitivity varies over the head


SITES = {
    "Utrecht": Contrast(grey=1.12, fluid=0.30, lesion=1.85, scalp=1.20, rim=0.20, noise=0.035, bias=0.10),
    "Singapore": Contrast(grey=1.18, fluid=0.22, lesion=2.05, scalp=1.50, rim=0.25, noise=0.030, bias=0.13),
    "Amsterdam GE3T": Contrast(grey=1.20, fluid=0.15, lesion=1.95, scalp=1.00, rim=0.15, noise=0.045, bias=0.15),
}


def draw_contrast(site: str, rng: np.random.Generator) -> Contrast:
    """The contrast of one scan: its site's, a little off."""
    usual = SITES[site]
    return replace(
        usual,
        grey=1 + (usual.grey - 1) * float(rng.lognormal(0, 0.2)),
        fluid=usual.fluid * float(rng.lognormal(0, 0.15)),
        lesion=1 + (usual.lesion - 1) * float(rng.lognormal(0, 0.15)),
        scalp=usual.scalp * float(rng.lognormal(0, 0.3)),
        rim=usual.rim * float(rng.lognormal(0, 0.4)),
        noise=usual.noise * float(rng.lognormal(0, 0.2)),
    )


def paint(
    grid: Grid, head: Head, person, ill: np.ndarray, infarct: Infarct | None, contrast: Contrast, width: float, rng
) -> np.ndarray:
    """The signal at each place without bias or noise, (Z, Y, X) float32, white matter being 1.

    Args:    ill: (Z, Y, X) share of hyperintensity.   width: mm over which edges are spread.
    """
    grain = smooth_noise(grid, 9, rng)

    def lay(depth: np.ndarray | None, value, amount=None) -> None:
        """Put a tissue over what lies there already."""
        nonlocal signal
        filled = share(depth, width) if amount is None else amount
        signal += filled * (value - signal)

    signal = np.zeros(grid.shape, np.float32)
    lay(head.outline, np.float32(contrast.scalp) * (1 + np.float32(0.12) * grain))  # fat
    lay(head.outline - np.float32(person.scalp), np.float32(0.55) * (1 + np.float32(0.5) * grain))  # muscle
    lay(head.skull + np.float32(person.skull), np.float32(0.12))
    lay(head.skull, np.float32(contrast.fluid))
    cortex = np.float32(contrast.grey) + np.float32(0.04) * grain
    lay(head.brain, cortex)
    lay(head.cortex - np.float32(CORTEX_MM), 1 + np.float32(0.03) * grain)
    lay(head.grey, np.float32(0.4 + 0.6 * contrast.grey))
    lay(None, np.float32(contrast.fluid), share(-head.cortex, width) * share(head.brain, width))
    # Healthy walls of ventricles shine faintly too.
    signal += np.float32(contrast.rim) * np.exp(-np.square((head.ventricle - 1) / 2)) * (head.brain > 5)
    lay(-head.ventricle, np.float32(contrast.fluid) * (1 + np.float32(0.3) * np.clip(grain, -1, 2)))
    lay(None, np.float32(contrast.lesion) * (1 + np.float32(0.09) * grain), ill)
    if infarct is not None:
        lay(infarct.depth, np.float32(0.2 + 0.8 * contrast.lesion) * (1 + np.float32(0.08) * grain))
        if infarct.old:
            lay(infarct.depth - 3, np.float32(1.3 * contrast.fluid))
    return signal * np.exp(np.minimum(0, (head.place[0] + 45) / 30))  # the coil hears little of face and neck


def bias_field(grid: Grid, strength: float, rng: np.random.Generator) -> np.ndarray:
    """What the sensitivity of the coils multiplies the signal by, (Z, Y, X) float32."""
    return np.exp(np.float32(strength) * smooth_noise(grid, 120, rng))


def receive(signal: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The magnitude of a signal with noise in both channels (Rician), int16 in the scanner's units."""
    real = signal + np.float32(noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    other = np.float32(noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.clip(np.rint(WHITE * np.hypot(real, other)), 0, 32767).astype(np.int16)
