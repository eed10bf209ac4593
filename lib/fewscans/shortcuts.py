"""What tells the answer without a network: `fewscans audit` measures shortcuts and leaks before any training.

A shortcut is anything beside the picture's content that answers: its size, its spacing, its scanner or site, how bright
it is, the order of the files. Each is fitted on four fifths of the patients and scored on the last, in turn; its
interval comes from resampling patients. A high score is no proof of a fault: the diameter of a nodule does tell
malignancy. It is what a network must beat, and be compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fewscans import experiments, params, paths
from fewscans.data import audit, own, own_boxes, registry
from fewscans.data.base import Cases, Cut
from fewscans.data.group_splits import fold_of_group
from fewscans.errors import DataError
from fewscans.experiments import baselines
from fewscans.figures.tables import text
from fewscans.stats import Estimate
from fewscans.stats.auc import auc

FOLDS, DRAWS = 5, 300
# Columns of `Cases.about` that are known before anybody looks at a picture, in groups that are tried together.
KNOWN = {
    "diameter": ("diameter_mm",), "size of the picture": ("shape_z", "shape_y", "shape_x"),
    "spacing": ("spacing_z", "spacing_y", "spacing_x"), "number of slices": ("slices",), "padding": ("padded",),
    "view": ("view",), "follow-up number": ("followup",), "age": ("age",), "sex": ("sex",),
    "scanner of file": ("scanner of file",), "bytes of the file": ("bytes",),
}  # fmt: skip
NOT_ASKED = {  # columns of own tables that say how a case is used, or where its finding is
    "fold", "by_patient", "colour", "image", "repository_split", "boxes", f"label {own_boxes.FINDING}",
    *own_boxes.COLUMNS,
}  # fmt: skip
TELLS = {"label": 0.6, "number": 0.1}  # the score from which on a shortcut is called strong
PAIRED = 0.5  # correlation of neighbours in the order of files, above that of the pairs between


@dataclass(frozen=True)
class Shortcut:
    """what: is known.   score: AUC of a label, R² of a number; `named` if its interval leaves out what chance gives."""

    what: str
    score: Estimate
    named: bool
    strong: bool


def shortcuts(cases: Cases, columns: dict[str, tuple[str, ...]]) -> list[Shortcut]:
    """Each candidate's score, the highest first.   columns: of `about`, by what they are called together."""
    label = cases.unit is None and set(np.unique(cases.target)) <= {0, 1}
    kind, chance = ("label", 0.5) if label else ("number", 0.0)
    found = []
    for what, x in _candidates(cases, columns):
        score = _score(cases, x, label)
        named = score.low > chance
        found.append(Shortcut(what, score, named, named and score.value >= TELLS[kind]))
    return sorted(found, key=lambda one: -one.score.value)


def _candidates(cases: Cases, columns: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, np.ndarray]]:
    images, about = cases.images, cases.about
    yield "histogram of values", baselines.histogram(images)
    yield "mean brightness", baselines.volume(images)[:, None]
    yield "brightness of the centre", baselines.centre(images)[:, None]
    yield "corner pixels", _corners(images)
    yield "order of the files", np.linspace(0, 1, len(cases))[:, None] ** np.arange(1, 4)
    for what, names in columns.items():
        if known := [name for name in names if name in about]:
            if any(about[name].isna().mean() > 0.5 for name in known):  # such as a diameter that only nodules have
                continue
            x = np.hstack([_numbers(about[name]) for name in known])
            if x.size and np.ptp(x, axis=0).any():
                yield what, x


def _numbers(column: pd.Series) -> np.ndarray:
    """(n, k): a number and its logarithm, or a column for each of the most frequent texts; gaps are said apart."""
    if column.dtype.kind in "iufb":
        x = column.to_numpy(float)
        gap = ~np.isfinite(x)
        x = np.where(gap, np.nanmedian(x) if not gap.all() else 0.0, x)
        parts = [x, gap.astype(float)] + ([np.log(x)] if (x > 0).all() else [])
        return np.stack(parts, axis=1)
    words = column.astype(str)
    return np.stack([(words == word).to_numpy(float) for word in words.value_counts().index[:20]], axis=1)


def _corners(images: np.ndarray) -> np.ndarray:
    """(n, 2 ** axes) means of the corners' outermost pixels, from 0 to 1."""
    flat = images.mean(axis=-1) if images.ndim == 4 and images.shape[-1] == 3 else images
    ends = np.stack(np.meshgrid(*[[0, -1]] * (flat.ndim - 1), indexing="ij"), -1).reshape(-1, flat.ndim - 1)
    return np.stack([flat[(slice(None), *end)] / 255 for end in ends], axis=1)


