"""What the gain of sums is, and what it is not: every variant, peer and control against one network at the same size.

Two networks are what others are held against: sums of four with single settings changed, and the base network with as
many forward passes for what is done to single scans. All differences are paired by seed and test scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fewscans.figures.arms import filled, look
from fewscans.figures.curves import LEAVES, frame
from fewscans.figures.picture import GREY, Picture, sheet, styled
from fewscans.figures.regression import MAIN, SUMS, better, told
from fewscans.figures.sources import NotYet, Source
from fewscans.figures.tasks import score_label
from fewscans.figures.wording import interval, listed, markdown, number, side, sizes
from fewscans.stats import Estimate

EQUAL = "base-compute"
VARIANTS = (
    "hydra-2", "hydra-8", "hydra-4-p0", "hydra-4-p30", "hydra-4-p50", "hydra-4-replacement", "hydra-4-mae",
    "hydra-4-centred", "hydra-4-uniform", "hydra-4-unit", "hydra-4-fixed", "hydra-4-permuted",
)  # fmt: skip
OTHERS = (
    "hydra-4", "base", "base-mae", "base-centred", "base-dropout", "base-compute-uniform", "base-compute-unit", "mixup",
    "c-mixup",
    "histogram", "crop", "mean",
)  # fmt: skip
AGAINST: Mapping[str, tuple[str, ...]] = {SUMS: VARIANTS, EQUAL: OTHERS}
TOGETHER = f"{SUMS}-black"
# what else is asked in pairs: arm, rival, in words
PAIRS = (
    (SUMS, "base-dropout", "sums against dropout"),
    (SUMS, "mixup", "sums against mixup"),
    (SUMS, "c-mixup", "sums against C-Mixup"),
    (SUMS, "histogram", "sums against ridge on a histogram"),
    (SUMS, "crop", "sums against the published crop's size"),
    ("hydra-4-fixed", EQUAL, "the same sets in every epoch against no sets"),
    ("hydra-4-mae", "base-mae", "with the absolute error, a quarter of the updates for base (Table 1)"),
    ("hydra-4-centred", "base-centred", "with centred labels, equal forward passes"),
    ("hydra-4-unit", "base-compute-unit", "with grey values in [0, 1], as in the paper, equal forward passes"),
    ("hydra-4-uniform", "base-uniform", "evenly spread labels, a quarter of the updates for base (as in the paper)"),
    ("hydra-4-uniform", "base-compute-uniform", "evenly spread labels, equal forward passes"),
)


def size_of(source: Source) -> int:
    """The training size at which most variants were trained; of several the one nearest 25."""
    every = [arm for arms in AGAINST.values() for arm in arms if arm in source.arms]
    found = {
        n: sum(source.has(arm, n) for arm in every)
        for rival in AGAINST
        if rival in source.arms
        for n in source.sizes(rival)
    }
    if not found or not every:
        raise NotYet(f"{source.label}: neither {SUMS} nor {EQUAL} has a variant to be compared with yet")
    return min(found, key=lambda n: (-found[n], abs(n - 25)))


def gains(source: Source, n: int, score: str = "icc") -> dict[str, dict[str, Estimate]]:
    """By what they are held against: score of each arm minus that network's."""
    found = {}
    for rival, arms in AGAINST.items():
        if source.has(rival, n):
            found[rival] = {a: source.gain(a, n, score, baseline=rival) for a in arms if source.has(a, n)}
    return {rival: by_arm for rival, by_arm in found.items() if by_arm}


