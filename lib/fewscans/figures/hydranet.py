"""Figures and tables of one result: regression from sums over sets of scans (Dubost et al., Hydranet, MICCAI 2019).

First what the paper prints and what its test sets can tell, then the idea of sums on numbers, then our runs. Three
networks are compared: `base` (single scans with as many labels as sums, so a quarter of the forward passes, as in the
paper), `base-compute` (single scans with the forward passes of sums) and `hydra-4` (sums over sets of four).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans import integrity, paths, results
from fewscans.claims import Claims
from fewscans.data import box
from fewscans.data.base import Cases
from fewscans.experiments.hydranet import ARMS, Grid, sets
from fewscans.figures import curves, scatter, slices, tables
from fewscans.figures.curves import Panel
from fewscans.figures.style import GREY, Picture, columns_for, legend, sheet, styled
from fewscans.figures.tables import score_label, text, wide
from fewscans.nn import hydra
from fewscans.nn.regressor import BaseRegressor
from fewscans.results import Results
from fewscans.stats.icc import icc, interval_of
from fewscans.stats.noise import noise_ratio
from fewscans.stats.power import Method, study
from fewscans.stats.seed_spread import paired_scores, spread_ratio

PAPER = "dubost-2019"
SUMS = "hydra-4"
RIVALS = ("base", "base-compute")
MAIN = (*RIVALS, SUMS)
TRIVIAL = ("mean", "histogram", "crop", "blocks")
PROBE = "base-probe"
KEPT = ("msd-hippocampus", "luna16-area")  # data sets whose runs git keeps
SHORT = {"msd-hippocampus": "hippocampi", "luna16-area": "nodules", "wmh2017": "lesions", "pvs": "perivascular spaces"}
# The paper's tables of ICCs: what is predicted, the loss, test scans by training scans.
PRINTED = {
    "Text, perivascular spaces": ("perivascular spaces", "MSE", {25: 1977}),
    "Table 1": ("lesion volume", "MSE", {30: 30, 40: 20}),
    "Table 1, MAE": ("lesion volume", "MAE", {30: 30}),
}
SHARED = (0.0, 0.8)  # of the variance of their errors, what two networks have in common: nobody knows how much
DRAWN = 10_000  # sets
SMALL = (8, 10, 8)  # voxels of the images that gradients are compared on
# One change each, trained at N = 25: an arm, and the arm that it is compared with. First the paper's other sentences,
# then controls.
VARIANTS = (
    ("base-dropout", "base-compute"), ("hydra-4-mae", "base-mae"), (SUMS, "hydra-2"), ("hydra-4-replacement", SUMS),
    ("hydra-4-black10", SUMS), ("hydra-4-fixed", SUMS), ("hydra-4-permuted", SUMS), ("hydra-4-permuted", "mean"),
)  # fmt: skip
NOISE = {  # columns of the history of `PROBE`
    "noise_set": ("one set of four", "#0072B2", "-"),
    "noise_single": ("one single scan", "#5a5a5a", "--"),
    "noise_singles": ("four single scans", "#E69F00", "-"),
}


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
    """Training scans from the smallest label to the largest, as networks see them: an axial and a sagittal slice, or
    the only one."""
    pool = cases.indices("train")
    pool = pool[np.argsort(cases.target[pool], kind="stable")]
    chosen = pool[np.linspace(0, len(pool) - 1, shown).round().astype(int)]
    flat = cases.images.shape[1] == 1
    planes = [{"axial": cases.images[i, 0]} if flat else slices.planes(cases.images[i]) for i in chosen]
    rows = {name: [of_scan[name] for of_scan in planes] for name in planes[0] if name != "coronal"}
    unit = f" {cases.unit}" if cases.unit in ("ml", "mm²") else ""
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


def published(n_bootstrap: int = results.N_BOOTSTRAP) -> list[Results]:
    """What git keeps of the data sets in `KEPT`."""
    found = (results.published("hydranet", name, n_bootstrap) for name in KEPT)
    return [run for run in found if run is not None]


def trials(run: str) -> list[dict]:
    """Records of the learning rates that a pilot tried and did not choose."""
    file = paths.pilots() / f"{run}.trials.json"
    return integrity.content(file, "restore it from git", list) if file.exists() else []


def short_name(run: Results) -> str:
    """ "hippocampi (real)", "lesions (twin)"."""
    name = run.dataset.name
    return f"{SHORT.get(name, name)} ({'real' if run.real else 'twin'})"


def learning_curves(several: Sequence[Results], loaded: Claims | None = None, score: str = "r2") -> Picture:
    """A score over training scans; with the paper's claims, its own curve hollow before ours."""
    label = score_label(score)
    options = {"ylabel": label, "lines": (0.0,) if score == "r2" else ()}
    panels = [curves.scores(run, [*MAIN, "crop", "blocks"], score, title=short_name(run), **options) for run in several]
    common = [panel.table["n_train"].isin(run.sizes(*MAIN)) for panel, run in zip(panels, several, strict=True)]
    panels = [replace(panel, table=panel.table[rows]) for panel, rows in zip(panels, common, strict=True)]
    note = "Bars: 95 % intervals over seeds and people."
    if loaded is not None:
        panels.insert(0, replace(paper_panel(loaded), ylabel=label))
        note = f"Hollow: the paper, without intervals. {note}"
    return curves.over_n(panels, f"{label} over training scans", note, height=4.6)


