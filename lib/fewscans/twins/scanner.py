"""What the patches of one scan share, and how densities become grey levels of the lung window."""

from dataclasses import dataclass

import numpy as np

from fewscans.twins.anatomy import SIDE, Canvas


@dataclass(frozen=True)
class Scanners:
    """Traits drawn once a scan; after `of`, repeated for each of its patches."""

    spacing_mm: np.ndarray
    slice_mm: np.ndarray
    edge: np.ndarray  # pixels, the blur
    noise: np.ndarray  # grey levels, standard deviation
    sharpness: np.ndarray  # cycles per patch at which the noise is strongest
    lung: np.ndarray  # grey level
    tissue: np.ndarray  # grey level
    contrast: np.ndarray  # brightness of vessels against tissue; above 1 in an enhanced scan

    def of(self, scan: np.ndarray) -> "Scanners":
        """One value a patch, given the scan each belongs to."""
        return Scanners(**{name: values[scan] for name, values in vars(self).items()})


def draw_scanners(n: int, rng: np.random.Generator) -> Scanners:
    """Traits of n scans, near what LUNA16's scans look like in these patches."""
    enhanced = rng.random(n) < 0.35
    return Scanners(
        spacing_mm=rng.uniform(0.55, 0.85, n),
        slice_mm=rng.choice([0.75, 1.0, 1.25, 2.0, 2.5], n),
        edge=rng.uniform(0.4, 0.9, n),
        noise=np.clip(rng.lognormal(np.log(6.5), 0.7, n), 2, 40),
        sharpness=rng.uniform(5, 16, n),
        lung=np.clip(rng.normal(25, 6, n), 10, 45),
        tissue=rng.normal(186, 6, n),
        contrast=np.where(enhanced, rng.uniform(1.05, 1.4, n), rng.uniform(0.9, 1.05, n)),
    )


def expose(canvas: Canvas, scanner: Scanners, rng: np.random.Generator) -> np.ndarray:
    """The patches as a scanner would show them, with parenchyma texture and noise, (n, 50, 50) uint8."""
    n = len(canvas.tissue)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]).astype(np.float32) * SIDE
    texture = _coloured(rng, np.broadcast_to(np.exp(-((frequency / 5) ** 2)), (n, *frequency.shape)))
    slope = rng.normal(0, 0.12, (2, n, 1, 1)).astype(np.float32)
    axis = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    lung = _per_patch(scanner.lung + rng.normal(0, 3, n)) + _per_patch(rng.uniform(3, 8, n)) * texture
    lung += slope[0] * axis[:, None] + slope[1] * axis[None, :]

    rough = 1 + 0.22 * _per_patch(canvas.roughness) * texture * (canvas.tissue < 0.8)
    grey = lung + (_per_patch(scanner.tissue) - lung) * canvas.tissue * rough
    grey += (255 - grey) * canvas.bone * (1 - canvas.marrow)
    grey += (4 - grey) * canvas.air
    # The spectrum of noise after filtered back-projection: a ramp times a window. Tissue absorbs, so there is more
    # noise in it.
    ramp = frequency / _per_patch(scanner.sharpness)
    noise = _coloured(rng, ramp * np.exp(-ramp * ramp / 2) + 0.15)
    grey += noise * _per_patch(scanner.noise) * (0.8 + 0.5 * np.minimum(canvas.tissue, 1))
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _coloured(rng: np.random.Generator, spectrum: np.ndarray) -> np.ndarray:
    """Noise of unit variance with the given amplitude spectrum, (n, 50, 26) → (n, 50, 50) float32."""
    white = np.fft.rfft2(rng.standard_normal((len(spectrum), SIDE, SIDE), dtype=np.float32))
    noise = np.fft.irfft2(white * spectrum, s=(SIDE, SIDE)).astype(np.float32)
    return noise / noise.std(axis=(1, 2), keepdims=True)


def _per_patch(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)[:, None, None]
