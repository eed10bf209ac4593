"""The learning curves of every published table, arm by arm: choose data, score, arms and a training size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import ipywidgets
import pyarrow.parquet as pq

from fewscans import experiments, paths, results
from fewscans.errors import RunError
from fewscans.figures import curves
from fewscans.figures.style import GREY, WIDTH_INCHES, Picture, columns_for, legend, sheet, styled
from fewscans.figures.tables import score_label, text
from fewscans.results import BESIDE, Results
from fewscans.widgets import ByHand, described

SCORES = {"label": ("auc", "accuracy", "brier", "log_loss"), "number": ("icc", "r2", "mae")}
N_BOOTSTRAP = 200  # enough to look at; verdicts have 1000


def with_curves() -> list[str]:
    """Published folders, such as "gcnn/lidc-voi", of real data with two training sizes or more."""
    kept = []
    for folder in sorted(path for path in paths.published().glob("*/*") if path.is_dir()):
        arms = [path for path in folder.glob("*.parquet") if path.stem not in BESIDE]
        sizes = {n for path in arms for n in pq.read_table(path, columns=["n_train"])["n_train"].unique().to_pylist()}
        plain = not hasattr(experiments.get(folder.parent.name), "score")  # else its cases have no single label
        if len(sizes - {0}) > 1 and plain and not folder.name.endswith("-twin"):
            kept.append(f"{folder.parent.name}/{folder.name}")
    return kept


@cache
def _published(folder: str) -> Results:
    return results.load_published(*folder.split("/"), n_bootstrap=N_BOOTSTRAP)


@styled
def curve(run: Results, arms: Sequence[str], score: str, n: int) -> tuple[Picture, str]:
    """Scores of some arms over N, with a line at `n`; and what they are there, in words."""
    title = f"{score_label(score, run.dataset.unit)} over training size, {run.name}"
    figure, ((axes,),) = sheet(title, 1, 1, 4.2, f"Bars: 95 % intervals, {run.n_bootstrap} bootstrap draws.")
    curves.draw(axes, curves.scores(run, arms, score), WIDTH_INCHES - 1)
    axes.axvline(n, color=GREY, linewidth=6, alpha=0.25, zorder=0)
    handles = {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    legend(figure, handles, columns_for(list(handles)))
    there = [f"{run.arm(arm).label} {text(run.score(arm, n, score))}" for arm in arms if run.has(arm, n)]
    sentence = f"{score_label(score, run.dataset.unit)} at N = {n}: {'; '.join(there) or 'none of these arms'}"
    return Picture(figure, title, {"figure": title, "sources": [run.provenance]}), sentence


def explorer(first: str = "gcnn/lidc-voi") -> ByHand:
    """The learning curves of `first` and of the other published tables.   Raises RunError if nothing is published."""
    folders = with_curves()
    if not folders:
        raise RunError(f"{paths.published()}: no published table has two training sizes; restore the folder from git")
    data = described(ipywidgets.Dropdown, "data", options={_published(f).name: f for f in folders})
    data.value = first if first in folders else folders[0]
    score = described(ipywidgets.Dropdown, "score")
    arms = described(ipywidgets.SelectMultiple, "arms (Ctrl: several)", rows=6)
    n = described(ipywidgets.SelectionSlider, "N", options=[0])

    def offer(changed: object) -> None:
        """Other data have other scores, arms and sizes; the first three that were trained are chosen."""
        if changed not in (None, data):
            return
        run = _published(data.value)
        sizes = {arm: run.sizes(arm) for arm in run.arms}
        drawn = [arm for arm in run.arms if len(sizes[arm]) > 1]
        target = experiments.get(run.about["experiment"]).target
        score.options = [(score_label(name, run.dataset.unit), name) for name in SCORES[target]]
        score.value = SCORES[target][0]
        arms.options = [(run.arm(arm).label, arm) for arm in drawn]
        arms.value = [arm for arm in drawn if not (run.arm(arm).trivial or run.arm(arm).computed_with)][:3]
        n.options = sorted({size for arm in drawn for size in sizes[arm]})
        n.value = n.options[0]

    def draw(data: str, score: str, arms: Sequence[str], n: int) -> tuple[Picture, str]:
        run = _published(data)
        return curve(run, arms or run.arms[:1], score, n)

    return ByHand(draw, offer, data=data, score=score, arms=arms, n=n)