def _score(cases: Cases, x: np.ndarray, label: bool) -> Estimate:
    """Of predictions by ridge, each fold of patients from the others; the interval resamples patients."""
    group, y = cases.group, cases.target.astype(float)
    fold = fold_of_group(group, min(FOLDS, len(np.unique(group))), 0)
    guess = np.zeros(len(y))
    for f in np.unique(fold):
        fitted = baselines.ridge(x[fold != f], y[fold != f], x[fold == f])
        # of each fold its place among the fold's own, so that folds with another mean do not rank one another
        guess[fold == f] = fitted - y[fold != f].mean()

    def score(index: np.ndarray) -> float:
        if label:
            return auc(y[index], guess[index]) if len(np.unique(y[index])) > 1 else 0.5
        spread = np.square(y[index] - y[index].mean()).mean()
        return 1 - float(np.square(y[index] - y.mean() - guess[index]).mean() / spread) if spread else 0.0

    names, place = np.unique(group, return_inverse=True)
    members = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    rng, everything = np.random.default_rng(0), np.arange(len(y))
    drawn = [
        score(np.concatenate([members[g] for g in rng.integers(len(names), size=len(names))])) for _ in range(DRAWS)
    ]
    value, (low, high) = score(everything), np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, min(float(low), value), max(float(high), value))


def pairs(cases: Cases) -> tuple[float, float, bool]:
    """Are files that follow each other alike, first with second, third with fourth, as two sides of one person are?

    Returns the correlation of what is asked and of the mean brightness within such pairs, the mean of the two; the same
    between them (second with third); and whether pairs are of one group. Numbers alone: labels say too little.
    """
    order = np.argsort(cases.case, kind="stable")
    number = cases.about["number"].to_numpy() if "number" in cases.about else np.arange(len(order)) + 1
    y = cases.target[order].astype(float), baselines.volume(cases.images)[order]
    number, group = np.asarray(number)[order], cases.group[order]
    follows = np.diff(number) == 1
    odd = number[:-1] % 2 == 1

    def alike(which: np.ndarray) -> float:
        if which.sum() < 10:
            return 0.0
        return float(np.mean([np.corrcoef(v[:-1][which], v[1:][which])[0, 1] for v in y if np.ptp(v) > 0] or [0.0]))

    within = follows & odd
    together = bool(within.any() and (group[:-1][within] == group[1:][within]).mean() > 0.9)
    return alike(within), alike(follows & ~odd), together


def at_hand(name: str) -> tuple[Cases, dict[str, tuple[str, ...]]]:
    """A set's cases as an experiment sees them, and the columns to try. Raises DataError without a copy or a grid."""
    if name in own.names():
        mine = own.load(name)
        cases = mine.record().cases(own.find(name), Cut(mine.patch, spacing_mm=mine.spacing_mm), paths.build())
        new = {c: (c,) for c in cases.about if c not in NOT_ASKED | {n for names in KNOWN.values() for n in names}}
        return cases, KNOWN | new
    place, p = registry.find(name, paths.data_root()), params.load()
    for run, grids in p.grids.items():
        spec = p.run(run)
        if spec.dataset == name and not spec.twin and grids:
            experiment, grid = experiments.get(spec.experiment), list(grids.values())[-1]
            return experiment.read(name, place, grid, paths.build()), KNOWN
    raise DataError(f"no grid of params.yaml says how the pictures of {name} are cut; sets with one can be audited")


def report(name: str) -> str:
    """What was found, as text for a terminal: near-duplicates across splits, pairs, shortcuts with their scores."""
    cases, columns = at_hand(name)
    entry = registry.dataset(name)
    head = f"{name}: {len(cases):,} {entry.plural} of {len(np.unique(cases.group)):,} {entry.group}s"
    return "\n".join([head, "", *lines(name, cases, columns)])


def lines(name: str, cases: Cases, columns: dict[str, tuple[str, ...]]) -> list[str]:
    """The same as lines of Markdown, for a page."""
    entry = registry.dataset(name)
    label = entry.target == "label"
    what, found = "AUC" if label else "R²", []
    for repository in (False, True) if "repository_split" in cases.about else (False,):
        matches = audit.across_splits(cases, repository)
        whose = "the source's own split" if repository else "the split"
        far = f"{len(matches)} of {matches.asked} test pictures looked at have a near-duplicate in train or val"
        found.append(f"- near-duplicates, {whose}: {far}")
        found += [f"  - {one}  ~  {other}  (correlation {r:.3f})" for one, other, r in matches.named(cases)[:5]]
    within, between, together = pairs(cases)
    if within - between > PAIRED:
        kept = f"each pair is one {entry.group}" if together else "but not kept together: they may be of one patient"
        found.append(f"- pairs: file 1 is like 2, 3 like 4 (r = {within:.2f}, between pairs {between:.2f}); {kept}")
    table = [(one.what, text(one.score), "strong" if one.strong else "weak" if one.named else "none")
             for one in shortcuts(cases, columns)]  # fmt: skip
    frame = pd.DataFrame(table, columns=["known beside the content", f"{what} (95 % interval)", "shortcut"])
    chance = "0.5 is chance" if label else "0 is chance"
    rows = frame.to_markdown(index=False).split("\n")
    return [*found, "", f"What tells the answer without a network ({chance}):", "", *rows]
