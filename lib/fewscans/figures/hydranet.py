"""Figures and tables of one result: regression from sums over sets of scans (Dubost et al., Hydranet, MICCAI 2019).

First what the paper prints and what its test sets can tell, then the idea of sums on numbers, then our runs. Three
networks are compared: `base` (single scans, a quarter of the forward passes, as in the paper), `base-compute` (single
scans, as many forward passes as sums have) and `hydra-4` (sums over sets of four).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.ticker import LogLocator
from torch import Tensor
from torch.nn import functional as F

from fewscans import claims, results
from fewscans.claims import Claims
from fewscans.data import box
from fewscans.data.base import Cases
from fewscans.experiments.hydranet import ARMS, sets
from fewscans.figures import curves, scatter, slices
from fewscans.figures.curves import Panel
from fewscans.figures.style import GREY, Picture, legend, sheet, styled
from fewscans.figures.tables import score_label, text, wide
from fewscans.nn import hydra
from fewscans.nn.regressor import BaseRegressor
from fewscans.results import Results
from fewscans.stats.icc import icc, interval_of
from fewscans.stats.power import Method, study

PAPER = "dubost-2019"
SUMS = "hydra-4"
RIVALS = ("base", "base-compute")
MAIN = (*RIVALS, SUMS)
TRIVIAL = ("mean", "histogram", "crop")
SHORT = {"msd-hippocampus": "hippocampi", "wmh2017": "lesions", "pvs": "perivascular spaces"}
# The paper's tables of ICCs: what is predicted, the loss, test scans by training scans.
PRINTED = {
    "Text, perivascular spaces": ("perivascular spaces", "MSE", {25: 1977}),
    "Table 1": ("lesion volume", "MSE", {30: 30, 40: 20}),
    "Table 1, MAE": ("lesion volume", "MAE", {30: 30}),
}
SHARED = (0.0, 0.8)  # of the variance of their errors, what two networks have in common: nobody knows how much
DRAWN = 10_000  # sets
LEARNING_NOTE = (
    "Hollow: the paper, which prints no intervals. Bars: 95 % intervals over seeds and people. An ICC grows with the "
    "spread of the labels, so heights of different panels cannot be compared."
)
SMALL = (8, 10, 8)  # voxels of the images that gradients are compared on


# What the paper prints


def printed(loaded: Claims) -> pd.DataFrame:
    """Every pair of ICCs that the paper prints, with the 95 % intervals that follow from its test scans, and the power.

    power: how often studies of that size would call a difference like the printed one significant if it were the truth
    and both networks were fixed. The range is for errors that have nothing, up to 80 % of their variance, in common.
    """
    rows = []
    for name, (task, loss, n_test) in PRINTED.items():
        for n, (base, sums) in loaded.table(PAPER, name).iterrows():
            scans = n_test[n]
            better, worse = (Method(value) for value in sorted((base, sums), reverse=True))
            power = sorted(study(better, worse, scans, shared=share).power for share in SHARED)
            intervals = [text(interval_of(value, scans), 2) for value in (base, sums)]
            between = " to ".join(f"{100 * p:.0f}" for p in power)
            rows.append([task, loss, n, scans, *intervals, f"{between} %"])
    columns = ["label", "loss", "training scans", "test scans", "base", "sums of 4", "power"]
    return pd.DataFrame(rows, columns=columns).set_index("label").rename_axis(None)


def paper_panel(loaded: Claims) -> Panel:
    """The paper's ICCs of lesion volumes over the scans that train, those that validate left out."""
    table = loaded.table(PAPER, "Table 1").rename(index=loaded.papers[PAPER]["tables"]["Table 1"]["trained_on"])
    looks = {arm: ARMS[arm] for arm in MAIN}
    return curves.paper_table(table, looks, "ICC", title="lesions (paper)", xlabel="training scans")


# The idea, on numbers and untrained networks


