"""Results of a made-up world in which group networks separate the classes better: no network is trained."""

import numpy as np
import pandas as pd

from fewscans.results import Results

SIZES = (30, 100, 300)
PLANE = ("Z2", "p4", "p4m", "histogram")
GROUPS = ("p4", "p4m", "D4", "D4h", "O", "Oh")
CASES = 120


def world(dataset: str = "luna16-patches", arms=PLANE, real: bool = True, seeds: int = 3, strength=None) -> Results:
    """strength(arm, n): how many standard deviations lie between the classes."""
    strength = strength or (lambda arm, n: 0.4 * np.log10(n) + (0.8 if arm in GROUPS else 0.0))
    y = np.repeat((0.0, 1.0), CASES // 2)
    group = np.array([f"scan{i % 20:02d}" for i in range(CASES)])
    hard = np.random.default_rng(0).normal(size=CASES)
    tables, history, records = [], [], []
    for key in ((arm, n, seed) for arm in arms for n in SIZES for seed in range(seeds)):
        arm, n, seed = key
        own = np.random.default_rng([seed, n, sum(map(ord, arm))])
        logit = strength(arm, n) * (2 * y - 1) + hard + 0.5 * own.normal(size=CASES)
        rows = dict(zip(("arm", "n_train", "seed"), key, strict=True)) | {"split": "test"}
        case = [f"c{i:03d}" for i in range(CASES)]
        rows |= {"case": case, "group": group, "target": y, "prediction": 1 / (1 + np.exp(-logit))}
        tables.append(pd.DataFrame(rows))
        speed = 2.0 if arm in GROUPS else 1.0
        history += [(*key, 10 * i, float(i), 0.1, float(np.exp(-speed * i / 5))) for i in range(1, 9)]
        network = {"parameters": 9, "macs": 1e6, "convolution_parameters": 8, "steps": 80, "seconds_cpu": 1.5}
        records.append(dict(zip(("arm", "n_train", "seed"), key, strict=True)) | network)
    names = ("arm", "n_train", "seed", "step", "epoch", "train_loss", "val_loss")
    about = {"run": f"gcnn-{dataset}" + "-twin" * (not real), "experiment": "gcnn", "dataset": dataset, "real": real,
             "profile": "paper", "code": "c0de", "data": "da7a", "seeds": list(range(seeds))}  # fmt: skip
    reference = nodules(y, group) if dataset == "luna16" else None
    predictions, losses = pd.concat(tables, ignore_index=True), pd.DataFrame(history, columns=names)
    return Results(predictions, losses, records, about, reference, published=True, n_bootstrap=100)


def nodules(y: np.ndarray, group: np.ndarray) -> pd.DataFrame:
    """Every positive case marks a nodule of its own, each third of them malignant; one nodule has no mark."""
    scans = [*np.unique(group), "scan without a candidate"]
    rows = [("scan", scan, "", "", np.nan) for scan in scans] + [("nodule", scans[0], "missed", "", 0.0)]
    for i in np.flatnonzero(y):
        rows += [("nodule", group[i], f"n{i}", "", float(i % 3 == 0)), ("hit", group[i], f"n{i}", f"c{i:03d}", np.nan)]
    return pd.DataFrame(rows, columns=["kind", "scan", "nodule", "case", "malignant"])
