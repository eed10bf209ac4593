"""Tables of results as DataFrames, as notebooks show them: estimates with their intervals, claims, protocols, costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from fewscans.results import Results
from fewscans.stats import Estimate
from fewscans.stats.convergence import convergence

SCORES = {
    "auc": "AUC", "mean_auc": "mean AUC", "accuracy": "accuracy", "log_loss": "log loss",
    "froc": "overall FROC score", "lesion_froc": "FROC score",
    "lesion_froc:negative": "FROC score, negative slides",
    "icc": "ICC(A,1)", "icc:C": "ICC(C,1)", "brier": "Brier score",
    "mse": "mean squared error", "mae": "mean absolute error",
}  # fmt: skip


def score_label(score: str, unit: str = "") -> str:
    """A score's name on an axis.   unit: of the label, in which errors are measured."""
    kind, _, rate = score.partition("@")
    if score in ("mse", "mae") and unit:
        return f"{SCORES[score]} ({unit}{'²' if score == 'mse' else ''})"
    if kind == "sensitivity":
        return f"sensitivity at {100 * float(rate):g} % false positives"
    if kind == "froc" and rate:
        return f"sensitivity at {float(rate):g} false positives a scan"
    if kind == "lesion_froc" and rate:
        return f"share of lesions found at {float(rate):g} false positives a slide"
    return f"malignant among the top {rate}" if kind == "malignant_in_top" else SCORES.get(score, score)


def text(estimate: Estimate, digits: int = 3, star: bool = False) -> str:
    """ "0.912 (0.900 to 0.923)", "> 17 (9.1 to ∞)".   star: an asterisk where the interval excludes 0.

    digits: behind the point, at most one where a number has two or more before it.
    """
    value, *ends = numbers = estimate.value, estimate.low, estimate.high
    if max(abs(number) for number in numbers if math.isfinite(number)) >= 10:
        digits = min(digits, 1)
    sign = {None: "", "low": "< ", "high": "> "}[estimate.censored]
    low, high = (f"{round(end, digits) + 0.0:.{digits}f}" if math.isfinite(end) else "∞" for end in ends)  # never -0
    mark = "*" if star and (estimate.low > 0 or estimate.high < 0) else ""
    return f"{sign}{round(value, digits) + 0.0:.{digits}f}{mark} ({low} to {high})".replace("-", "−")


def wide(table: pd.DataFrame, results: Results, digits: int = 3, star: bool = False) -> pd.DataFrame:
    """A tidy table of estimates as people read it: a row an arm, a column a size."""
    cells = [
        text(Estimate(row.value, row.low, row.high, censored=row.censored or None), digits, star)
        for row in table.astype({"censored": object}).where(table.notna(), None).itertuples()
    ]
    shown = table.assign(cell=cells).pivot(index="arm", columns="n_train", values="cell").fillna("")
    order = [arm for arm in dict.fromkeys(table["arm"])]
    shown = shown.loc[order].rename(index={arm: results.arm(arm).label for arm in order})
    return shown.rename(columns=lambda n: f"N = {n:,}").rename_axis(index=None, columns=None)


def scores(results: Results, arms: Sequence[str], score: str | None = None, split: str = "test") -> pd.DataFrame:
    """Scores with 95 % intervals: a row an arm, a column a size."""
    return wide(results.scores(arms, score, split), results)


def gains(
    results: Results, arms: Sequence[str], baseline: str, score: str | None = None, split: str = "test"
) -> pd.DataFrame:
    """Gains over the baseline; an asterisk marks a 95 % interval that excludes 0."""
    return wide(results.gains(arms, baseline, score, split), results, star=True)


def factors(results: Results, arms: Sequence[str], baseline: str, score: str | None = None) -> pd.DataFrame:
    """How many times more cases the baseline needs."""
    return wide(within(results, arms, baseline, score), results, digits=1)