def gain_panel(run: Results, score: str = "log_mse", split: str = "test") -> Panel:
    """What sums of four gain over each of the two rivals, paired by seed and scan.

    Differences of log_mse are drawn as what they say of the squared error, in percent.
    """
    rivals = [rival for rival in RIVALS if {rival, SUMS} <= set(run.arms)]
    parts = [run.gains([SUMS], rival, score, split).assign(arm=rival) for rival in rivals]
    looks = {rival: replace(ARMS[rival], label=f"sums of 4 against {ARMS[rival].label}") for rival in rivals}
    table, ylabel = pd.concat(parts, ignore_index=True), f"gain in {score_label(score, run.dataset.unit)}"
    if score == "log_mse":
        table, ylabel = _as_percent(table), "change of squared error, %"
    return Panel(table, looks, ylabel, f"training {run.dataset.plural}", short_name(run), lines=(0.0,),
                 provenance=run.provenance)  # fmt: skip


def _as_percent(table: pd.DataFrame) -> pd.DataFrame:
    """Differences of logarithms as changes in percent."""
    ends = ["value", "low", "high"]
    return table.assign(**(100 * np.expm1(table[ends])).round(2))


def gains(several: Sequence[Results]) -> Picture:
    """Change of the squared error by sums against both rivals, a panel a data set."""
    note = "Paired by seed and scan. Bars: 95 % intervals over seeds and people. Below 0, sums are better."
    title = "Squared error of sums against that of single scans"
    return curves.over_n([gain_panel(run) for run in several], title, note)


def gain_table(run: Results, score: str = "log_mse", split: str = "test") -> pd.DataFrame:
    """Gains of sums over both rivals; an asterisk marks a 95 % interval that excludes 0."""
    parts = [run.gains([SUMS], rival, score, split).assign(arm=rival) for rival in RIVALS if rival in run.arms]
    return wide(pd.concat(parts, ignore_index=True), run, star=True).rename(index="minus {}".format)


def scores_by_seed(run: Results, score: str = "icc") -> pd.DataFrame:
    """The score of every single network: arm, n_train, seed, value."""
    table = run.resampled(score)
    cells = [(arm, n) for arm in MAIN if arm in run.arms for n in run.sizes(arm)]
    parts = [pd.DataFrame({"arm": arm, "n_train": n, "seed": table.cell(arm, n).seeds, "value": table.values(arm, n)})
             for arm, n in cells]  # fmt: skip
    return pd.concat(parts, ignore_index=True).round(4)


@styled
def seeds(several: Sequence[Results], score: str = "icc") -> Picture:
    """The score of every network, a dot each; a dash is the mean of an arm at a size."""
    title = f"{score_label(score)} of every single network"
    figure, axes = sheet(title, 1, len(several), 3.6, "A dot: one network (a seed). A dash: the mean over seeds.")
    for panel, run in zip(axes[0], several, strict=True):
        table = scores_by_seed(run, score)
        arms = list(table["arm"].unique())
        options = {"x": "n_train", "y": "value", "hue": "arm", "hue_order": arms, "legend": False, "ax": panel}
        palette = {arm: run.arm(arm).colour for arm in arms}
        sns.stripplot(table, dodge=True, jitter=False, palette=palette, size=4.5, alpha=0.75, **options)
        sns.pointplot(table, dodge=0.8 - 0.8 / len(arms), palette=palette, errorbar=None, linestyle="none",
                      marker="_", markersize=11, markeredgewidth=2.2, **options)  # fmt: skip
        panel.set(xlabel=f"training {run.dataset.plural}", ylabel=score_label(score))
        panel.set_title(short_name(run))
        panel.grid(False, axis="x")
    _legend_of(figure, axes[0, 0], MAIN, marker="o", linestyle="none")
    return Picture(figure, title, {"figure": title, "sources": [run.provenance for run in several]})