def gallery(cases: Cases, title: str, note: str = "", shown: int = 8) -> Picture:
    """Training scans from the smallest label to the largest, as networks see them: an axial and a sagittal slice."""
    pool = cases.indices("train")
    pool = pool[np.argsort(cases.target[pool], kind="stable")]
    chosen = pool[np.linspace(0, len(pool) - 1, shown).round().astype(int)]
    planes = [slices.planes(cases.images[i]) for i in chosen]
    rows = {name: [of_scan[name] for of_scan in planes] for name in ("axial", "sagittal")}  # the front above, or right
    unit = f" {cases.unit}" if cases.unit == "ml" else ""
    headings = [f"{cases.target[i]:.3g}{unit}" for i in chosen]
    about = {"data": cases.fingerprint, "cases": cases.case[chosen].tolist()}
    return slices.rows_of(rows, title, note, headings, limits=(0, 255), provenance=about)


def layers() -> pd.DataFrame:
    """The base regressor, layer by layer, with its parameters."""
    net, rows = BaseRegressor(), []
    for nth, layer in enumerate(net.convolutions, start=1):
        rows.append([f"convolution {nth} (3 × 3 × 3), ReLU", layer.in_channels, layer.out_channels, _parameters(layer)])
        if nth == 2:
            rows.append(["block's input concatenated, max-pool (2 × 2 × 2)", 32, 33, 0])
    rows.append(["block's input concatenated, global average", 64, 97, 0])
    rows.append(["linear, no activation", 97, 1, _parameters(net.output)])
    rows.append(["all, alone", 1, 1, _parameters(net)])
    rows.append(["all, in four branches", 4, 1, _parameters(hydra.Hydra(net, 4))])
    return pd.DataFrame(rows, columns=["layer", "maps in", "maps out", "parameters"]).set_index("layer")


