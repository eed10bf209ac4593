"""The page that a comparison ends in: what each idea saves, what answers without a network, learning curves, how many
scans.

Intervals of factors and gains hold for all ideas at once (Bonferroni). Factors are read at the middle size,
which the plan fixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans import experiments, files
from fewscans.compare.ideas import IDEAS
from fewscans.data.own import Own
from fewscans.experiments import outside
from fewscans.figures import curves, tables
from fewscans.results import Results, rounded
from fewscans.stats import Estimate, learning_curve
from fewscans.stats.efficiency import data_efficiency, undefined
from fewscans.stats.intervals import combination

GOALS = {"auc": (0.8, 0.9, 0.95), "icc": (0.6, 0.8, 0.9)}
POWER = 0.8
VERDICTS = {
    "saves": "saves labels here", "costs": "wants more labels here", "open": "no difference that these data can show",
    "flat": "no factor: the network that it is compared with does not gain from more cases here",
    "crossed": "no factor: learning curves cross",
    "trivial": "not to be judged: networks are not better than a trivial baseline",
    "failed": "not to be judged: most trainings stayed at guessing, the networks have not learned",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What was found about one idea, or one network of the user's own, against the network that it is compared with.

    rival: how that is called.   factor: how many times more cases it needs; None where that has no meaning.   gain: at
    the same size.   detectable: the smallest true gain whose interval would leave out 0 in four of five repetitions.
    """

    name: str
    title: str
    arm: str
    baseline: str
    rival: str
    n_train: int
    factor: Estimate | None
    gain: Estimate
    detectable: float
    verdict: str


def findings(results: Mapping[str, Results], ideas: Sequence[str], own: Own) -> list[Finding]:
    """One for each idea and each own network, with simultaneous 95 % intervals."""
    axes, pairs = len(own.patch), []
    for name in ideas:
        idea = IDEAS[name]
        table, arms = results[idea.experiment], experiments.get(idea.experiment).ARMS
        mine = [(arm, arms[arm].label, arm) for arm in table.arms if outside.is_own(arms.get(arm))]
        pairs += [(table, *one, idea.baseline[axes]) for one in [(name, idea.title, idea.arm[axes]), *mine]]
    return [_finding(*pair, 1 - 0.05 / len(pairs)) for pair in pairs]


