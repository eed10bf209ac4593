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
from fewscans.figures.sources import NotYet, Source
from fewscans.figures.tasks import score_label
from fewscans.figures.wording import folded, listed, markdown, number, side, signed, sizes
from fewscans.figures.yardsticks import MAIN, SUMS, better, is_check, say, seen, starred, starring, where
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
TRIVIAL = ("histogram", "crop", "mean")
# what this part is about: every variant, peer and control, the three networks and trivial baselines aside
ASKED = (*VARIANTS, *(arm for arm in OTHERS if arm not in (*MAIN, *TRIVIAL)))
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


def present(source: Source) -> str:
    """Which of the variants, peers and controls were trained, and which were not, in words."""
    here = [arm for arm in ASKED if arm in source.arms]
    count = f"{len(here)} {'was' if len(here) == 1 else 'were'} trained"
    if not here:
        return f"{source.prefix}: of {len(ASKED)} variants, peers and controls asked for, none was trained."
    absent = [look(arm).label for arm in ASKED if arm not in here]
    text = f"{source.prefix}: of {len(ASKED)} variants, peers and controls asked for, {count}: "
    text += "; ".join(look(arm).label for arm in here)
    return f"{text}. Not trained: {'; '.join(absent)}." if absent else f"{text}."


def size_of(source: Source) -> int:
    """The training size at which most variants were trained; of several the one nearest 25."""
    if not any(arm in source.arms for arm in ASKED):
        raise NotYet(present(source).removesuffix("."))
    every = [arm for arms in AGAINST.values() for arm in arms if arm in source.arms]
    rivals = [rival for rival in AGAINST if rival in source.arms]
    found = {n: sum(source.has(arm, n) for arm in every) for rival in rivals for n in source.sizes(rival)}
    found = {n: count for n, count in found.items() if any(source.has(arm, n) for arm in ASKED)}
    if not found:
        raise NotYet(f"{source.prefix}: neither {SUMS} nor {EQUAL} has a variant of its size to be compared with yet")
    return min(found, key=lambda n: (-found[n], abs(n - 25)))


def gains(source: Source, n: int, score: str = "icc") -> dict[str, dict[str, Estimate]]:
    """By what they are held against: score of each arm minus that network's."""
    found = {}
    for rival, arms in AGAINST.items():
        if source.has(rival, n):
            found[rival] = {a: seen(source, a, n, score, baseline=rival) for a in arms if source.has(a, n)}
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
    asked = (
        f"{sum(arm in source.arms for arm in ASKED)} of {len(ASKED)} variants, peers and controls asked for are here."
    )
    note = f"{source.note} {asked} {len(rows)} differences: if nothing were there, {luck:.1f} would come out "
    note += "surely better, and as many worse."
    if is_check(source):
        title = f"{source.prefix}: {source.test_set['seeds']} seeds, a check of the pipeline without a verdict"
        note = f"{source.note.partition(' Bars:')[0]} Too few seeds for intervals. {asked}"
    every = [e for by_arm in found.values() for e in by_arm.values()]
    cut = frame(every)
    figure, axes = sheet(
        title, 1, 2, 2.4 + 0.235 * (len(rows) + len(found)), note + (LEAVES if cut else ""), sharey=True
    )
    figure.get_layout_engine().set(wspace=0.06)
    left, right = axes[0]
    y, ticks, headings = 0.0, {}, []
    for rival, by_arm in found.items():
        ticks[y] = f"against {look(rival).label}:"
        headings.append(len(ticks) - 1)
        top, y = y, y + 1
        for arm, e in by_arm.items():
            score = seen(source, arm, n)
            for panel, shown in ((left, score), (right, e)):
                panel.plot([shown.low, shown.high], [y, y], color=look(arm).colour, linewidth=1.7)
                panel.plot(shown.value, y, **filled(arm) | {"markersize": 5.5, "linestyle": "none"})
            ticks[y], y = look(arm).label, y + 1
        held = source.score(rival, n)
        left.plot([held.value] * 2, [top + 0.5, y - 0.5], color=look(rival).colour, linewidth=1.2, linestyle="--")
        right.plot([0, 0], [top + 0.5, y - 0.5], color=look(rival).colour, linewidth=1.4)
    left.set_yticks(list(ticks), list(ticks.values()), fontsize=9)
    for nth in headings:
        left.get_yticklabels()[nth].set_fontweight("bold")
    left.set_ylim(y - 0.4, -0.6)
    left.set_xlabel("ICC(A,1)")
    right.set_xlabel("difference in ICC")
    if cut is not None:
        right.set_xlim(min(cut[0], -0.01), max(cut[1], 0.01))
    for panel in axes[0]:
        panel.grid(False, axis="y")
        panel.tick_params(axis="y", length=0)
        panel.locator_params(axis="x", nbins=4)
        panel.tick_params(axis="x", labelsize=9)
    return Picture(figure, title, source.provenance | {"figure": "variants, peers and controls", "n_train": n})