def spread(run: Results, n: int = 25, score: str = "icc") -> pd.DataFrame:
    """Standard deviations of the score over seeds (where folds rotate, over seeds and people), sums against rivals."""
    rows = {}
    for rival in (rival for rival in RIVALS if run.has(rival, n) and run.has(SUMS, n)):
        mine, theirs = paired_scores(run.predictions, SUMS, rival, n, score)
        ratio = text(spread_ratio(mine, theirs), 2) if len(mine) > 2 else "needs 3 seeds"
        rows[run.arm(rival).label] = [len(mine), round(mine.std(ddof=1), 3), round(theirs.std(ddof=1), 3), ratio]
    columns = ["seeds", "standard deviation, sums", "standard deviation, rival", "ratio (95 % interval)"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def variants(run: Results, n: int = 25) -> list[tuple[str, str, int]]:
    """The pairs of `VARIANTS` that a run has at that size: (arm, baseline, n_train)."""
    return [(arm, other, n) for arm, other in VARIANTS if run.has(arm, n) and run.has(other, n)]


@styled
def differences(run: Results, pairs: Sequence[tuple[str, str, int]], title: str, note: str = "") -> Picture:
    """Squared error of arms against that of others, one pair above the other.   pairs: (arm, baseline, n_train)."""
    figure, ((panel,),) = sheet(title, 1, 1, 1.2 + 0.29 * len(pairs), note)
    for height, (arm, baseline, n) in enumerate(pairs):
        e = run.gain(arm, baseline, n, "log_mse")
        value, low, high = (float(100 * np.expm1(x)) for x in (e.value, e.low, e.high))
        panel.plot([low, high], [height, height], color=run.arm(arm).colour)
        panel.plot(value, height, run.arm(arm).marker, color=run.arm(arm).colour)
    names = [f"{run.arm(arm).label}, against {run.arm(baseline).label}" for arm, baseline, _ in pairs]
    panel.set_yticks(range(len(pairs)), names, fontsize=8)
    panel.set_ylim(len(pairs) - 0.5, -0.5)
    panel.axvline(0, color=GREY, linewidth=1.0)
    panel.grid(False, axis="y")
    panel.set_xlabel("change of squared error, %")
    return Picture(figure, title, run.provenance | {"figure": title, "pairs": [list(pair) for pair in pairs]})


@styled
def losses(run: Results, arms: Sequence[str] = MAIN) -> Picture:
    """Training and validation loss over updates at the smallest and the largest size, a line a network."""
    arms = [arm for arm in arms if arm in run.arms]
    sizes = sorted({end(n for arm in arms for n in run.sizes(arm)) for end in (min, max)})
    title = f"Loss over updates, {short_name(run)}"
    note = (
        "Squared error; 1 (dashed) is guessing the mean of the training labels. Thin: one network; thick: the median."
    )
    figure, axes = sheet(title, 2, len(sizes), 5.2, note, sharex=True, sharey="row")
    for column, n in enumerate(sizes):
        table = run.history[(run.history["n_train"] == n) & run.history["arm"].isin(arms)]
        size = table["arm"].astype(str).map(lambda arm: run.arm(arm).size)
        table = table.assign(train_loss=table["train_loss"] / (size * (n - size) / (n - 1)))  # over guessing
        for row, name in enumerate(("train_loss", "val_loss")):
            panel, shown = axes[row, column], table.round({name: 4})
            options = {"x": "step", "y": name, "hue": "arm", "hue_order": arms, "errorbar": None, "legend": False}
            options |= {"palette": [run.arm(arm).colour for arm in arms], "ax": panel}
            sns.lineplot(shown, units="seed", estimator=None, linewidth=0.6, alpha=0.35, **options)
            sns.lineplot(shown, estimator="median", **options)
            panel.axhline(1.0, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
            panel.set(xlabel="updates" * row, ylabel=("training loss", "validation loss")[row] * (column == 0))
            panel.set_ylim(0, min(panel.get_ylim()[1], 2.5))
        axes[0, column].set_title(f"N = {n:,}")
    _legend_of(figure, axes[0, 0], arms)
    return Picture(figure, title, run.provenance | {"figure": title})


def _legend_of(figure, axes, arms: Sequence[str], **look) -> None:
    handles = {ARMS[arm].label: axes.plot([], [], color=ARMS[arm].colour, **look)[0] for arm in arms}
    legend(figure, handles, columns_for(list(handles)))


def probed(run: Results) -> pd.DataFrame:
    """The history of the runs that measured their gradients, at the updates where they did."""
    rows = run.history[run.history["arm"] == PROBE]
    return rows.dropna(subset=list(NOISE)) if set(NOISE) <= set(rows) else rows.iloc[:0]


@styled
def noise(several: Sequence[Results]) -> Picture:
    """Noise of three kinds of gradients over the course of training, a panel a data set."""
    title = "Noise over squared signal of gradients, while networks learn"
    note = "Thin: one network; thick: the geometric mean. All three along the same networks, trained on single scans. "
    note += "Where the signal is too weak to be measured, all three are lower bounds by one factor."
    figure, axes = sheet(title, 1, len(several), 3.9, note, sharey=True)
    for panel, run in zip(axes[0], several, strict=True):
        for name, (_, colour, line) in NOISE.items():
            table = probed(run)[["seed", "step", name]].rename(columns={name: "value"})
            for _, mine in table.groupby("seed"):
                panel.plot(mine["step"], mine["value"], color=colour, linestyle=line, linewidth=0.6, alpha=0.4)
            mean = np.exp(np.log(table["value"]).groupby(table["step"]).mean())
            panel.plot(mean.index, mean.round(4), color=colour, linestyle=line, linewidth=2.2)
        panel.set(xlabel="updates", yscale="log")
        panel.set_title(short_name(run))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
    axes[0, 0].set_ylabel("noise / signal²")
    handles = {label: axes[0, 0].plot([], [], line, color=colour)[0] for label, colour, line in NOISE.values()}
    legend(figure, handles)
    return Picture(figure, title, {"figure": title, "sources": [run.provenance for run in several]})


def noise_table(several: Sequence[Results]) -> pd.DataFrame:
    """How many times noisier one set is than four single scans, and than one: the mean over runs with its interval."""
    rows, others = {}, ("noise_singles", "noise_single")
    for run in several:
        history = probed(run)
        for n, mine in history.groupby("n_train"):
            counts = [n, mine["seed"].nunique(), len(mine)]
            if counts[1] > 2:
                ratios = [text(noise_ratio(history, PROBE, n, over=other), 2) for other in others]
                rows[short_name(run)] = [*counts, *ratios]
    columns = ["training scans", "runs", "measurements", "one set / four single scans", "one set / one single scan"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def power(pilot: Results, grid: Grid, loaded: Claims) -> pd.DataFrame:
    """How often a grid would decide the headline claims if what its pilot found, on some of the folds, is the truth."""
    tests = {c.id: test for c in loaded if c.headline for test in c.tests if test.run == pilot.run}
    seeds = {name: min(len(grid.seeds_of(n)) for n in (test.n_train, test.minus_n_train or test.n_train))
             for name, test in tests.items()}  # fmt: skip
    folds = len({seed % grid.folds for seed in pilot.about["seeds"]})
    return tables.power(pilot, tests, seeds, round(pilot.test_set["groups"] * grid.folds / folds))


def scatter_of(run: Results) -> Picture:
    """Predictions over labels: both networks of equal forward passes, at the smallest and at the largest size."""
    sizes = run.sizes("base-compute", SUMS)
    cells = [(arm, n) for n in dict.fromkeys((sizes[0], sizes[-1])) for arm in ("base-compute", SUMS)]
    return scatter.scatter(run, cells, f"Predicted over true number, {short_name(run)}")


def kept() -> dict[str, Picture]:
    """What git keeps, drawn from published results."""
    several = published()
    probing = [run for run in several if len(probed(run))]
    drawn = {"hydranet_noise": noise(probing)} if probing else {}
    if several:
        drawn |= {"hydranet_learning_curves": learning_curves(several), "hydranet_gains": gains(several)}
        drawn |= {"hydranet_scatter": scatter_of(several[0])}
    return drawn
