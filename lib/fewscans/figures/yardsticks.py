"""Which of two networks is better, and whether either learned at all: differences, and sentences that fit them.

Two yardsticks. Networks are compared with each other by ICC, as in the paper. Whether a network learned at all is asked
by squared error against the mean of the training labels: by ICC, that mean has 0 by construction. "Surely" means that
the 95 % interval of a difference, paired by seed and scan, leaves out 0. A run of fewer than three seeds has no
intervals worth the name: it checks the pipeline and is left out of every count.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from fewscans.figures.arms import look
from fewscans.figures.sources import Source, rounded
from fewscans.figures.tasks import LOSSES
from fewscans.figures.wording import interval, listed, number, side, signed, sizes
from fewscans.stats import Estimate

MAIN = ("base", "base-compute", "hydra-4")
SUMS = "hydra-4"
RIVALS = {"base": "base", "base-compute": "base at equal passes"}
FEWEST_SEEDS = 3  # with two, an interval over seeds has one degree of freedom
TWO_LINES = (2, 64)  # lines of a title, letters of a line, as in `picture.sheet`


def is_check(source: Source) -> bool:
    """Whether a run has too few seeds for a verdict: it checks the pipeline."""
    return source.test_set["seeds"] < FEWEST_SEEDS


def checked_only(source: Source) -> str:
    """What is said of such a run where others have a finding."""
    return f"{source.prefix}: {source.test_set['seeds']} seeds, a check of the pipeline without a verdict"


def seen(source: Source, arm: str, n: int, score: str = "icc", split="test", baseline: str | None = None) -> Estimate:
    """A score, or its difference to a baseline's; of too few seeds without an interval: both ends are the value."""
    if baseline is None:
        e = source.score(arm, n, score, split)
    else:
        e = source.gain(arm, n, score, split, baseline)
    return Estimate(e.value, e.value, e.value) if is_check(source) else e


def better(e: Estimate, score: str, line: float = 0.0) -> int:
    """1 if a difference lies surely on the better side, whether the score is an agreement or an error; -1 worse."""
    return side(e, line) * (-1 if score in LOSSES else 1)


def signs(source: Source, arm: str = SUMS, baseline: str = "base", score: str = "icc") -> dict[int, int]:
    """By size: 1 surely better than the baseline, -1 surely worse, 0 not surely different."""
    if not {arm, baseline} <= set(source.arms):
        return {}
    return {n: better(source.gain(arm, n, score, baseline=baseline), score) for n in source.sizes(arm, baseline)}


def finding(source: Source) -> str:
    """One finding, in two lines: that few networks learned; or else, by ICC, what sums do against either rival."""
    if is_check(source):
        return checked_only(source)
    told = {rival: found for rival in RIVALS if (found := signs(source, SUMS, rival))}
    if not told:
        return f"{source.prefix}: sums of 4 and the base network share no training size yet"
    if said := floor(source):
        return f"{source.prefix}: {said}"
    every = [sign for found in told.values() for sign in found.values()]
    if not any(every):
        where = "any size" if len(every) > len(told) else f"N = {sizes(list(told.popitem()[1]))}"
        whom = listed([RIVALS[rival] for rival in RIVALS if signs(source, SUMS, rival)], "or")
        return f"{source.prefix}: sums of 4 do not surely differ from {whom} at {where}"
    parts = [_against(found, RIVALS[r]) for r, found in told.items()]
    for verb in ("surely beat ", "surely fall behind "):  # said once of both
        if all(part.startswith(verb) for part in parts):
            parts[1:] = [part.removeprefix(verb) for part in parts[1:]]
    text = f"{source.prefix}: sums of 4 {', and '.join(parts)}"
    if len(textwrap.wrap(text, TWO_LINES[1])) <= TWO_LINES[0]:
        return text
    counts = f"surely better in {every.count(1)} and worse in {every.count(-1)} of {len(every)} cases"
    return f"{source.prefix}: sums of 4 are {counts}"


def beats_mean(source: Source) -> dict[tuple[str, int], bool]:
    """By network and size: whether its squared error is surely below that of the mean of the training labels."""
    cells = [(arm, n) for arm in MAIN if arm in source.arms for n in source.sizes(arm) if source.has("mean", n)]
    return {(arm, n): better(source.gain(arm, n, "mse", baseline="mean"), "mse") > 0 for arm, n in cells}


def floor(source: Source) -> str:
    """In how many cases a network surely beats the mean of the labels, where that is half or fewer; else nothing.

    Which of two networks is better says little where neither has learned.
    """
    beaten = beats_mean(source)
    if not beaten or 2 * sum(beaten.values()) > len(beaten):
        return ""
    own = [won for (arm, _), won in beaten.items() if arm == SUMS]
    of_sums = f", sums of 4 in {sum(own)} of {len(own)}" if own else ""
    return f"networks surely beat the mean of the labels in {sum(beaten.values())} of {len(beaten)} cases{of_sums}"