def _finding(results: Results, name: str, title: str, arm: str, baseline: str, level: float) -> Finding:
    table, sizes = results.resampled(), results.sizes(arm, baseline)
    n = sizes[(len(sizes) - 1) // 2]
    spread = table.spread(combination(((arm, n), 1.0), ((baseline, n), -1.0)))
    gain, factor = rounded(spread.estimate(level)), None
    if not _beaten(results, baseline, n) and not _beaten(results, arm, n):
        verdict = "trivial"
    elif any(failed > trained / 2 for failed, trained in (results.failed(a, n) for a in (arm, baseline))):
        verdict = "failed"
    elif why := undefined(table, baseline, arm, n, level):
        verdict = "flat" if why.startswith("no factor") else "crossed"
    else:
        factor = rounded(data_efficiency(table, baseline, arm, n_train=n, level=level), 2)
        verdict = "saves" if factor.low > 1 else "costs" if factor.high < 1 else "open"
    detectable = spread.half_width(level) + spread.half_width(2 * POWER - 1)
    rival = results.arm(baseline).label
    return Finding(name, title, arm, baseline, rival, n, factor, gain, round(detectable, 4), VERDICTS[verdict])


def _beaten(results: Results, arm: str, n: int) -> bool:
    """Whether the interval of the arm's lead over every trivial baseline lies above 0."""
    trivial = [other for other in results.arms if results.arm(other).trivial]
    return all(results.gain(arm, other, n).low > 0 for other in trivial if results.has(other, n))


def needed(results: Results, baseline: str) -> pd.DataFrame:
    """How many cases a network would need for some scores: a row a score, extrapolation marked."""
    table, name = results.resampled(), tables.score_label(results.score_name)
    smallest, largest = min(results.sizes(baseline)), max(results.sizes(baseline))
    curve, rows = learning_curve.fit(table, baseline), []
    for goal in GOALS[results.score_name]:
        size = curve.size(goal)
        if size.high <= smallest:
            rows.append((f"{name} {goal:g}", f"fewer than {smallest:,}", "", "the smallest set trained is enough"))
            continue
        high = f"{size.high:,.0f}" if np.isfinite(size.high) else "more than can be said"
        sign = {"high": "more than ", "low": "fewer than ", None: ""}[size.censored]
        where = "within the sizes trained" if smallest <= size.low and size.high <= largest else "extrapolated"
        rows.append((f"{name} {goal:g}", f"{sign}{size.value:,.0f}", f"{size.low:,.0f} to {high}", where))
    return pd.DataFrame(rows, columns=["to reach", "training cases", "95 % interval", "how it is known"])


def table_of(found: Sequence[Finding], unit: str) -> pd.DataFrame:
    """The verdict as a short table."""
    rows = []
    for one in found:
        factor = "not defined" if one.factor is None else tables.text(one.factor, 1)
        gain, least = tables.text(one.gain), f"{one.detectable:.3f}"
        rows.append((one.title, one.rival, f"N = {one.n_train:,}", factor, gain, least, one.verdict))
    columns = ["idea", "compared with", "at", "times fewer cases", f"gain in {unit}", "gain found 4 times in 5",
               "verdict"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def write(
    folder: Path,
    own: Own,
    results: Mapping[str, Results],
    ideas: Sequence[str],
    without: Mapping[str, str],
    command: str,
    audited: Sequence[str] = (),
) -> Path:
    """Writes README.md and its figures into a folder and returns the page.   audited: lines of `shortcuts.lines`."""
    found, first = findings(results, ideas, own), next(iter(results.values()))
    score, test = tables.score_label(first.score_name, own.unit), first.test_set
    positive = f", {test['positive']:,} of them positive" if "positive" in test else ""
    lines = [
        f"# {own.title}: what saves labels here?", "",
        f"Written by `{command}`. Licence of the data: {own.licence or 'none is named'}. {own.cite}".strip(), "",
        f"- Tested on {test['cases']:,} {first.dataset.plural} of {test['groups']:,} patients{positive}.",
        f"- {first.about['grid']['seeds']} seeds or more, each with its own training subset"
        + (f"; they rotate {own.folds} parts of the patients." if own.folds else "."),
        *(_trained(one) for one in results.values()),
        "", "## Verdict", "", _markdown(table_of(found, score)), "",
        f"Intervals hold for {'all rows together' if len(found) > 1 else 'the one row'} (95 %, Bonferroni). *Times "
        "fewer cases*: how many times more training cases the network that an idea is compared with needs for the "
        "idea's score. *Gain found 4 times in 5*: a true gain of that size would have an interval above 0 in four of "
        "five such comparisons; a smaller one is missed more often.", "",
    ]  # fmt: skip
    if without:
        lines += ["Not tried:", "", *(f"- {name}: {why}." for name, why in without.items()), ""]
    lines += ["## What answers without a network", "", *audited, ""] if audited else []
    for experiment, one in results.items():
        picture = curves.over_n([curves.scores(one, one.arms, title="")], f"{score} over training cases, {own.title}")
        picture.save(folder / f"learning-{experiment}.png")
        titles = ", ".join(IDEAS[name].title for name in ideas if IDEAS[name].experiment == experiment)
        baseline = next(IDEAS[name].baseline[len(own.patch)] for name in ideas if IDEAS[name].experiment == experiment)
        lines += [
            f"## Learning curves: {titles}", "", f"![learning curves](learning-{experiment}.png)", "",
            _markdown(tables.scores(one, one.arms), index=True), "",
            f"## How many cases would it need? ({one.arm(baseline).label})", "", _markdown(needed(one, baseline)), "",
        ]  # fmt: skip
    lines += [
        f"Extrapolated rows rest on a fitted curve that nobody promises goes on so. {learning_curve.MEASURED}",
        "",
    ]
    return files.write(folder / "README.md", "\n".join(lines))


def _trained(results: Results) -> str:
    """What all networks of an experiment had in common."""
    grid, experiment = results.about["grid"], results.about["experiment"]
    rates = ", ".join(f"{rate:g}" for rate in grid["learning_rates"])
    chosen = f"learning rate of each arm and size from {rates}, by validation cases"
    chosen = chosen if "," in rates else f"learning rate {rates}"
    more = "whether more updates would gain was not tried"
    updates = f"{grid['steps']} updates for every network"
    if "patch_steps" in grid:
        updates = (
            f"{grid['steps']} updates on whole pictures after {grid['patch_steps']} on windows, or as much computing"
        )
        updates += " on whole pictures alone"
    return f"- {experiment}: {updates}, {more}; {chosen}."


def _markdown(table: pd.DataFrame, index: bool = False) -> str:
    return table.to_markdown(index=index)