@styled
def variants(source: Source, n_train: int | None = None) -> Picture:
    """Every arm at one size: its ICC, and its difference to sums of four or to the base network at equal compute."""
    n = n_train or size_of(source)
    found = gains(source, n)
    if not found:
        raise NotYet(f"{source.label}: at N = {n:,} neither {SUMS} nor {EQUAL} has anything to be held against")
    rows = [(rival, arm) for rival, by_arm in found.items() for arm in by_arm]
    title = f"{source.prefix}, N = {n:,}: {finding(found)}"
    luck = 0.025 * len(rows)
    note = (
        f"{source.note} {len(rows)} differences: if nothing were there, {luck:.1f} would come out surely better, and "
    )
    note += "as many worse."
    every = [e for by_arm in found.values() for e in by_arm.values()]
    cut = frame(every)
    figure, axes = sheet(
        title, 1, 2, 1.9 + 0.235 * (len(rows) + len(found)), note + (LEAVES if cut else ""), sharey=True
    )
    left, right = axes[0]
    y, ticks = 0.0, {}
    for rival, by_arm in found.items():
        left.text(0.0, y, f"against {look(rival).label}:", fontsize=9, color=look(rival).colour, fontweight="bold",
                  va="center", transform=left.get_yaxis_transform())  # fmt: skip
        top, y = y, y + 1
        for arm, e in by_arm.items():
            score = source.score(arm, n)
            for panel, shown in ((left, score), (right, e)):
                panel.plot([shown.low, shown.high], [y, y], color=look(arm).colour, linewidth=1.7)
                panel.plot(shown.value, y, **filled(arm) | {"markersize": 5.5, "linestyle": "none"})
            ticks[y], y = look(arm).label, y + 1
        held = source.score(rival, n)
        left.plot([held.value] * 2, [top + 0.5, y - 0.5], color=look(rival).colour, linewidth=1.2, linestyle="--")
        right.plot([0, 0], [top + 0.5, y - 0.5], color=look(rival).colour, linewidth=1.4)
    left.set_yticks(list(ticks), list(ticks.values()), fontsize=9)
    left.set_ylim(y - 0.4, -0.6)
    left.set_xlabel("ICC(A,1)")
    right.set_xlabel("difference in ICC")
    if cut is not None:
        right.set_xlim(min(cut[0], -0.01), max(cut[1], 0.01))
    for panel in axes[0]:
        panel.grid(False, axis="y")
        panel.tick_params(axis="y", length=0)
        panel.locator_params(axis="x", nbins=4)
    return Picture(figure, title, source.provenance | {"figure": "variants, peers and controls", "n_train": n})


