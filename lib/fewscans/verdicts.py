"""From a claim's test and the tables of a run to a verdict, and to what would settle an open one.

The verdict follows from the 95 % interval alone: wholly on the claimed side of the line, `reproduced`; wholly on
the other, `contradicted`; across it, `inconclusive`. For a value within a margin: wholly within, wholly outside, or
neither (this is two one-sided tests, at 2.5 % each). What the tables cannot answer is `not tested`, with the
reason; so is what has no meaning on them: how many more cases a baseline needs that does not gain by cases, or how
alike two networks are that learned nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd
from scipy import stats

from fewscans.claims import BEATEN_BY, Test
from fewscans.stats import Estimate
from fewscans.stats.convergence import convergence
from fewscans.stats.efficiency import baseline_sizes, curve_weights, data_efficiency, gain
from fewscans.stats.intervals import combination
from fewscans.stats.resample import Resampled, Spread
from fewscans.stats.seed_spread import paired_scores, seeds_needed, spread_ratio

VERDICTS = ("reproduced", "inconclusive", "contradicted", "not tested")
N_BOOTSTRAP = 2000


class Tables:
    """A run's predictions and history, each score resampled once for all claims.   reference: what scores of
    detection need (`stats.reference`); without it their claims are not tested.
    """

    def __init__(
        self,
        predictions: pd.DataFrame,
        history: pd.DataFrame,
        n_bootstrap: int = N_BOOTSTRAP,
        reference: pd.DataFrame | None = None,
    ):
        self.predictions, self.history, self.n_bootstrap = predictions, history, n_bootstrap
        self.reference = reference
        self._resampled: dict[tuple[str, str], Resampled] = {}

    def resampled(self, score: str, split: str) -> Resampled:
        if (score, split) not in self._resampled:
            self._resampled[score, split] = Resampled(
                self.predictions, score, split, self.n_bootstrap, reference=self.reference
            )
        return self._resampled[score, split]


@dataclass(frozen=True)
class Outcome:
    """verdict: one of VERDICTS.   estimate, seeds: None where nothing could be computed.   reason: why not tested,
    or what would settle an inconclusive one; else empty.
    """

    verdict: str
    estimate: Estimate | None = None
    seeds: int | None = None
    reason: str = ""


def evaluate(test: Test, tables: Tables) -> Outcome:
    """The verdict of one test. An arm, size or seed that the tables lack makes it `not tested`, with what is
    missing as reason.
    """
    try:
        outcome = _measured(test, tables)
        why = "" if test.beats is None else _learned_nothing(test, tables)
    except ValueError as error:
        return Outcome("not tested", reason=str(error))
    return replace(outcome, verdict="not tested", reason=why) if why else outcome


def verdict(estimate: Estimate, line: float, claimed: str | None = None, margin: float | None = None) -> str:
    """From the interval alone. An interval that ends on the line lies on the side of "at least" and "at most", and
    is not on that of "above" and "below"; where the data only bound the value, the interval's open end is infinite
    (or 0) and decides nothing.
    """
    low, high = estimate.low, estimate.high
    if margin is not None:
        if line - margin <= low and high <= line + margin:
            return "reproduced"
        return "contradicted" if high < line - margin or low > line + margin else "inconclusive"
    side = {
        "above": (low > line, high <= line),
        "at least": (low >= line, high < line),
        "below": (high < line, low >= line),
        "at most": (high <= line, low > line),
    }[claimed]
    return "reproduced" if side[0] else "contradicted" if side[1] else "inconclusive"


def _measured(test: Test, tables: Tables) -> Outcome:
    if test.metric == "epochs_to_baseline":
        return _epochs(test, tables)
    if test.metric.startswith("data_efficiency:"):
        return _efficiency(test, tables)
    if test.metric.startswith("seed_spread:"):
        return _seed_spread(test, tables)
    return _score(test, tables)


def _learned_nothing(test: Test, tables: Tables) -> str:
    """Why the networks of a test cannot be compared; empty if one of them surely beats `test.beats`.

    One is enough: if the other learned nothing, the difference between them says so by itself.
    """
    table = tables.resampled(BEATEN_BY[test.experiment], test.split)
    better = 1.0 if table.score.higher_is_better else -1.0
    for arm in test.learners:
        ahead = table.spread({(arm, test.n_train): better, (test.beats, test.n_train): -better})
        if ahead.estimate().low > 0:
            return ""
    if len(test.learners) == 1:
        return (
            f"{test.learners[0]} does not surely beat {test.beats}: whether it learned what could be compared is open"
        )
    names = " nor ".join(test.learners)
    return f"neither {names} surely beats {test.beats}: whether they learned what could be compared is open"


def _score(test: Test, tables: Tables) -> Outcome:
    table = tables.resampled(test.metric, test.split)
    terms = [((test.arm, test.n_train), 1.0)]
    if test.baseline is not None:
        terms.append(((test.baseline, test.n_train_baseline or test.n_train), -1.0))
    if test.minus_n_train is not None:
        terms += [((test.arm, test.minus_n_train), -1.0), ((test.baseline, test.minus_n_train), 1.0)]
    spread = table.spread(combination(*terms))
    bounds = (table.score.bounds,) if len(terms) == 1 else ()
    estimate = spread.estimate(0.95, *bounds)
    found = verdict(estimate, test.line, test.claimed, test.margin)
    reason = ""
    if found == "inconclusive":
        reason = settling(spread, _distance(spread.value, test), _against(spread.value, test))
    elif found == "reproduced" and test.minus_n_train is not None:
        found, reason = _of_a_gain(test, table)
    return Outcome(found, estimate, spread.n_seeds, reason)


def _of_a_gain(test: Test, table: Resampled) -> tuple[str, str]:
    """A gain that is larger at one size than at another must be a gain there, not the smaller loss."""
    better = 1.0 if table.score.higher_is_better else -1.0
    gained = table.spread({(test.arm, test.n_train): better, (test.baseline, test.n_train): -better}).estimate()
    if gained.low > 0:
        return "reproduced", ""
    told = f"{gained.value:.3g} ({gained.low:.3g} to {gained.high:.3g})"
    if gained.high < 0:
        return "contradicted", f"larger it is, but at N = {test.n_train} a loss: {told}"
    return "inconclusive", f"larger it is, but at N = {test.n_train} not surely a gain: {told}"


def _efficiency(test: Test, tables: Tables) -> Outcome:
    table = tables.resampled(test.metric.partition(":")[2], test.split)
    estimate = data_efficiency(table, test.baseline, test.arm, n_train=test.n_train)
    seeds = len(table.cell(test.arm, test.n_train).seeds)
    risen = gain(table, test.baseline)
    if not risen.low > 0:
        sizes, rises = baseline_sizes(table, test.baseline), "rise" if table.score.higher_is_better else "fall"
        why = (
            f"the baseline does not surely {rises} with N: from N = {sizes[0]} to {sizes[-1]} {test.baseline} gains "
            f"{risen.value:.3g} in {table.score.name} ({risen.low:.3g} to {risen.high:.3g})"
        )
        return Outcome("not tested", estimate, seeds, why)
    found = verdict(estimate, test.line, test.claimed, test.margin)
    if found != "inconclusive":
        return Outcome(found, estimate, seeds)
    reach = baseline_sizes(table, test.baseline)[-1] / test.n_train
    if test.margin is None and reach < test.line:
        why = (
            f"the sizes of {test.baseline} reach a factor of {reach:.3g} at N = {test.n_train}, short of {test.line:g}"
        )
        return Outcome("not tested", estimate, seeds, why)
    if test.margin is not None:
        return Outcome(found, estimate, seeds, "more seeds or test patients")
    # the factor is past the line where the method scores above the baseline's curve at line times N
    keys, weights = curve_weights(table, test.baseline, test.arm, test.n_train, test.line * test.n_train)
    spread = table.joint(keys).spread(weights)
    against = (spread.value < 0) == (test.claimed in ("above", "at least"))
    return Outcome(found, estimate, seeds, settling(spread, abs(spread.value), against))


def _seed_spread(test: Test, tables: Tables) -> Outcome:
    table = tables.resampled(test.metric.partition(":")[2], test.split)
    scores = paired_scores(table, test.arm, test.baseline, test.n_train)
    estimate, now = spread_ratio(*scores), f"now {len(scores[0])}"
    found = verdict(estimate, test.line, test.claimed, test.margin)
    if found != "inconclusive":
        steady, other = test.arm, test.baseline
        if (found == "reproduced") != (test.claimed in ("below", "at most")):
            steady, other = other, steady
        better = 1.0 if table.score.higher_is_better else -1.0
        ahead = table.spread({(steady, test.n_train): better, (other, test.n_train): -better}).estimate()
        if ahead.high < 0 and test.margin is None:
            why = f"{steady} varies less but scores surely less than {other}, as what learned little does"
            return Outcome("not tested", estimate, len(scores[0]), why)
        return Outcome(
            found, estimate, len(scores[0]), "if scores are normal over seeds, with none that failed to learn"
        )
    needed = seeds_needed(*scores, test.line) if test.margin is None else None
    way = ", as contradicted," if _against(estimate.value, test) else ","
    would = f"about {needed} seeds would settle it{way} if ratio and correlation stay" if needed else "many more seeds"
    return Outcome(found, estimate, len(scores[0]), f"{would} ({now})")


def _epochs(test: Test, tables: Tables) -> Outcome:
    made = convergence(tables.history, test.arm, test.baseline, test.n_train)
    found = verdict(made.ratio, test.line, test.claimed, test.margin)
    reason = _seeds_for_sign_test(made.seeds, made.ratio, test.line) if found == "inconclusive" else ""
    if made.reached < 1:
        share = f"{made.reached:.0%} of the seeds reached the goal within the budget"
        reason = f"{reason}; {share}" if reason else share
    return Outcome(found, made.ratio, made.seeds, reason)


def _distance(value: float, test: Test) -> float:
    """From the value to the nearest line."""
    if test.margin is None:
        return abs(value - test.line)
    return abs(test.margin - abs(value - test.line))


def _against(value: float, test: Test) -> bool:
    """Whether the value speaks against the claim, surely or not."""
    if test.margin is not None:
        return abs(value - test.line) > test.margin
    return value < test.line if test.claimed in ("above", "at least") else value > test.line


def settling(spread: Spread, distance: float, against: bool = False) -> str:
    """What would bring the interval to one side, if the value and the parts of its variance stay what they are.

    against: that side is the one that contradicts the claim.
    """
    seeds, groups = spread.seeds_needed(distance), spread.groups_needed(distance)
    now = f"now {spread.n_seeds} seeds and {spread.n_groups} groups of test cases"
    settle = "would settle it, as contradicted, if the value stays" if against else "would settle it"
    if seeds is not None:
        return f"about {seeds} seeds {settle} ({now})"
    if groups is not None:
        return f"no number of seeds alone: test patients dominate; about {groups} of them {settle} ({now})"
    return f"neither more seeds nor more test patients alone would settle it ({now})"


def _seeds_for_sign_test(seeds: int, ratio: Estimate, line: float) -> str:
    """The fewest seeds with which the median's interval can leave out a line on the far side of every value."""
    fewest = next(n for n in range(1, 50) if stats.binom.cdf(0, n, 0.5) <= 0.025)
    if seeds < fewest:
        return f"{fewest} seeds at least, for an interval of the median (now {seeds})"
    if math.isclose(ratio.value, line):
        return f"the median lies on the line: no number of seeds (now {seeds})"
    return f"more seeds (now {seeds})"
