"""Tables of results as DataFrames, as notebooks show them: estimates with their intervals, claims, protocols, costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from fewscans.claims import Test
from fewscans.results import Results
from fewscans.stats import Estimate
from fewscans.stats.auc import holm
from fewscans.stats.convergence import compute_to_auc, convergence
from fewscans.stats.efficiency import curve_weights, undefined
from fewscans.stats.intervals import combination
from fewscans.stats.power import power_of

SCORES = {
    "auc": "AUC", "mean_auc": "mean AUC", "accuracy": "accuracy", "log_loss": "log loss",
    "froc": "overall FROC score", "lesion_froc": "FROC score",
    "lesion_froc:negative": "FROC score, negative slides",
    "icc": "ICC(A,1)", "icc:C": "ICC(C,1)", "brier": "Brier score",
    "mse": "mean squared error", "mae": "mean absolute error", "log_mse": "log of mean squared error", "r2": "R²",
}  # fmt: skip
MEASURED = {"mean": "", "bias": "difference in ", "mae": "error in "}  # of measures of segmentations
MEASURES = {
    "dice": "Dice", "hd95": "95 % Hausdorff distance (mm)", "surface": "surface Dice at 1 mm", "volume": "volume (ml)",
    "consistency": "Dice of neighbouring slices",
}  # fmt: skip


def score_label(score: str, unit: str = "") -> str:
    """A score's name on an axis.   unit: of the label, in which errors are measured."""
    kind, _, rate = score.partition("@")
    family, _, measure = score.partition(":")
    if family in MEASURED and measure:
        name, _, part = measure.partition("-")
        return f"{MEASURED[family]}{MEASURES.get(name, name)}{part and f', {part}'}"
    if family == "auc" and measure:
        return f"AUC, {measure}"
    if score in ("mse", "mae") and unit:
        return f"{SCORES[score]} ({unit}{'²' if score == 'mse' else ''})"
    if kind == "sensitivity":
        return f"sensitivity at {100 * float(rate):g} % false positives"
    if kind == "froc" and rate:
        return f"sensitivity at {float(rate):g} false positives a scan"
    if kind == "lesion_froc" and rate:
        return f"share of lesions found at {float(rate):g} false positives a slide"
    if kind == "matched_auc":
        return "AUC at like diameter"
    return f"malignant among the top {rate}" if kind.endswith("_in_top") else SCORES.get(score, score)


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
    """How many times more cases the baseline needs; "not defined" where `efficiency.undefined` says so."""
    table = within(results, arms, baseline, score)
    shown = wide(table, results, digits=1)
    for row in table[~table["defined"]].itertuples():
        shown.loc[results.arm(row.arm).label, f"N = {row.n_train:,}"] = "not defined"
    return shown


def within(results: Results, arms: Sequence[str], baseline: str, score: str | None = None) -> pd.DataFrame:
    """Data-efficiency factors below the baseline's largest size, where the grid can show one above 1, and whether each
    is defined.
    """
    table = results.factors(arms, baseline, score)
    table = table[table["n_train"] < max(results.sizes(baseline), default=0)]
    of = results.resampled(score)
    defined = [not undefined(of, baseline, arm, n) for arm, n in zip(table["arm"], table["n_train"], strict=True)]
    return table.assign(defined=np.array(defined, dtype=bool))


def claims(rows: Sequence) -> pd.DataFrame:
    """Scorecard rows as a table: verdict, statement, what was measured, our value; the reason where one is needed."""
    columns = ["verdict", "claim", "measured", "ours (95 % interval)", "seeds", "data", "remark"]
    data = [
        (row.verdict, row.statement, row.measured, row.ours(), row.seeds or "", row.dataset, row.reason) for row in rows
    ]
    return pd.DataFrame(data, columns=columns)


def corrected(rows: Sequence) -> pd.DataFrame:
    """p-values of a paper's claims, alone and with Holm's correction for their number.

    From each interval, as if its middle were normal (a ratio's logarithm), two-sided. Rows that say that something is
    within a margin, and those whose interval has an open end (or, of a ratio, one at 0), are left out.
    """
    closed = [r for r in rows if r.kind != "value" and None not in (r.value, r.low, r.high) and r.low < r.high]
    kept = [r for r in closed if not r.ratio or r.low > 0]
    p = []
    for row in kept:
        value, low, high, line = (math.log(x) if row.ratio else x for x in (row.value, row.low, row.high, row.line))
        p.append(2 * norm.sf(abs(value - line) / ((high - low) / (2 * norm.ppf(0.975)))))
    data = {"claim": [r.statement for r in kept], "verdict": [r.verdict for r in kept], "p": p, "p, Holm": holm(p)}
    return pd.DataFrame(data).round(3)


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


