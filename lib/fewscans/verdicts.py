"""From a claim's test and the tables of a run to a verdict, and to what would settle an open one.

The verdict follows from the 95 % interval alone: wholly on the claimed side of the line, `reproduced`; wholly on
the other, `contradicted`; across it, `inconclusive`. For a value within a margin: wholly within, wholly outside, or
neither (these are two one-sided tests, at 2.5 % each). What the tables cannot answer is `not tested`, with the
reason. So is what has no meaning on them: a factor of data over a baseline that does not gain from more data or where
curves cross (`efficiency.undefined`), the likeness of two networks that learned nothing, and what compares an arm of
which training failed in more than one of ten runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scipy import stats

from fewscans import experiments
from fewscans.claims import Test
from fewscans.results import Results
from fewscans.stats import Estimate
from fewscans.stats.convergence import EPOCHS, auc_goal, compute_to_auc, convergence, is_speed
from fewscans.stats.efficiency import around, baseline_sizes, curve_weights, data_efficiency, undefined
from fewscans.stats.intervals import combination
from fewscans.stats.noise import METRICS as NOISE
from fewscans.stats.noise import log_ratios, noise_ratio
from fewscans.stats.resample import Resampled, Spread
from fewscans.stats.seed_spread import paired_scores, seeds_needed, spread_ratio

VERDICTS = ("reproduced", "inconclusive", "contradicted", "not tested")
N_BOOTSTRAP = 2000
MOST_FAILED = 0.1  # share of runs whose training may fail before a test of their arm says nothing
FACTOR = "data_efficiency:"


@dataclass(frozen=True)
class Outcome:
    """verdict: one of VERDICTS.   estimate, seeds: None where nothing could be computed.   reason: why not tested,
    or what would settle an inconclusive one; else empty.
    """

    verdict: str
    estimate: Estimate | None = None
    seeds: int | None = None
    reason: str = ""


def evaluate(test: Test, tables: Results) -> Outcome:
    """The verdict of one test. An arm, size or seed that the tables lack makes it `not tested`, with what is
    missing as reason.
    """
    try:
        outcome = _measured(test, tables)
        why = _failed(test, tables)
        if test.beats is not None and not why:
            why = _learned_nothing(test, tables)
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


def _measured(test: Test, tables: Results) -> Outcome:
    if is_speed(test.metric):
        return _convergence(test, tables)
    if test.metric.startswith(FACTOR):
        return _efficiency(test, tables)
    if test.metric.startswith("seed_spread:"):
        return _seed_spread(test, tables)
    if test.metric in NOISE:
        return _noise(test, tables)
    return _score(test, tables)


def _failed(test: Test, tables: Results) -> str:
    """Of which arm that is compared the training failed too often; empty if of none.

    Of a factor's baseline, at the sizes around the method's.
    """
    sizes = [n for n in (test.n_train, test.minus_n_train) if n is not None]
    theirs = [test.n_train_baseline or test.n_train, *sizes[1:]]
    if test.metric.startswith(FACTOR):
        known = baseline_sizes(tables.resampled(test.metric.removeprefix(FACTOR), test.split), test.baseline)
        low, high = around(known, test.n_train)
        theirs = [n for n in known if low <= n <= high]
    for arm, at in ((test.arm, sizes), (test.baseline, theirs), (test.beaten_by, sizes)):
        for n in at if arm is not None else ():
            failed, runs = tables.failed(arm, n)
            if failed > MOST_FAILED * runs:
                return f"training failed in {failed} of {runs} runs of {arm} at N = {n}"
    return ""


def _learned_nothing(test: Test, tables: Results) -> str:
    """Why the networks of a test cannot be compared; empty if the interval of one's lead over `test.beats` is above 0.

    One is enough: if the other learned nothing, the difference between them says so by itself.
    """
    table = tables.resampled(experiments.get(test.experiment).beaten_by, test.split)
    leads = {}
    for arm in test.learners:
        leads[arm] = _lead(table, arm, test.beats, test.n_train)
        if leads[arm].low > 0:
            return ""
    best = max(leads, key=lambda arm: leads[arm].value)
    lead = f"in {table.score.name}, {best} is ahead of it by {_with_interval(leads[best])}"
    return f"no network is shown to beat {test.beats}: {lead}"


def _lead(table: Resampled, arm: str, other: str, n_train: int) -> Estimate:
    """How much better one arm is than another; above 0 is better, whatever the score."""
    better = 1.0 if table.score.higher_is_better else -1.0
    return table.spread({(arm, n_train): better, (other, n_train): -better}).estimate()


def _with_interval(estimate: Estimate) -> str:
    ends = (estimate.value, estimate.low, estimate.high)
    value, low, high = (f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}" for x in ends)
    return f"{value} (95 % interval {low} to {high})"


def _score(test: Test, tables: Results) -> Outcome:
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
        reason = settling(spread, _distance(spread.value, test), _against(spread.value, test), tables.dataset.group)
    elif found == "reproduced" and test.minus_n_train is not None:
        found, reason = _of_a_gain(test, table)
    return Outcome(found, estimate, spread.n_seeds, reason)


def _of_a_gain(test: Test, table: Resampled) -> tuple[str, str]:
    """A gain that is larger at one size than at another must be a gain there, not the smaller loss."""
    gained = _lead(table, test.arm, test.baseline, test.n_train)
    if gained.low > 0:
        return "reproduced", ""
    found = "contradicted" if gained.high < 0 else "inconclusive"
    return (
        found,
        f"the change between the sizes is as claimed, but at N = {test.n_train} the gain is {_with_interval(gained)}",
    )


def _efficiency(test: Test, tables: Results) -> Outcome:
    table = tables.resampled(test.metric.removeprefix(FACTOR), test.split)
    estimate = data_efficiency(table, test.baseline, test.arm, n_train=test.n_train)
    sizes = baseline_sizes(table, test.baseline)
    seeds = table.joint([(test.arm, test.n_train), *((test.baseline, n) for n in sizes)]).n_seeds
    why = undefined(table, test.baseline, test.arm, test.n_train)
    if why:
        return Outcome("not tested", estimate, seeds, why)
    found = verdict(estimate, test.line, test.claimed, test.margin)
    if found != "inconclusive":
        return Outcome(found, estimate, seeds)
    reach = sizes[-1] / test.n_train
    if test.margin is None and reach < test.line:
        why = (
            f"the sizes of {test.baseline} reach a factor of {reach:.3g} at N = {test.n_train}, short of {test.line:g}"
        )
        return Outcome("not tested", estimate, seeds, why)
    if test.margin is not None:
        return Outcome(found, estimate, seeds, "more seeds or test cases")
    # the factor is past the line where the method scores above the baseline's curve at line times N
    keys, weights = curve_weights(table, test.baseline, test.arm, test.n_train, test.line * test.n_train)
    spread = table.joint(keys).spread(weights)
    against = (spread.value < 0) == (test.claimed in ("above", "at least"))
    return Outcome(found, estimate, seeds, settling(spread, abs(spread.value), against, tables.dataset.group))


def _seed_spread(test: Test, tables: Results) -> Outcome:
    table = tables.resampled(test.metric.partition(":")[2], test.split)
    scores = paired_scores(table, test.arm, test.baseline, test.n_train)
    estimate, now = spread_ratio(*scores), f"now {len(scores[0])}"
    found = verdict(estimate, test.line, test.claimed, test.margin)
    if found != "inconclusive":
        steady, other = test.arm, test.baseline
        if (found == "reproduced") != (test.claimed in ("below", "at most")):
            steady, other = other, steady
        ahead = _lead(table, steady, other, test.n_train)
        if ahead.high < 0 and test.margin is None:
            why = f"{steady} varies less but scores less, too: its lead over {other} is {_with_interval(ahead)}"
            return Outcome("not tested", estimate, len(scores[0]), why)
        return Outcome(found, estimate, len(scores[0]), "if scores are normal over seeds and no seed failed to learn")
    needed = seeds_needed(*scores, test.line) if test.margin is None else None
    way = "contradict" if _against(estimate.value, test) else "settle"
    would = f"about {needed} seeds would {way} it, if ratio and correlation stay" if needed else "many more seeds"
    return Outcome(found, estimate, len(scores[0]), f"{would} ({now})")


def _noise(test: Test, tables: Results) -> Outcome:
    of = tables.history, test.arm, test.n_train
    estimate, logs = noise_ratio(*of, over=NOISE[test.metric]), log_ratios(*of, over=NOISE[test.metric])
    found, runs = verdict(estimate, test.line, test.claimed, test.margin), len(logs)
    if found != "inconclusive":
        return Outcome(found, estimate, runs)
    lines = [test.line - test.margin, test.line + test.margin] if test.margin else [test.line]
    distance = min(abs(math.log(estimate.value / line)) for line in lines if line > 0)
    needed = Spread(logs.mean(), logs.var(ddof=1), 0.0, 0.0, runs, runs).seeds_needed(distance)
    way = "contradict" if _against(estimate.value, test) else "settle"
    would = f"about {needed} runs would {way} it, if the measured value stays" if needed else "many more runs"
    return Outcome(found, estimate, runs, f"{would} (now {runs})")


def _convergence(test: Test, tables: Results) -> Outcome:
    of = tables.history, test.arm, test.baseline, test.n_train
    made = convergence(*of) if test.metric == EPOCHS else compute_to_auc(*of, auc_goal(test.metric))
    found = verdict(made.ratio, test.line, test.claimed, test.margin)
    reason = _seeds_for_sign_test(made.seeds, made.ratio, test.line) if found == "inconclusive" else ""
    if min(made.reached, made.baseline_reached) < 1:
        share = f"{made.reached:.0%} of the seeds reached the goal within the budget"
        if made.baseline_reached < 1:
            share += f", and {made.baseline_reached:.0%} of those of {test.baseline}"
        reason = f"{reason}; {share}" if reason else share
    return Outcome(found, made.ratio, made.seeds, reason)


def _distance(value: float, test: Test) -> float:
    """From the value to the nearest line."""
    if test.margin is None:
        return abs(value - test.line)
    return abs(test.margin - abs(value - test.line))


def _against(value: float, test: Test) -> bool:
    """Whether the value, without its interval, is on the side that contradicts the claim."""
    if test.margin is not None:
        return abs(value - test.line) > test.margin
    return value < test.line if test.claimed in ("above", "at least") else value > test.line


def settling(spread: Spread, distance: float, against: bool = False, group: str = "group") -> str:
    """What would bring the interval to one side, if the value and the parts of its variance stay what they are.

    against: that side is the one that contradicts the claim.   group: what is resampled whole, "scan".
    """
    seeds, groups = spread.seeds_needed(distance), spread.groups_needed(distance)
    would = f"would {'contradict' if against else 'settle'} it, if the measured value stays"
    now = f"now {spread.n_seeds} seeds and {spread.n_groups} test {group}s"
    if seeds is not None:
        return f"about {seeds} seeds {would} ({now})"
    if groups is not None:
        return f"about {groups} test {group}s {would}; more seeds alone would not ({now})"
    return f"neither more seeds nor more test cases alone would settle it ({now})"


def _seeds_for_sign_test(seeds: int, ratio: Estimate, line: float) -> str:
    """The fewest seeds with which the median's interval can leave out a line on the far side of every value."""
    fewest = next(n for n in range(1, 50) if stats.binom.cdf(0, n, 0.5) <= 0.025)
    if seeds < fewest:
        return f"the interval of a median needs {fewest} seeds (now {seeds})"
    if math.isclose(ratio.value, line):
        return f"the median lies on the line, where more seeds do not help (now {seeds})"
    return f"more seeds (now {seeds})"