def learned(source: Source) -> str:
    """Whether networks beat the mean of the labels, and gain by more scans, by squared error; in words."""
    if is_check(source):
        return f"{checked_only(source)}."
    told, sure = [], 0
    if beaten := beats_mean(source):
        by_arm = {arm: [won for (a, _), won in beaten.items() if a == arm] for arm in MAIN}
        parts = [f"{look(arm).label} in {sum(won)} of {len(won)}" for arm, won in by_arm.items() if won]
        told.append(f"by squared error, networks surely beat the mean of the training labels in "
                    f"**{sum(beaten.values())} of {len(beaten)}** cases ({', '.join(parts)})")  # fmt: skip
    changes = []
    for arm in (arm for arm in MAIN if arm in source.arms and len(source.sizes(arm)) > 1):
        small, *_, large = source.sizes(arm)
        spread = source.resampled("mse").spread({(arm, large): 1.0, (arm, small): -1.0})
        change = rounded(spread.estimate(0.95))
        sure += better(change, "mse") > 0
        ends = f", N = {small:,} to {large:,}"
        changes.append(f"{say(change, 'mse', sign=True)} ({look(arm).label}{ends})")
    if changes:
        if sum(change.endswith(f"{ends})") for change in changes) == len(changes):
            changes = [change.replace(ends, "") for change in changes]
            told.append(f"From {ends[2:]} their squared error changes by {listed(changes)}")
        else:
            told.append(f"More scans change their squared error by {listed(changes)}")
        told[-1] += "" if sure else ": **none surely gains**"
    return f"{source.prefix}: {'. '.join(told)}." if told else f"{source.prefix}: one size."


def _against(found: dict[int, int], whom: str) -> str:
    ahead, behind = ([n for n, sign in found.items() if sign == wanted] for wanted in (1, -1))
    if not ahead and not behind:
        return f"do not surely differ from {whom}"
    if ahead and behind:
        return f"surely beat {whom} at {len(ahead)}, fall behind at {len(behind)} of {len(found)} sizes"
    return f"surely {'beat' if ahead else 'fall behind'} {whom} at {where(ahead or behind, found)}"


def where(some: Sequence[int], among: dict[int, int]) -> str:
    if len(among) == 1:
        return f"N = {sizes(some)}"
    return "every size" if len(some) == len(among) else f"{len(some)} of {len(among)} sizes"


def notes(sources: Sequence[Source]) -> str:
    """The test sets, and what the bars are."""
    told = []
    for source in sources:
        t, kind = source.test_set, "real" if source.real else "synthetic"
        name = source.task.real if source.real else source.task.twin
        check = ", a check of the pipeline: no bars" if is_check(source) else ""
        told.append(f"{name} ({kind}, {source.origin}): {t['cases']:,} test scans of {t['groups']:,} people, "
                    f"{t['seeds']} seeds{check}.")  # fmt: skip
    return f"{' '.join(told)} Bars: 95 % intervals over seeds and people together."


SURELY = " Surely: the interval of the paired difference leaves out 0"


def judged(sources: Sequence[Source]) -> tuple[list[Source], list[Source]]:
    """Those that a title speaks of, real ones if there are any; and those that the note speaks of."""
    able = [source for source in sources if not is_check(source)]
    real = [source for source in able if source.real]
    return (real, [source for source in able if not source.real]) if real else (able, [])


def say(e: Estimate, score: str = "icc", sign: bool = False, digits: int | None = None) -> str:
    """With as many digits as the magnitude wants, so that no end but 0 is told as 0; without an interval, the value."""
    if digits is None:
        size = max(abs(e.low), abs(e.high))
        digits = 3 if score not in LOSSES or 0.3 <= size < 10 else 1 if size >= 10 else 4
    while digits < 4 and any(end and not round(end, digits) for end in (e.low, e.high)):
        digits += 1
    if e.low == e.value == e.high:
        return signed(e.value, digits) if sign else number(e.value, digits)
    return interval(e, digits, sign)


def starred(e: Estimate, score: str = "icc") -> str:
    """A difference, with a star where its interval leaves out 0."""
    return f"{say(e, score, sign=True)}{' *' if side(e) and e.low < e.high else ''}"


def starring(source: Source, what: str = "the interval does not cover 0") -> str:
    """The line under a table with stars; or why there are none."""
    if is_check(source):
        return f"{source.test_set['seeds']} seeds, a check of the pipeline: no intervals."
    return f"\\* {what}."
