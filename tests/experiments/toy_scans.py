"""Scans so small that a network of full width takes a moment: bright dots in noise, the number counts them."""

from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.data.base import Cases

SHAPE = (4, 6, 5)
SITES = ("Amsterdam", "Singapore", "Utrecht")
SPACING = {"Amsterdam": (1.0, 1.0, 1.0), "Singapore": (3.0, 1.0, 1.0), "Utrecht": (2.0, 1.0, 0.8)}  # z y x, mm
PER_DOT = 0.25  # ml


def make_scans(persons: int = 30, seed: int = 0, shape=SHAPE, dots: int = 12, noise=(20, 60)) -> Cases:
    """Of every fourth person one scan, of the others two; at each of three sites three fifths of them to train on."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(persons), [1 if i % 4 == 0 else 2 for i in range(persons)])
    count = random.integers(0, dots + 1, len(person))
    images = random.integers(*noise, (len(person), *shape)).astype(np.uint8)
    for image, some in zip(images, count, strict=True):
        image.reshape(-1)[random.choice(image.size, some, replace=False)] = 250
    site = np.array(SITES)[person % 3]
    sides = {f"shape_{axis}": 20 + count + random.integers(0, 3, len(person)) for axis in "zyx"}
    return Cases(
        images=images,
        target=PER_DOT * count,
        unit="ml",
        spacing_mm=np.array([SPACING[name] for name in site]),
        case=np.array([f"case{i:03d}" for i in range(len(person))]),
        group=np.array([f"person{i:02d}" for i in person]),
        split=np.array(["train", "train", "train", "val", "test"])[person // 3 % 5],
        about=pd.DataFrame({"site": site, "fold": person // 3 % 5, **sides}),
        fingerprint=f"dots{persons}-{seed}",
        path=Path("dots"),
    )
