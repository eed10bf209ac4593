"""What a CT scanner makes of a body: voxels of its own size, blur, noise whose grain depends on the kernel.

Traits are drawn once a scan. "published" spacings are those of LUNA16's scans (slices up to 2.5 mm); "coarse" ones make
files a tenth as large, for runs on a laptop.
"""

from dataclasses import dataclass

import numpy as np

from fewscans.twins.space import Grid, smooth_noise

SPACINGS = ("coarse", "published")
CHUNK = 16  # slices whose noise is made at once


@dataclass(frozen=True)
class Scanner:
    """One scan's traits. Lengths in mm, intensities in HU."""

    spacing: np.ndarray  # (3,) z y x
    blur: float  # standard deviation in the plane
    slice_blur: float  # and across slices
    noise: float  # standard deviation in soft tissue
    grain: float  # cycles per mm at which noise is strongest; sharp kernels have fine grain


def draw_scanner(spacing: str, rng: np.random.Generator) -> Scanner:
    """A scanner and its settings; thin slices and sharp kernels are the noisier ones."""
    if spacing == "coarse":
        plane, slices = rng.uniform(1.4, 1.6), rng.choice([1.8, 2.0, 2.2])
    else:
        plane, slices = rng.uniform(0.55, 0.85), rng.choice([0.625, 1.0, 1.25, 2.0, 2.5], p=[0.1, 0.15, 0.4, 0.15, 0.2])
    sharp = rng.random()
    return Scanner(
        spacing=np.array([slices, plane, plane]),
        blur=max(0.75 - 0.3 * sharp, 0.45 * plane),
        slice_blur=0.42 * slices,
        noise=float(np.clip(rng.lognormal(np.log(24 + 20 * sharp), 0.45) * np.sqrt(1.25 / slices), 8, 110)),
        grain=float(0.16 + 0.3 * sharp),
    )


def parenchyma(grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """Lung without what is drawn into it, HU: denser towards the back, mottled by vessels too small to see."""
    y = grid.axes()[1]
    mean = np.clip(rng.normal(-860, 20), -905, -800)
    hu = mean + rng.uniform(0.05, 0.35) * y + rng.uniform(6, 14) * smooth_noise(grid, 14, rng)
    fine = smooth_noise(grid, 4, rng)
    hu += rng.uniform(8, 16) * fine + rng.uniform(3, 7) * np.square(fine)
    return hu.astype(np.float32)


def expose(hu: np.ndarray, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """The scan of a body given as HU at each voxel, (Z, Y, X) → int16: blurred, with noise, within -1024 and 3071."""
    from scipy.ndimage import gaussian_filter

    sigma = np.array([scanner.slice_blur, scanner.blur, scanner.blur]) / scanner.spacing
    blurred = gaussian_filter(hu, sigma, truncate=3, mode="nearest")
    frequency = np.hypot(
        np.fft.fftfreq(hu.shape[1], scanner.spacing[1])[:, None],
        np.fft.rfftfreq(hu.shape[2], scanner.spacing[2])[None, :],
    ).astype(np.float32)
    # The spectrum of noise after filtered back-projection: a ramp times a window.
    ramp = frequency / np.float32(scanner.grain)
    spectrum = ramp * np.exp(-ramp * ramp / 2) + np.float32(0.1)
    spectrum *= np.float32(scanner.noise) / np.sqrt(np.mean(np.square(spectrum)))
    before = None  # slices overlap: neighbours share some of their noise
    out = np.empty(hu.shape, np.int16)
    for first in range(0, len(hu), CHUNK):
        noise = _coloured(spectrum, (min(CHUNK, len(hu) - first), *hu.shape[1:]), rng)
        shared = np.concatenate([noise[:1] if before is None else before[None], noise[:-1]])
        before = noise[-1]
        noise = np.float32(0.9) * noise + np.float32(0.436) * shared
        part = blurred[first : first + CHUNK]
        # What absorbs most of the beam is noisiest: soft tissue more than lung.
        noise *= np.float32(0.8) + np.float32(0.2 / 1000) * np.clip(part + 1000, 0, 1000)
        out[first : first + CHUNK] = np.clip(np.rint(part + noise), -1024, 3071)
    return out


def _coloured(spectrum: np.ndarray, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    from scipy.fft import irfft2, rfft2

    white = rfft2(rng.standard_normal(shape, dtype=np.float32))
    white *= spectrum
    return irfft2(white, s=shape[1:])
