"""Training in bfloat16 on a CPU: are networks as good as those trained in single precision, and how much sooner?

    python benchmarks/precision.py [--n N] [--seeds N] [--quick] [--json FILE]

Z2 and p4m are trained twice with each seed, as the grid `pilot` of gcnn-luna16-patches says, with the learning rate of
its grid `long`, with and without half precision: same subset, start, order and augmentation. Scored on validation
patches, of a copy of the data set if there is one, else of the twin. Told are the paired difference of the last AUC
(half minus single, mean over seeds with its 95 % t interval) and the ratio of processor time. One thread; trainings
take turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from fewscans import params, paths, twins
from fewscans.data import registry
from fewscans.errors import DataError
from fewscans.experiments.base import Run
from fewscans.experiments.gcnn import EXPERIMENT

DATASET, RUN = "luna16-patches", "gcnn-luna16-patches"
ARMS = ("Z2", "p4m")


def patches(grid, profile: str):
    """Real patches if a copy is at hand, else the twin's; and which."""
    try:
        return EXPERIMENT.read(DATASET, registry.find(DATASET, paths.data_root()), grid), "real patches"
    except DataError:
        with tempfile.TemporaryDirectory() as folder:
            spec = twins.spec(DATASET, params.load().twins[DATASET][profile])
            return EXPERIMENT.read(
                DATASET, twins.write(DATASET, Path(folder) / "twin", spec), grid
            ), "the twin's patches"


def compared(arm: str, n: int, rate: float, grid, cases, seeds: int) -> dict:
    """Validation AUCs and seconds with each seed, single precision first."""
    score, seconds = np.zeros((2, 2, seeds))
    for k in range(seeds):
        for half in (0, 1):
            run = Run(grid.first_seed + k, n, arm, rate)
            entry, _ = EXPERIMENT.train_run(run, dataclasses.replace(grid, half=bool(half)), cases, torch.device("cpu"))
            score[half, k], seconds[half, k] = entry.record["val_score"], entry.record["seconds_cpu"]
    difference = score[1] - score[0]
    mean = float(difference.mean())
    reach = float(stats.t.ppf(0.975, seeds - 1) * difference.std(ddof=1) / math.sqrt(seeds))
    return {
        "arm": arm, "n_train": n, "single": float(score[0].mean()), "half": float(score[1].mean()),
        "difference": mean, "low": mean - reach, "high": mean + reach,
        "seconds": float(seconds[0].mean()), "ratio": float(np.median(seconds[1] / seconds[0])),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100, help="training patches (100)")
    parser.add_argument("--seeds", type=int, default=5, help="at least 2 (5)")
    parser.add_argument("--quick", action="store_true", help="60 updates and 2 seeds: only that it works")
    parser.add_argument("--json", help="write the numbers here")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    grid, rate = params.load().grid(RUN, "pilot"), params.load().grid(RUN, "long").learning_rates[0]
    if chosen.quick:
        grid = dataclasses.replace(grid, steps=60, eval_every=60, steps_at={})
    cases, what = patches(grid, "smoke" if chosen.quick else "quick")
    updates = EXPERIMENT.updates(Run(grid.first_seed, chosen.n, ARMS[0], rate), grid)
    print(f"{what}, {chosen.n} to train on, {updates} updates\n")
    print("| network | AUC, single | AUC, half | half - single | CPU seconds, single | half / single |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = []
    for arm in ARMS:
        row = compared(arm, chosen.n, rate, grid, cases, 2 if chosen.quick else chosen.seeds)
        rows.append(row)
        gain = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
        print(
            f"| {arm} | {row['single']:.4f} | {row['half']:.4f} | {gain} | {row['seconds']:.1f} | {row['ratio']:.2f} |"
        )
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