def finding(found: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Which of them are surely better than what they are held against, and which networks surely worse."""
    parts = []
    for rival, by_arm in found.items():
        ahead, behind = ([a for a, e in by_arm.items() if better(e, "icc") == sign] for sign in (1, -1))
        behind = [arm for arm in behind if arm not in ("mean", "histogram", "crop")]
        told = [f"surely {word} {_named(some)}" for word, some in (("better:", ahead), ("worse:", behind)) if some]
        of = f"of {len(by_arm)} against {look(rival).label}"
        parts.append(f"{of}, {'; '.join(told) if told else 'none is surely better or worse'}")
    return ". ".join(part[0].upper() + part[1:] if i else part for i, part in enumerate(parts))


def _named(arms: Sequence[str], most: int = 3) -> str:
    return str(len(arms)) if len(arms) > most else listed([look(arm).label for arm in arms])


def table(source: Source, n_train: int | None = None) -> str:
    """Markdown: ICC and squared error of every arm at one size; the difference in ICC to what it is held against."""
    n = n_train or size_of(source)
    rows = []
    for rival, by_arm in gains(source, n).items():
        for arm in (rival, *by_arm):
            change = "" if arm == rival else f"{interval(by_arm[arm], sign=True)}{' *' if side(by_arm[arm]) else ''}"
            name = f"**{look(arm).label}**" if arm == rival else look(arm).label
            rows.append([name, interval(source.score(arm, n)), change, told(source.score(arm, n, "mse"), "mse")])
    head = [
        f"{source.prefix}, N = {n:,}",
        "ICC(A,1)",
        "difference to the line in bold",
        score_label("mse", source.task.unit),
    ]
    return f"{markdown(head, rows)}\n\n\\* the interval does not cover 0."


def pairs_table(source: Source, n_train: int | None = None) -> str:
    """Markdown: further pairs that the question needs, ICC, paired."""
    n = n_train or size_of(source)
    rows = []
    for arm, rival, words in PAIRS:
        if source.has(arm, n) and source.has(rival, n):
            e = source.gain(arm, n, baseline=rival)
            rows.append(
                [words, look(arm).label, look(rival).label, f"{interval(e, sign=True)}{' *' if side(e) else ''}"]
            )
    if not rows:
        return ""
    return markdown([f"{source.prefix}, N = {n:,}", "", "minus", "difference in ICC"], rows)


def beaten_by_trivial(source: Source) -> str:
    """Whether each of the three networks beats every baseline without a network, at each size, in words."""
    if not any(t in source.arms for t in source.task.trivial):
        return f"{source.prefix}: no baseline without a network has been run yet."
    open_: dict[str, list[str]] = {}
    for arm in (arm for arm in MAIN if arm in source.arms):
        for t in (t for t in source.task.trivial if t in source.arms):
            level = [n for n in source.sizes(arm, t) if side(source.gain(arm, n, baseline=t)) <= 0]
            if level:
                open_.setdefault(look(arm).label, []).append(f"{look(t).label} at N = {sizes(level)}")
    if not open_:
        return f"{source.prefix}: every network surely beats every baseline without one, at every size."
    return (
        f"{source.prefix}, **not surely better**: "
        + "; ".join(f"{arm} than {listed(t)}" for arm, t in open_.items())
        + "."
    )


def black_table(source: Source) -> str:
    """Markdown: f(0), what a network says of a black image, and what feeding black to the other branches changes."""
    records = pd.DataFrame(source.records)
    if "at_black" not in records or records["at_black"].isna().all():
        return f"The records of the {source.name} hold no f(0) yet."
    unit, rows = source.task.unit or "count", []
    mean = float(source.resampled().cells[next(iter(source.resampled().cells))].target.mean())
    for (arm, n), mine in records.dropna(subset="at_black").groupby(["arm", "n_train"], sort=False):
        if arm in (*MAIN, "hydra-4-p0", "hydra-4-p50", "hydra-4-centred"):
            f = mine["at_black"]
            told = f"{number(f.median(), 2)} ({number(f.min(), 2)} to {number(f.max(), 2)})"
            rows.append(
                [
                    f"{look(arm).label}, N = {n:,}",
                    told,
                    f"{f.median() / mean:.0%}".replace("-", "−"),
                    *_both(source, arm, n),
                ]
            )
    head = [source.prefix, f"f(0), median and range over seeds ({unit})", "of the mean label",
            "ICC, other branches removed", "ICC, other branches black", "difference"]  # fmt: skip
    return markdown(head, rows)


def _both(source: Source, arm: str, n: int) -> tuple[str, str, str]:
    if arm != SUMS or not source.has(TOGETHER, n) or not source.has(SUMS, n):
        return "", "", ""
    change = source.gain(TOGETHER, n, baseline=SUMS)
    return interval(source.score(SUMS, n)), interval(source.score(TOGETHER, n)), interval(change, sign=True)


@styled
def black(source: Source) -> Picture:
    """f(0) of every network beside the smallest label; and the ICC of the paper's two ways to ask a network of sums."""
    records = pd.DataFrame(source.records)
    if "at_black" not in records or TOGETHER not in source.arms or SUMS not in source.arms:
        raise NotYet(f"{source.label}: no f(0), or no predictions with black images beside, yet")
    shared = source.sizes(SUMS, TOGETHER)
    changes = {n: source.gain(TOGETHER, n, baseline=SUMS) for n in shared}
    apart = [n for n, e in changes.items() if side(e)]
    far = max(changes.values(), key=lambda e: abs(e.value))
    title = f"{source.prefix}: the two ways to ask a network of sums differ by up to {number(abs(far.value), 3)} in ICC"
    title += f", surely at N = {listed([f'{n:,}' for n in apart])}" if apart else ", nowhere surely"
    note = f"{source.note} Left: a dot a seed. Right: other branches removed (circles), or fed black images, "
    note += "+ 3 f(0) (squares)."
    figure, axes = sheet(title, 1, 2, 3.3, note, width_ratios=[1.2, 1])
    left, right = axes[0]
    present = [arm for arm in MAIN if arm in set(records["arm"])]
    n_all = sorted({int(n) for n in records.loc[records["arm"].isin(present), "n_train"]})
    for k, arm in enumerate(present):
        mine = records[records["arm"] == arm]
        x = [n_all.index(n) + 0.22 * (k - 1) for n in mine["n_train"]]
        left.plot(x, mine["at_black"].round(4), **filled(arm) | {"linestyle": "none", "markersize": 4, "alpha": 0.7},
                  label=look(arm).label)  # fmt: skip
    left.axhline(0, color=GREY, linewidth=1.1)
    left.set_xticks(range(len(n_all)), [str(n) for n in n_all])
    left.set_xlabel("training scans")
    left.set_ylabel(f"f(0) ({source.task.unit or 'count'})")
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.45 * (high - low))
    left.legend(fontsize=8, loc="upper left", borderaxespad=0.1, labelspacing=0.2)
    for k, (arm, marker) in enumerate(((SUMS, "o"), (TOGETHER, "s"))):
        for i, n in enumerate(shared):
            e, x = source.score(arm, n), i + 0.2 * (k - 0.5)
            right.plot([x, x], [e.low, e.high], color=look(arm).colour, linewidth=1.6)
            right.plot(x, e.value, marker=marker, color=look(arm).colour, markersize=6)
    right.set_xticks(range(len(shared)), [str(n) for n in shared])
    right.set_xlim(-0.6, len(shared) - 0.4)
    right.set_xlabel("training scans")
    right.set_ylabel("ICC(A,1)")
    return Picture(figure, title, source.provenance | {"figure": "black images and the two inferences"})


