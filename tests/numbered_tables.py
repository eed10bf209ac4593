"""Tables of a made-up world in which scans have a number each, for figures of regression: no network, no image."""

import numpy as np
import pandas as pd

from fewscans.figures.sources import Source
from fewscans.verdicts import Tables

SIZES = (12, 25, 100)
MAIN = ("base", "base-compute", "hydra-4")
VARIANTS = (
    "hydra-2", "hydra-8", "hydra-4-p0", "hydra-4-p30", "hydra-4-p50", "hydra-4-replacement", "base-mae", "hydra-4-mae",
    "base-centred", "hydra-4-centred", "base-dropout", "mixup", "c-mixup", "hydra-4-fixed", "hydra-4-permuted",
    "base-uniform", "base-compute-uniform", "hydra-4-uniform", "base-compute-unit", "hydra-4-unit",
)  # fmt: skip
TRIVIAL = ("mean", "histogram", "crop")
UNSEEN = ("base-unseen", "base-compute-unseen", "hydra-4-unseen")
ALL = {**dict.fromkeys((*MAIN, *TRIVIAL, "hydra-4-black"), SIZES), **dict.fromkeys((*VARIANTS, *UNSEEN), (25,))}
SITES = ("Utrecht", "Singapore", "Amsterdam GE3T")
STEPS = {"base": 100}


def skill(arm: str, n: int) -> float:
    """Correlation of predictions with labels: sums help, whatever else is done to them, unless their labels lie."""
    if arm in ("mean", "hydra-4-permuted"):
        return 0.0
    own = 0.25 + 0.12 * np.log(n / 12)
    return min(0.95, own + 0.2 * arm.startswith("hydra-4") + 0.05 * (arm == "base-compute"))


def world(real=True, seeds=5, dataset="msd-hippocampus", of=None, skilled=skill, cases=60, published=True) -> Source:
    """of: arms with their sizes.   skilled(arm, n): the correlation of predictions with labels."""
    rng = np.random.default_rng(0)
    y = (
        np.round(3.3 + 0.43 * rng.normal(size=cases), 3)
        if "hippo" in dataset
        else 1.0 * rng.negative_binomial(1, 0.1, cases)
    )
    if dataset.endswith("fraction"):
        y = 0.5 + 0.1 * (y - 3.3)
    case = [f"{SITES[i % 3]}/{i:02d}" if dataset == "wmh2017" else f"scan{i:03d}" for i in range(cases)]
    group = [f"person{i // 2:03d}" if "hippo" in dataset else case[i] for i in range(cases)]
    spread, hard = y.std(), rng.normal(size=cases)
    tables, history, records = [], [], []
    for arm, sizes in (of or ALL).items():
        for n in sizes:
            for seed in range(seeds):
                own = np.random.default_rng([seed, n, sum(map(ord, arm))])
                r = skilled(arm, n)
                error = 0.7 * hard + 0.7 * own.normal(size=cases)
                found = y.mean() + spread * (r**2 * (y - y.mean()) / spread + r * np.sqrt(1 - r**2) * error)
                if arm == "mean":
                    found = np.full(cases, y.mean() + 0.01 * own.normal())
                for split in ("test", "test-small-val"):
                    key = {"arm": arm, "n_train": n, "seed": seed, "split": split}
                    tables.append(pd.DataFrame(key | {"case": case, "group": group, "target": y, "prediction": found}))
                key = {"arm": arm, "n_train": n, "seed": seed}
                trivial = arm in TRIVIAL
                steps = 0 if trivial else STEPS.get(arm, 400)
                for step in range(10, steps + 1, 10):
                    loss = (1 - r) * (1 + np.exp(-step / 60)) + 0.002 * own.random()
                    names = ("step", "epoch", "train_loss", "val_loss", "small_val_loss")
                    history.append(key | dict(zip(names, (step, step * 4 / n, 0.9 * loss, loss, loss), strict=True)))
                if arm != "hydra-4-black":
                    network = {
                        "learning_rate": 1.0,
                        "parameters": 0 if trivial else 196_418,
                        "macs": 0 if trivial else 10**8,
                    }
                    network |= {"steps": steps, "images": 4 * steps, "sets": steps, "at_black": 0.2 * r * spread}
                    network |= {"label_constant": 3.3, "best_val_loss": 1 - r, "n_val": 24, "n_small_val": 5}
                    times = {"seconds_cpu": 0.01 + steps / 10, "seconds_wall": 0.01 + steps / 20}
                    records.append(key | network | times | {"device": "cpu", "torch": "2", "threads": 1})
    run = f"hydranet-{dataset}" + "-twin" * (not real)
    about = {"run": run, "real": real, "profile": "paper", "code": "c0de", "data": "da7a", "seeds": list(range(seeds))}
    made = Tables(pd.concat(tables, ignore_index=True), pd.DataFrame(history), 200)
    return Source(run, real, published, "paper", made, records, about)
