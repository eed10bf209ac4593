"""Prediction tables from worlds whose truth is known."""

import numpy as np
import pandas as pd


def table(separation, seeds=5, n_groups=40, per_group=6, share=0.25, group_sd=0.5, seed_sd=0.1, noise=1.0, rng=0):
    """Rows for cells {(arm, N): separation of the classes}; each seed adds its own to the separation, each group to
    the score.

    A seed's and a group's effects are shared by all cells, as in a sweep where arms share seeds and test cases.
    """
    rng = np.random.default_rng(rng)
    group = np.repeat(np.arange(n_groups), per_group)
    y = (rng.random(group.size) < share).astype(float)
    y[:2] = 0, 1
    shift = group_sd * rng.normal(size=n_groups)
    by_seed = seed_sd * rng.normal(size=seeds)
    common = rng.normal(size=(seeds, y.size))
    rows = []
    for (arm, n_train), d in separation.items():
        for s in range(seeds):
            own = d + by_seed[s] + seed_sd * rng.normal()
            score = own * (y - 0.5) + shift[group] + noise * (0.8 * common[s] + 0.6 * rng.normal(size=y.size))
            rows.append(
                pd.DataFrame(
                    {
                        "arm": arm,
                        "n_train": n_train,
                        "seed": s,
                        "split": "test",
                        "case": [f"case{i:04d}" for i in range(y.size)],
                        "group": [f"scan{g:03d}" for g in group],
                        "target": y,
                        "prediction": 1 / (1 + np.exp(-score)),
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)
