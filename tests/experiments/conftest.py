"""Small data for experiments, made on the fly."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans.data.base import Cases

SIDE = 50


@pytest.fixture(autouse=True)
def one_thread():
    """As in a sweep's worker: sums are taken in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_patches(count: int = 120, seed: int = 0) -> Cases:
    """Bright discs (label 1) and bright bars (label 0) in noise, half of each; three splits of both kinds."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    disc, bar = np.hypot(y, x) < 6, np.abs(y) < 3
    images = random.normal(60, 15, (count, SIDE, SIDE)) + 80 * np.where(labels[:, None, None] == 1, disc, bar)
    where = np.array(["train", "train", "train", "val", "test"])
    return Cases(
        images=np.clip(images, 0, 255).astype(np.uint8),
        target=labels.astype(np.int64),
        case=np.array([f"row{i * 100:06d}" for i in range(count)]),
        group=np.array([f"block{i // 4:04d}" for i in range(count)]),
        split=where[np.arange(count) // 2 % 5],
        fingerprint=f"patches{count}-{seed}",
        path=Path("patches"),
        about=pd.DataFrame({"repository_split": where[random.permutation(np.arange(count) % 5)]}),
    )


@pytest.fixture(scope="session")
def patches() -> Cases:
    return make_patches()