def _parameters(layer: torch.nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


def untrained(seed: int = 0) -> BaseRegressor:
    """A network in 64-bit arithmetic."""
    net = BaseRegressor()
    net.reset_parameters(torch.Generator().manual_seed(seed))
    return net.double()


def example(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Four images (4, 1, D, H, W) and labels (4,) on which `untrained(seed)` errs in either direction; the last is
    black."""
    x = torch.rand(4, 1, *SMALL, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x ** torch.tensor([0.25, 1.0, 6.0, 2.0]).double()[:, None, None, None, None]  # bright, grey, mostly dark
    with torch.no_grad():
        y = untrained(seed)(x) + torch.tensor([1.0, -0.5, -1.5, 0.5])
    x[3], y[3] = 0, 0
    return x, y


def gradients(seed: int = 0) -> dict[str, Tensor]:
    """Of one set of four images, (P,) each: by four branches, streamed one by one, and of four single losses."""
    x, y = example(seed)

    def branched(net: BaseRegressor) -> None:
        F.mse_loss(hydra.Hydra(net, 4)(x[None]), y.sum()[None]).backward()

    def streamed(net: BaseRegressor) -> None:
        members = torch.tensor([[0, 1, 2, sets.BLACK]])
        hydra.streamed_step(net, lambda i: x[i], members, y.sum()[None], F.mse_loss, SMALL)

    def single(net: BaseRegressor) -> None:
        F.mse_loss(net(x), y, reduction="sum").backward()

    made = {}
    for step in (branched, streamed, single):
        net = untrained(seed)
        step(net)
        made[step.__name__] = torch.cat([p.grad.flatten() for p in net.parameters()])
    return made


def drawn_sets(labels: Sequence[float], p_black: float = sets.P_BLACK, seed: int = 0) -> pd.DataFrame:
    """Many sets of four: how many scans each holds that are not black (`count`), and its `label`."""
    drawn = sets.draw_sets(len(labels), DRAWN, p_black=p_black, generator=torch.Generator().manual_seed(seed))
    total = sets.set_labels(torch.tensor(np.asarray(labels, dtype=float)), drawn)
    return pd.DataFrame({"count": (drawn >= 0).sum(1).numpy(), "label": total.numpy()})


def count_share(labels: Sequence[float], seed: int = 0) -> float:
    """Share of the variance of the sets' labels that the number of scans that are not black explains."""
    drawn = drawn_sets(labels, seed=seed)
    return float(np.corrcoef(drawn["count"], drawn["label"])[0, 1] ** 2)


@styled
def composition(labels: Mapping[str, Sequence[float]], units: Mapping[str, str], seed: int = 0) -> Picture:
    """Labels of sets over the number of their scans that are not black, a panel a data set."""
    title = "Labels of sets of four, by the scans that are not black"
    note = f"1,000 of {DRAWN:,} sets, each scan black with p = {sets.P_BLACK:g}; dots are moved sideways at random. "
    note += "Lines: the mean."
    figure, axes = sheet(title, 1, len(labels), 3.3, note)
    for panel, (name, y) in zip(axes[0], labels.items(), strict=True):
        drawn = drawn_sets(y, seed=seed)
        dots = drawn[:1000]
        aside = np.random.default_rng(seed).uniform(-0.28, 0.28, len(dots))
        panel.scatter(dots["count"] + aside, dots["label"], s=4, color="#0072B2", alpha=0.3, linewidths=0)
        sns.lineplot(drawn.round(4), x="count", y="label", errorbar=None, color="#E69F00", ax=panel)
        panel.set(xticks=range(sets.SIZE + 1), xlabel="scans not black", ylabel=f"label of the set ({units[name]})")
        panel.set_title(name)
    return Picture(figure, title, {"figure": title, "labels": {name: len(y) for name, y in labels.items()}})


def leak(cases: Cases) -> pd.DataFrame:
    """What can be guessed of the label from how an image was cut: least squares, fitted to other people."""
    images = cases.images
    features = {
        "side lengths of the published images": cases.about[["shape_z", "shape_y", "shape_x"]].to_numpy(float),
        "padding visible in our windows": box.padding(images).astype(float),
        "mean intensity of our windows": images.reshape(len(images), -1).mean(axis=1, keepdims=True),
    }
    guessed = {name: box.predicted(x, cases.target, cases.group) for name, x in features.items()}
    rows = {name: text(icc(np.column_stack([cases.target, guess])), 2) for name, guess in guessed.items()}
    return pd.DataFrame({"ICC(A,1) with the volume": rows})


# Our runs


def short_name(run: Results) -> str:
    """ "hippocampi (real)", "lesions (twin)"."""
    name = run.dataset.name
    return f"{SHORT.get(name, name)} ({'real' if run.real else 'twin'})"


def learning_curves(several: Sequence[Results], loaded: Claims) -> Picture:
    """ICC over training scans: the paper's hollow, ours filled."""
    arms = [*MAIN, "histogram"]
    panels = [curves.scores(run, arms, "icc", ylabel="ICC", title=short_name(run)) for run in several]
    return curves.over_n([paper_panel(loaded), *panels], "ICC over training scans", LEARNING_NOTE, height=4.4)


def gain_panel(run: Results, score: str = "icc", split: str = "test") -> Panel:
    """What sums of four gain over each of the two rivals, paired by seed and scan."""
    parts = [run.gains([SUMS], rival, score, split).assign(arm=rival) for rival in RIVALS]
    looks = {rival: replace(ARMS[rival], label=f"sums of 4, minus {ARMS[rival].label}") for rival in RIVALS}
    table = pd.concat(parts, ignore_index=True)
    looks = {rival: look for rival, look in looks.items() if rival in set(table["arm"])}
    ylabel = f"gain in {score_label(score, run.dataset.unit)}"
    return Panel(table, looks, ylabel, f"training {run.dataset.plural}", short_name(run), lines=(0.0,),
                 provenance=run.provenance)  # fmt: skip


def gains(several: Sequence[Results]) -> Picture:
    """Gains of sums over both rivals, a panel a data set."""
    note = "Paired by seed and scan; bars: 95 % intervals over seeds and people. Above 0, sums are better."
    return curves.over_n([gain_panel(run) for run in several], "Gain in ICC of sums over single scans", note)


def gain_table(run: Results, score: str, split: str = "test") -> pd.DataFrame:
    """The same as a table; an asterisk marks a 95 % interval that excludes 0."""
    return wide(gain_panel(run, score, split).table, run, star=True).rename(index="minus {}".format)


def scores_by_seed(run: Results) -> pd.DataFrame:
    """The ICC of every single network: arm, n_train, seed, icc."""
    table = run.resampled("icc")
    cells = [(arm, n) for arm in MAIN if arm in run.arms for n in run.sizes(arm)]
    parts = [pd.DataFrame({"arm": arm, "n_train": n, "seed": table.cell(arm, n).seeds, "icc": table.values(arm, n)})
             for arm, n in cells]  # fmt: skip
    return pd.concat(parts, ignore_index=True).round(4)


@styled
def seeds(several: Sequence[Results]) -> Picture:
    """The ICC of every network, a dot each; a dash is the mean of an arm at a size."""
    title = "ICC of every single network"
    figure, axes = sheet(title, 1, len(several), 3.6, "A dot: one network (a seed). A dash: the mean over seeds.")
    for panel, run in zip(axes[0], several, strict=True):
        table = scores_by_seed(run)
        arms = list(table["arm"].unique())
        options = {"x": "n_train", "y": "icc", "hue": "arm", "hue_order": arms, "legend": False, "ax": panel}
        palette = {arm: run.arm(arm).colour for arm in arms}
        sns.stripplot(table, dodge=True, jitter=False, palette=palette, size=4.5, alpha=0.75, **options)
        sns.pointplot(table, dodge=0.8 - 0.8 / len(arms), palette=palette, errorbar=None, linestyle="none",
                      marker="_", markersize=11, markeredgewidth=2.2, **options)  # fmt: skip
        panel.set(xlabel=f"training {run.dataset.plural}", ylabel="ICC(A,1)")
        panel.set_title(short_name(run))
        panel.grid(False, axis="x")
    handles = {}
    for run in several:
        handles |= {run.arm(a).label: axes[0, 0].plot([], [], "o", color=run.arm(a).colour)[0] for a in MAIN}
    legend(figure, handles)
    return Picture(figure, title, {"figure": title, "sources": [run.provenance for run in several]})


@styled
def differences(run: Results, pairs: Sequence[tuple[str, str, int]], title: str, note: str = "") -> Picture:
    """Paired gains in ICC, one above the other, with their intervals.   pairs: (arm, baseline, n_train)."""
    figure, axes = sheet(title, 1, 1, 1.2 + 0.29 * len(pairs), note)
    (panel,) = axes[0]
    for height, (arm, baseline, n) in enumerate(pairs):
        e, look = run.gain(arm, baseline, n, "icc"), run.arm(arm)
        panel.plot([e.low, e.high], [height, height], color=look.colour)
        panel.plot(e.value, height, look.marker, color=look.colour)
    names = [f"{run.arm(arm).label}, minus {run.arm(baseline).label}" for arm, baseline, _ in pairs]
    panel.set_yticks(range(len(pairs)), names, fontsize=9)
    panel.set_ylim(len(pairs) - 0.5, -0.5)
    panel.axvline(0, color=GREY, linewidth=1.0)
    panel.grid(False, axis="y")
    panel.set_xlabel("difference in ICC(A,1)")
    return Picture(figure, title, run.provenance | {"figure": title, "pairs": [list(pair) for pair in pairs]})


@styled
def losses(run: Results) -> Picture:
    """Validation loss over updates at the smallest and the largest size, a line a network."""
    sizes = sorted({run.sizes(SUMS)[0], run.sizes(SUMS)[-1]})
    arms = [arm for arm in MAIN if arm in run.arms]
    title = f"Validation loss over updates, {short_name(run)}"
    note = "Squared error on single scans, labels scaled. Thin: one network; thick: the median over seeds."
    figure, axes = sheet(title, 1, len(sizes), 3.6, note, sharey=True)
    for panel, n in zip(axes[0], sizes, strict=True):
        table = run.history[(run.history["n_train"] == n) & run.history["arm"].isin(arms)].round({"val_loss": 4})
        options = {"x": "step", "y": "val_loss", "hue": "arm", "hue_order": arms, "errorbar": None, "legend": False}
        options |= {"palette": [run.arm(arm).colour for arm in arms], "ax": panel}
        sns.lineplot(table, units="seed", estimator=None, linewidth=0.6, alpha=0.35, **options)
        sns.lineplot(table, estimator="median", **options)
        panel.set(xscale="log", yscale="log", title=f"N = {n:,}", xlabel="updates", ylabel="validation loss")
        for axis, subs in ((panel.xaxis, (1, 3)), (panel.yaxis, (1, 2, 5))):
            axis.set_major_locator(LogLocator(subs=subs))
            axis.set_major_formatter("{x:g}")
        panel.minorticks_off()
    legend(figure, {run.arm(arm).label: axes[0, 0].plot([], [], color=run.arm(arm).colour)[0] for arm in arms})
    return Picture(figure, title, run.provenance | {"figure": title})


def variants(run: Results) -> list[tuple[str, str, int]]:
    """Every variant and control beside the arm that it changes, at the size nearest 25: (arm, baseline, n_train)."""
    n = min(run.sizes(SUMS), key=lambda n: abs(n - 25))
    looks = {arm: run.arm(arm) for arm in run.arms if arm not in MAIN}
    pairs = [(a, look.derived_from, n) for a, look in looks.items() if not (look.black or look.unseen)]
    pairs += [(SUMS, rival, n) for rival in ("mixup", "c-mixup")]
    pairs = [pair for pair in pairs if pair[1] and run.has(pair[0], n) and run.has(pair[1], n)]
    return sorted(pairs, key=lambda pair: pair[1] != SUMS)


def unseen(run: Results) -> list[tuple[str, str, int]]:
    """The arms that were not trained on the hospital of the test scan, beside those that were."""
    arms = [arm for arm in MAIN if arm in run.arms and f"{arm}-unseen" in run.arms]
    return [(f"{arm}-unseen", arm, n) for arm in arms for n in run.sizes(arm, f"{arm}-unseen")]


def errors_by_hospital(run: Results, pairs: Sequence[tuple[str, str, int]]) -> pd.DataFrame:
    """Prediction minus label, mean over seeds and scans of each hospital, for the arms of `unseen`."""
    rows = {}
    for arm, n in [(arm, n) for unseen_arm, seen_arm, n in pairs for arm in (seen_arm, unseen_arm)]:
        cell = run.resampled("mse").cell(arm, n)
        wrong = pd.Series((cell.prediction - cell.target).mean(axis=0))
        rows[run.arm(arm).label] = wrong.groupby([case.partition("/")[0] for case in cell.case]).mean()
    return pd.DataFrame(rows).T.round(1)


def scatter_of(run: Results) -> Picture:
    """Predictions over labels: both networks of equal forward passes, at the smallest and at the largest size."""
    sizes = run.sizes("base-compute", SUMS)
    cells = [(arm, n) for n in dict.fromkeys((sizes[0], sizes[-1])) for arm in ("base-compute", SUMS)]
    return scatter.scatter(run, cells, f"Predicted over true volume, {short_name(run)}")


def kept() -> dict[str, Picture]:
    """What git keeps, drawn from published results."""
    several = [run for name in ("msd-hippocampus", "wmh2017-twin") if (run := results.published("hydranet", name))]
    return {
        "hydranet_learning_curves": learning_curves(several, claims.load()),
        "hydranet_gains": gains(several),
        "hydranet_scatter": scatter_of(several[0]),
        "hydranet_seeds": seeds(several),
    }