def within(results: Results, arms: Sequence[str], baseline: str, score: str | None = None) -> pd.DataFrame:
    """Data-efficiency factors below the baseline's largest size, where the grid can show one above 1."""
    table = results.factors(arms, baseline, score)
    return table[table["n_train"] < max(results.sizes(baseline), default=0)]


def claims(rows: Sequence) -> pd.DataFrame:
    """Scorecard rows as a table: verdict, statement, what was measured, our value; the reason where one is needed."""
    columns = ["verdict", "claim", "measured", "ours (95 % interval)", "seeds", "data", "remark"]
    data = [
        (row.verdict, row.statement, row.measured, row.ours(), row.seeds or "", row.dataset, row.reason) for row in rows
    ]
    return pd.DataFrame(data, columns=columns)


def protocol(several: Sequence[Results], names: Sequence[str]) -> pd.DataFrame:
    """What the grids say, side by side: a row a setting, a column a run.   names: keys of a grid."""
    columns = {}
    for results in several:
        grid = results.about.get("params") or results.about.get("grid") or {}
        test = results.test_set
        of = f"{test['groups']:,} {results.dataset.group}s"
        columns[results.label] = {
            "test set": f"{test['cases']:,} {results.dataset.plural} of {of}", "seeds": str(test["seeds"]),
        } | {name: str(grid[name]) for name in names if grid.get(name) is not None}  # fmt: skip
    return pd.DataFrame(columns).fillna("")


def cost(results: Results) -> pd.DataFrame:
    """What one network of each arm has and what its training took, as medians over runs; published results only.

    Seconds are the machine's that made them, so those of this machine's own runs are not shown.
    """
    records = pd.DataFrame(results.records)
    trained = records[records["parameters"] > 0]
    columns = {"convolution_parameters": "convolution parameters", "parameters": "parameters", "macs": "multiply-adds",
               "steps": "updates"}  # fmt: skip
    if results.published:
        columns["seconds_cpu"] = "CPU seconds a run"
    there = {key: name for key, name in columns.items() if key in trained}
    medians = trained.groupby("arm", sort=False)[list(there)].median().round().astype("int64")
    return medians.rename(index=lambda arm: results.arm(arm).label, columns=there).rename_axis(index=None)


def epochs(results: Results, arms: Sequence[str], baseline: str) -> pd.DataFrame:
    """Epochs to the baseline's best validation loss over its own, a row an arm, a column a size.

    The median over seeds, its 95 % interval, and the share of seeds that got there.
    """
    trained = set(zip(results.history["arm"].astype(str), results.history["n_train"], strict=True))
    shown: dict[str, dict[str, str]] = {}
    for arm in arms:
        for n in (n for n in results.sizes(arm, baseline) if {(arm, n), (baseline, n)} <= trained):
            c = convergence(results.history, arm, baseline, n)
            shown.setdefault(f"N = {n:,}", {})[results.arm(arm).label] = f"{text(c.ratio, 2)}; {c.reached:.0%}"
    return pd.DataFrame(shown).fillna("")


def metrics(results: Results, arms: Sequence[str], baseline: str) -> dict:
    """Scores, gains and factors of a run as plain JSON, for `dvc metrics`: by what, arm and size.

    An end that the data do not reach is left out, as JSON has no infinity.
    """
    several = {
        results.score_name: results.scores([baseline, *arms]),
        f"gain over {baseline}": results.gains(arms, baseline),
        "factor": within(results, arms, baseline),
    }
    found: dict = {"what": results.label}
    for what, table in several.items():
        for row in table.itertuples():
            numbers = {"value": row.value, "low": row.low, "high": row.high}
            numbers = {key: x for key, x in numbers.items() if math.isfinite(x)}
            kind = {"censored": row.censored} if isinstance(row.censored, str) else {}
            found.setdefault(what, {}).setdefault(row.arm, {})[str(row.n_train)] = numbers | kind
    return found