@styled
def sites(source: Source) -> Picture:
    """Networks that saw the test scans' site in training against those that did not, arm by arm, at one size."""
    pairs = [(arm, f"{arm}-unseen") for arm in MAIN if f"{arm}-unseen" in source.arms and arm in source.arms]
    shared = sorted({n for pair in pairs for n in source.sizes(*pair)})
    if not shared:
        raise NotYet(f"{source.label}: no arm was trained with and without the test scans' site yet")
    n = shared[-1]
    pairs = [pair for pair in pairs if source.has(pair[1], n)]
    changes = {seen: source.gain(unseen, n, baseline=seen) for seen, unseen in pairs}
    worse = [look(arm).label for arm, e in changes.items() if side(e) < 0]
    told = f"surely lower for {listed(worse)}" if worse else "not surely lower for any network"
    title = f"{source.prefix}: on a site that was not trained on the ICC is {told}"
    note = f"{source.note} N = {n:,} from all three sites (filled), or from two, tested on the third (open)."
    figure, axes = sheet(title, 1, 2, 1.75 + 0.45 * len(pairs), note, sharey=True)
    left, right = axes[0]
    for row, (seen, unseen) in enumerate(pairs):
        for arm, shift, face in ((seen, -0.15, look(seen).colour), (unseen, 0.15, "white")):
            e = source.score(arm, n)
            left.plot([e.low, e.high], [row + shift] * 2, color=look(seen).colour, linewidth=1.7)
            left.plot(
                e.value,
                row + shift,
                marker=look(seen).marker,
                color=look(seen).colour,
                markerfacecolor=face,
                markersize=6.5,
            )
        e = changes[seen]
        right.plot([e.low, e.high], [row, row], color=look(seen).colour, linewidth=1.7)
        right.plot(e.value, row, **filled(seen))
    right.axvline(0, color=GREY, linewidth=1.2)
    left.set_yticks(range(len(pairs)), [look(seen).label for seen, _ in pairs])
    left.set_ylim(len(pairs) - 0.5, -0.5)
    left.set_xlabel("ICC(A,1)")
    right.set_xlabel("unseen − seen")
    for panel in axes[0]:
        panel.grid(False, axis="y")
        panel.locator_params(axis="x", nbins=4)
    return Picture(figure, title, source.provenance | {"figure": "seen and unseen sites", "n_train": n})


def sites_table(source: Source) -> str:
    """Markdown: what networks say too much of the scans of each site, when it was among the trained and when not."""
    arms = [arm for arm in MAIN if arm in source.arms and f"{arm}-unseen" in source.arms]
    if not arms:
        return ""
    n = max(n for arm in arms for n in source.sizes(arm, f"{arm}-unseen"))
    unit, rows = source.task.unit or "count", []
    for arm in arms:
        for which in (arm, f"{arm}-unseen"):
            cell = source.resampled().cell(which, n)
            site = np.array([str(case).partition("/")[0] for case in cell.case])
            wrong = cell.prediction - cell.target
            parts = [wrong[:, site == s] for s in np.unique(site)]
            told = [f"{number(part.mean(), 1)}; {number(np.abs(part).mean(), 1)}" for part in parts]
            rows.append([look(which).label, *told])
    return markdown(
        [f"{source.prefix}, N = {n:,}: mean difference; mean absolute error ({unit})", *np.unique(site)], rows
    )
