"""Which checkpoint a run kept: where early choices explain a score.

Networks are trained on balanced subsets and choose their checkpoint by the cross-entropy of a validation set that is
not balanced. A small training set is soon learnt by heart; from then on the network is sure of itself, and every
confident mistake costs cross-entropy even where the ranking, and so the AUC, still improves.
"""

from __future__ import annotations

import pandas as pd

from fewscans.figures import arms, wording
from fewscans.figures.sources import Source


def kept(source: Source) -> pd.DataFrame:
    """One row per arm and size.

    Over seeds: the median `update` kept, the share kept at the `first` validation, the mean validation `loss` there,
    and validation and training loss at the end (`loss_end`, `train_end`).
    """
    history, shown = source.tables.history, source.task.arms
    rows = []
    for (arm, n_train), runs in history[history["arm"].isin(shown)].groupby(["arm", "n_train"], observed=True):
        best = runs.loc[runs.groupby("seed")["val_loss"].idxmin()]
        end = runs[runs["step"] == runs["step"].max()]
        rows.append(
            {
                "arm": str(arm),
                "n_train": int(n_train),
                "update": best["step"].median(),
                "first": float((best["step"] == runs["step"].min()).mean()),
                "loss": best["val_loss"].mean(),
                "loss_end": end["val_loss"].mean(),
                "train_end": end["train_loss"].mean(),
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(order=table["arm"].map(shown.index)).sort_values(["n_train", "order"]).reset_index(drop=True)


def table(source: Source) -> str:
    """Markdown: what was kept, and what training went on to."""
    header = [
        "",
        "update kept (median)",
        "kept at the first validation",
        "validation loss there",
        "… at the end",
        "training loss at the end",
    ]
    rows = [
        [f"N = {row.n_train:,}, {arms.look(row.arm).label}", f"{row.update:g}", f"{100 * row.first:.0f}%"]
        + [wording.number(x, 2) for x in (row.loss, row.loss_end, row.train_end)]
        for row in kept(source).itertuples()
    ]
    return wording.markdown(header, rows)


def sentence(source: Source) -> str:
    """What the table says of the smallest size, in words that follow from it."""
    table = kept(source)
    smallest = table[table["n_train"] == table["n_train"].min()]
    early = smallest[smallest["first"] >= 0.5]
    n = int(smallest["n_train"].iloc[0])
    if early.empty:
        return f"At N = {n}, no arm keeps the checkpoint of the first validation in half of its seeds or more."
    names = wording.listed([f"{arms.look(r.arm).label} ({100 * r.first:.0f}%)" for r in early.itertuples()])
    first, ends = int(source.tables.history["step"].min()), smallest["train_end"]
    return (
        f"At N = {n}, half of the seeds or more keep the checkpoint of the **first** validation, after {first} "
        f"updates: {names}. There the validation loss is lowest, while training goes on to a loss of "
        f"{wording.number(ends.min(), 2)} to {wording.number(ends.max(), 2)}. Such a network has hardly begun to "
        "learn, so this size, under this rule, tells little about symmetry."
    )