def speed(results: Results, arms: Sequence[str], baseline: str, goal: float | None = None) -> pd.DataFrame:
    """How soon arms get where the baseline gets, over the baseline: a row an arm, a column a size.

    To the baseline's best validation loss, in epochs; with a goal, to this validation AUC, in updates. The median over
    seeds, its 95 % interval, and the share of seeds that got there; "too few get there" where there is no median.
    """
    trained = set(zip(results.history["arm"].astype(str), results.history["n_train"], strict=True))
    shown: dict[str, dict[str, str]] = {}
    for arm in arms:
        for n in (n for n in results.sizes(arm, baseline) if {(arm, n), (baseline, n)} <= trained):
            of = results.history, arm, baseline, n
            try:
                c = convergence(*of) if goal is None else compute_to_auc(*of, goal)
                said = f"{text(c.ratio, 2)}; {c.reached:.0%}"
            except ValueError:
                said = "too few get there"
            shown.setdefault(f"N = {n:,}", {})[results.arm(arm).label] = said
    return pd.DataFrame(shown).fillna("")


def tried(results: Results, trials: Sequence[Mapping], score: str | None = None) -> pd.DataFrame:
    """The validation score of each learning rate, the mean over the seeds that tried all: a row an arm and size.

    trials: records of the rates that were not chosen.   score: the name of the validation score.   An asterisk marks
    the chosen rate. Failed trainings are counted beside the mean. Behind the rates, the best mean score of what needs
    no network, where a pilot has it.
    """
    both = [r for r in [*results.records, *trials] if "val_score" in r]
    seeds = {r["seed"] for r in trials or both}  # only the first ones try all rates
    records = pd.DataFrame([r for r in both if r["seed"] in seeds])
    if records.empty:
        return pd.DataFrame()
    chosen = {(r["arm"], r["n_train"]): r["learning_rate"] for r in results.records}
    table, trivial = results.resampled(score), [arm for arm in results.arms if results.arm(arm).trivial]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for (arm, n), mine in records.groupby(["arm", "n_train"], sort=False):
        row = rows.setdefault((results.arm(arm).label, f"N = {n:,}"), {})
        for rate, those in sorted(mine.groupby("learning_rate")):
            failed = int(those["failed"].sum())
            row[f"rate {rate:g}"] = f"{those['val_score'].mean():.3f}" + "*" * (rate == chosen.get((arm, n)))
            row[f"rate {rate:g}"] += f", {failed} of {len(those)} failed" * bool(failed)
        bars = [table.values(other, n).mean() for other in trivial if results.has(other, n)]
        if bars:
            row["no network"] = f"{max(bars):.3f}"
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def failed(results: Results) -> pd.DataFrame:
    """In how many trainings of each network the loss stayed at guessing; none known of tables older than the count."""
    there = {(r["arm"], r["n_train"]) for r in results.records if "failed" in r}
    rows = {results.arm(arm).label: {f"N = {n:,}": "{} of {}".format(*results.failed(arm, n))
            for other, n in sorted(there) if other == arm} for arm in results.arms}  # fmt: skip
    return pd.DataFrame.from_dict({arm: row for arm, row in rows.items() if row}, orient="index").fillna("")


def power(pilot: Results, tests: Mapping[str, Test], seeds: Mapping[str, int], n_groups: int) -> pd.DataFrame:
    """How often the planned grid would decide a claim if what the pilot found on validation cases is the truth.

    tests: by the claim's name; those whose arms or sizes the pilot lacks are left out.   seeds: planned, by name.
    n_groups: test patients or scans that are planned.
    """
    rows = {}
    for name, test in tests.items():
        score = test.metric.removeprefix("data_efficiency:")
        try:
            table = pilot.resampled(score, test.split)
            if score != test.metric:
                at = test.line * test.n_train
                keys, weights = curve_weights(table, test.baseline, test.arm, test.n_train, at)
                spread, line = table.joint(keys).spread(weights), 0.0
            else:
                terms = [((test.arm, test.n_train), 1.0), ((test.baseline, test.n_train), -1.0)]
                if test.minus_n_train is not None:
                    terms += [((test.arm, test.minus_n_train), -1.0), ((test.baseline, test.minus_n_train), 1.0)]
                spread, line = table.spread(combination(*terms)), test.line
        except ValueError:
            continue
        power = power_of(spread, abs(spread.value - line), seeds[name], n_groups)
        rows[name] = [text(spread.estimate()), spread.n_seeds, seeds[name], n_groups, f"{power:.0%}"]
    columns = ["pilot's difference (95 % interval)", "its seeds", "planned seeds", "planned groups", "power"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def metrics(results: Results, arms: Sequence[str], baseline: str) -> dict:
    """Scores, gains and factors of a run as plain JSON, for `dvc metrics`: by what, arm and size.

    An end that the data do not reach is left out, as JSON has no infinity.
    """
    several = {
        results.score_name: results.scores([baseline, *arms]),
        f"gain over {baseline}": results.gains(arms, baseline),
        "factor": within(results, arms, baseline).query("defined"),
    }
    found: dict = {"what": results.label}
    for what, table in several.items():
        for row in table.itertuples():
            numbers = {"value": row.value, "low": row.low, "high": row.high}
            numbers = {key: x for key, x in numbers.items() if math.isfinite(x)}
            kind = {"censored": row.censored} if isinstance(row.censored, str) else {}
            found.setdefault(what, {}).setdefault(row.arm, {})[str(row.n_train)] = numbers | kind
    return found