def finding(found: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Which networks are surely better than what they are held against, and which worse; trivial ones do not count."""
    parts = []
    for rival, by_arm in found.items():
        by_arm = {arm: e for arm, e in by_arm.items() if arm not in TRIVIAL}
        ahead, behind = ([a for a, e in by_arm.items() if better(e, "icc") == sign] for sign in (1, -1))
        told = [f"{len(some)} {'is' if len(some) == 1 else 'are'} surely {word} than {look(rival).label}{_named(some)}"
                for word, some in (("better", ahead), ("worse", behind)) if some]  # fmt: skip
        if by_arm:
            kind = f"{'changes' if rival == SUMS else 'networks'}"
            parts.append(
                f"of {len(by_arm)} {kind}, {', '.join(told) or f'none surely differs from {look(rival).label}'}"
            )
    return "; ".join(parts)


def _named(arms: Sequence[str], most: int = 1) -> str:
    return f" ({listed([look(arm).label for arm in arms])})" if len(arms) <= most else ""


def table(source: Source, n_train: int | None = None) -> str:
    """Markdown: ICC and squared error of every arm at one size; the difference in ICC to what it is held against.

    Begins with which of the arms asked for were trained, and ends there if none was.
    """
    if not any(arm in source.arms for arm in ASKED):
        return present(source)
    try:
        n = n_train or size_of(source)
    except NotYet as reason:
        return f"{present(source)} {reason}."
    rows = []
    for rival, by_arm in gains(source, n).items():
        for arm in (rival, *by_arm):
            change = "" if arm == rival else starred(by_arm[arm])
            name = f"**{look(arm).label}**" if arm == rival else look(arm).label
            rows.append([name, say(seen(source, arm, n)), change, say(seen(source, arm, n, "mse"), "mse")])
    head = [
        f"{source.prefix}, N = {n:,}",
        "ICC(A,1)",
        "difference to the line in bold",
        score_label("mse", source.task.unit),
    ]
    return f"{present(source)}\n\n{markdown(head, rows)}\n\n{starring(source)}"


def pairs_table(source: Source, n_train: int | None = None) -> str:
    """Markdown, folded: further pairs that the question needs, ICC, paired."""
    try:
        n = n_train or size_of(source)
    except NotYet:
        n = min(source.sizes(SUMS), key=lambda n: abs(n - 25)) if SUMS in source.arms else 0
    rows = []
    for arm, rival, words in PAIRS:
        if source.has(arm, n) and source.has(rival, n):
            change = starred(seen(source, arm, n, baseline=rival))
            rows.append([words, look(arm).label, look(rival).label, change])
    if not rows:
        return f"{source.prefix}: no further pairs of arms were trained."
    made = markdown([f"{source.prefix}, N = {n:,}", "", "minus", "difference in ICC"], rows)
    return folded(f"{source.prefix}, N = {n:,}: further pairs ({len(rows)})", f"{made}\n\n{starring(source)}")


def beaten_by_trivial(source: Source) -> str:
    """Whether each of the three networks has less squared error than every baseline without a network, in words."""
    if not any(t in source.arms for t in source.task.trivial):
        return f"{source.prefix}: no baseline without a network has been run yet."
    if is_check(source):
        return f"{source.prefix}: {source.test_set['seeds']} seeds cannot say whether a network beats what needs none."
    open_: dict[str, list[str]] = {}
    for arm in (arm for arm in MAIN if arm in source.arms):
        for t in (t for t in source.task.trivial if t in source.arms):
            level = [n for n in source.sizes(arm, t) if better(source.gain(arm, n, "mse", baseline=t), "mse") <= 0]
            if level:
                open_.setdefault(look(arm).label, []).append(f"{look(t).label} at N = {sizes(level)}")
    if not open_:
        return (
            f"{source.prefix}: by squared error every network surely beats every baseline without one, at every size."
        )
    return (
        f"{source.prefix}, by squared error **not surely better**: "
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
            share = f"{f.median() / mean:.0%}".replace("-", "−")
            rows.append([f"{look(arm).label}, N = {n:,}", told, share, *_both(source, arm, n, f.median())])
    head = [source.prefix, f"f(0), median and range over seeds ({unit})", "of the mean label", f"3 f(0) ({unit})",
            "ICC, other branches removed", "ICC, other branches black", "difference",
            f"MSE, removed ({unit}²)", f"MSE, black ({unit}²)", "difference"]  # fmt: skip
    return f"{markdown(head, rows)}\n\n{starring(source)}"


def _both(source: Source, arm: str, n: int, f: float) -> list[str]:
    if arm != SUMS or not source.has(TOGETHER, n) or not source.has(SUMS, n):
        return [""] * 7
    told = [number(3 * f, 2)]
    for score in ("icc", "mse"):
        told += [say(seen(source, a, n, score), score) for a in (SUMS, TOGETHER)]
        told.append(starred(seen(source, TOGETHER, n, score, baseline=SUMS), score))
    return told


@styled
def black(source: Source) -> Picture:
    """f(0) of every network; ICC and squared error of the paper's two ways to ask a network of sums for one scan."""
    records = pd.DataFrame(source.records)
    if "at_black" not in records or TOGETHER not in source.arms or SUMS not in source.arms:
        raise NotYet(f"{source.label}: no f(0), or no predictions with black images beside, yet")
    shared, unit = source.sizes(SUMS, TOGETHER), source.task.unit or "count"
    changes = {n: seen(source, TOGETHER, n, "mse", baseline=SUMS) for n in shared}
    far = max(shared, key=lambda n: abs(changes[n].value))
    ends = [say(Estimate(e.value, e.value, e.value), "mse")
            for e in (source.score(arm, far, "mse") for arm in (SUMS, TOGETHER))]  # fmt: skip
    apart = [n for n, e in changes.items() if side(e) and not is_check(source)]
    title = f"{source.prefix}: black images in the other branches take the squared error from {ends[0]} to {ends[1]} "
    title += f"{unit}² at N = {far:,}"
    if not is_check(source):
        title += f"; a sure difference at {where(apart, changes)}" if apart else "; nowhere a sure difference"
    note = f"{source.note} Left: a dot a seed. Others: sums of 4, other branches removed (circles), or fed black "
    note += "images, + 3 f(0) (squares)."
    figure, axes = sheet(title, 1, 3, 3.4, note, width_ratios=[1.3, 1, 1])
    left = axes[0, 0]
    trained = [arm for arm in MAIN if arm in set(records["arm"])]
    n_all = sorted({int(n) for n in records.loc[records["arm"].isin(trained), "n_train"]})
    for k, arm in enumerate(trained):
        mine = records[records["arm"] == arm]
        x = [n_all.index(n) + 0.22 * (k - 1) for n in mine["n_train"]]
        left.plot(x, mine["at_black"].round(4), **filled(arm) | {"linestyle": "none", "markersize": 4, "alpha": 0.7},
                  label=look(arm).label)  # fmt: skip
    left.axhline(0, color=GREY, linewidth=1.1)
    left.set_xticks(range(len(n_all)), [str(n) for n in n_all])
    left.set_ylabel(f"f(0) ({unit})", fontsize=9)
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.5 * (high - low))
    left.legend(fontsize=8, loc="upper left", borderaxespad=0.1, labelspacing=0.2)
    for panel, score, name in zip(axes[0, 1:], ("icc", "mse"), ("ICC(A,1)", f"MSE ({unit}²)"), strict=True):
        for k, (arm, marker) in enumerate(((SUMS, "o"), (TOGETHER, "s"))):
            for i, n in enumerate(shared):
                e, x = seen(source, arm, n, score), i + 0.3 * (k - 0.5)
                panel.plot([x, x], [e.low, e.high], color=look(arm).colour, linewidth=1.6)
                panel.plot(x, e.value, marker=marker, color=look(arm).colour, markersize=5)
        panel.set_xticks(range(len(shared)), [str(n) for n in shared])
        panel.set_xlim(-0.6, len(shared) - 0.4)
        panel.set_ylabel(name, fontsize=9)
    for panel in axes[0]:
        panel.set_xlabel("training scans", fontsize=9)
        panel.tick_params(labelsize=8)
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
    changes = {own: seen(source, unseen, n, baseline=own) for own, unseen in pairs}
    worse = [look(arm).label for arm, e in changes.items() if side(e) < 0]
    told = [f"{signed(e.value, 2)} ({look(arm).label})" for arm, e in changes.items()]
    sure = f"surely lower for {listed(worse)}" if worse else "no interval leaves out 0"
    if is_check(source):
        sure = f"{source.test_set['seeds']} seeds, a check"
    title = f"{source.prefix}: at a site not trained on, the ICC changes by {listed(told)}; {sure}"
    note = f"{source.note} N = {n:,} from all three sites (filled), or from two, tested on the third (open)."
    figure, axes = sheet(title, 1, 2, 1.75 + 0.45 * len(pairs), note, sharey=True)
    left, right = axes[0]
    for row, (own, unseen) in enumerate(pairs):
        for arm, shift, face in ((own, -0.15, look(own).colour), (unseen, 0.15, "white")):
            e = seen(source, arm, n)
            left.plot([e.low, e.high], [row + shift] * 2, color=look(own).colour, linewidth=1.7)
            left.plot(
                e.value,
                row + shift,
                marker=look(own).marker,
                color=look(own).colour,
                markerfacecolor=face,
                markersize=6.5,
            )
        e = changes[own]
        right.plot([e.low, e.high], [row, row], color=look(own).colour, linewidth=1.7)
        right.plot(e.value, row, **filled(own))
    right.axvline(0, color=GREY, linewidth=1.2)
    left.set_yticks(range(len(pairs)), [look(own).label for own, _ in pairs])
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
        return f"{source.prefix}: no arm was trained with and without the test scans' site."
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
