"""What the gain is, and what it is not: every arm against the plain network at the same size, and the controls."""

from __future__ import annotations

from fewscans.figures.arms import filled, look
from fewscans.figures.curves import LEAVES, frame
from fewscans.figures.picture import GREY, Picture, sheet, styled
from fewscans.figures.sources import NotYet, Source, rounded
from fewscans.figures.tasks import score_label
from fewscans.figures.wording import interval, listed, markdown, side, signed
from fewscans.stats import Estimate
from fewscans.stats.resample import Resampled

FAIR = ("p4", "p4m", "p4-compute", "p4m-compute", "D4", "D4h", "O", "Oh", "D4-compute", "D4h-compute")
RIVALS = ("Z2-wide", "Z2-long", "Z2-tta-p4", "Z2-tta-p4m", "Z3-wide", "Z3-long", "Z3-tta-D4", "Z3-tta-D4h")
CONTROLS = (
    "p4m-sham",
    "Z2-invariant",
    "p4m-invariant",
    "D4-sham",
    "O-sham",
    "Z3-invariant",
    "D4h-invariant",
    "O-invariant",
)
GROUPS = {"group convolutions": FAIR, "a plain network given more": RIVALS, "controls and other heads": CONTROLS}
NAMED = {
    "Z2": "a plain CNN", "Z2-wide": "a wider one", "Z2-long": "one with 4 times the updates",
    "Z2-tta-p4m": "the mean over 8 turned copies", "p4m-sham": "a sham group",
    "Z3": "a plain CNN", "Z3-wide": "a wider one", "Z3-long": "one with 4 times the updates",
    "Z3-tta-D4": "the mean over 8 turned copies", "D4-sham": "a sham group",
}  # fmt: skip


@styled
def gains(source: Source, n_train=None, baseline: str | None = None) -> Picture:
    """Score of every arm minus that of the plain network, at some training sizes; arms that a run lacks are left out.

    n_train: None: the smallest, the largest, and that with most arms between them.
    """
    baseline = baseline or source.task.baseline
    every = [arm for group in GROUPS.values() for arm in group]
    shared = {n for arm in every for n in source.sizes(arm, baseline)}
    asked = [n for n in n_train or _telling(source, every, shared) if n in shared]
    if not asked:
        raise NotYet(f"{source.label}: {baseline} and the arms compared with it share no training size yet")
    arms = [arm for arm in every if any(source.has(arm, n) for n in asked)]
    found = {n: {arm: source.gain(arm, n, baseline=baseline) for arm in arms if source.has(arm, n)} for n in asked}
    title = f"{source.prefix}: {finding(source)}"
    cut = frame([e for by_arm in found.values() for e in by_arm.values()])
    note = source.note + (LEAVES if cut else "")
    figure, axes = sheet(title, 1, len(asked), 1.75 + 0.29 * len(arms), note, sharey=True, sharex=True)
    for n, panel in zip(asked, axes[0], strict=True):
        for row, arm in enumerate(arms):
            if arm in found[n]:
                _bar(panel, arm, row, found[n][arm])
        panel.axvline(0, color=look(baseline).colour, linewidth=1.4)
        panel.set_title(f"N = {n:,}")
        panel.grid(False, axis="y")
        panel.locator_params(axis="x", nbins=3)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.tick_params(axis="y", length=0)
    label = f"{score_label(source.score_name)} − plain CNN's"
    axes[0, len(asked) // 2].set_xlabel(label, loc="center" if len(asked) % 2 else "right")
    first = axes[0, 0]
    if cut is not None:
        first.set_xlim(min(cut[0], -0.01), max(cut[1], 0.01))
    first.set_yticks(range(len(arms)), [look(arm).label for arm in arms])
    first.set_ylim(len(arms) - 0.4, -0.6)
    for boundary in _boundaries(arms):
        for panel in axes[0]:
            panel.axhline(boundary, color="#c9d1d9", linewidth=0.8)
    return Picture(figure, title, source.provenance | {"figure": "gains over the plain network", "n_train": asked})


def _telling(source: Source, arms: list[str], shared: set[int]) -> list[int]:
    """At most three sizes: the ends, and between them the one at which most arms were trained."""
    n_all = sorted(shared)
    between = sorted(n_all[1:-1], key=lambda n: sum(source.has(arm, n) for arm in arms))
    return sorted({*n_all[:1], *between[-1:], *n_all[-1:]})


def _bar(panel, arm: str, row: int, e: Estimate) -> None:
    panel.plot([e.low, e.high], [row, row], color=look(arm).colour, linewidth=1.8)
    panel.plot(e.value, row, **filled(arm))


def _boundaries(arms: list[str]) -> list[float]:
    """Between the groups of arms that are there."""
    group = [next(i for i, members in enumerate(GROUPS.values()) if arm in members) for arm in arms]
    return [i + 0.5 for i in range(len(arms) - 1) if group[i] != group[i + 1]]


def finding(source: Source) -> str:
    """What the arm surely beats and what it does not, at the size that most rivals share."""
    arm = source.task.named
    if not source.sizes(arm, source.task.baseline):
        return "arms against the plain network"
    n_train, others = _most_shared(source, arm)
    told = {other: side(source.gain(arm, n_train, baseline=other)) for other in others if other in NAMED}
    beaten, not_beaten = ([NAMED[o] for o in NAMED if o in told and (told[o] > 0) is sure] for sure in (True, False))
    parts = [f"{words} {listed(some, last)}" for words, some, last in
             ((f"{arm} is surely better than", beaten, "and"), ("not than", not_beaten, "or")) if some]  # fmt: skip
    if not beaten:
        parts = [f"{arm} is not surely better than {listed(not_beaten, 'or')}"]
    return f"at N = {n_train:,}, {', '.join(parts)}"


def _most_shared(source: Source, arm: str) -> tuple[int, list[str]]:
    """The size at which the arm has most rivals, the largest of such sizes; and these rivals."""
    kin = (f"{arm}-", source.task.baseline)  # of its own group, or the plain network
    others = [other for other in (*RIVALS, *CONTROLS) if other.startswith(kin) and other != f"{arm}-invariant"]
    others.append(source.task.baseline)
    by_size = {n: [other for other in others if source.has(other, n)] for n in source.sizes(arm)}
    return max(by_size.items(), key=lambda entry: (len(entry[1]), entry[0]))


def rivals(source: Source, arm: str | None = None) -> str:
    """Markdown: `arm` minus each rival explanation (more compute, more updates, copies, sham), at every shared size."""
    arm = arm or source.task.named
    if not source.sizes(arm):
        return f"{arm} is not trained yet."
    _, others = _most_shared(source, arm)
    n_all = sorted({n for other in others for n in source.sizes(arm, other)})
    rows = []
    for other in others:
        gains = {n: source.gain(arm, n, baseline=other) for n in source.sizes(arm, other)}
        told = [f"{interval(gains[n], sign=True)}{' *' if side(gains[n]) else ''}" if n in gains else "" for n in n_all]
        rows.append([look(other).label, *told])
    table = markdown(
        [f"{source.prefix}: {score_label(source.score_name)}, {arm} minus …", *(f"N = {n:,}" for n in n_all)], rows
    )
    return f"{table}\n\n\\* the interval does not cover 0. {arm} itself is not averaged over turned copies here."


def gain_table(source: Source, arms=None, score: str | None = None) -> str:
    """Markdown: what each group scores above the plain network at each size, paired, with intervals."""
    baseline = source.task.baseline
    present = [arm for arm in arms or source.task.methods if source.sizes(arm, baseline)]
    if not present:
        return f"No group of the {source.name} shares a training size with {baseline} yet."
    n_all = sorted({n for arm in present for n in source.sizes(arm, baseline)})
    rows = []
    for arm in present:
        gains = {n: source.gain(arm, n, score) for n in source.sizes(arm, baseline)}
        told = [f"{interval(gains[n], sign=True)}{' *' if side(gains[n]) else ''}" if n in gains else "" for n in n_all]
        rows.append([look(arm).label, *told])
    label = score_label(score or source.score_name)
    head = [f"{source.prefix}: {label} − plain CNN's", *(f"N = {n:,}" for n in n_all)]
    return f"{markdown(head, rows)}\n\n\\* the interval does not cover 0."


def score_table(source: Source, arms, score: str | None = None, n_train=None) -> str:
    """Markdown: scores with intervals, arms by sizes (all that there are, if n_train does not name some)."""
    score = score or source.score_name
    present = [arm for arm in arms if arm in source.arms]
    n_all = sorted({n for arm in present for n in source.sizes(arm) if n_train is None or n in n_train})
    rows = [[look(arm).label, *(interval(source.score(arm, n, score)) if source.has(arm, n) else "" for n in n_all)]
            for arm in present]  # fmt: skip
    return markdown([score_label(score), *(f"N = {n:,}" for n in n_all)], rows)


def stragglers_in_words(source: Source) -> str:
    """Networks that a seed left below the best trivial baseline, counted: a mean hides a few that never learned."""
    table, task = source.resampled(), source.task
    known = [(arm, n) for arm in task.trivial for n in source.sizes(arm)]
    if not known:
        return ""
    told = []
    for arm in (arm for arm in task.arms if arm in source.arms):
        for n in source.sizes(arm):
            bar = max((table.values(*pair).mean() for pair in known if pair[1] == n), default=None)
            below = 0 if bar is None else int((table.values(arm, n) < bar).sum())
            if below:
                told.append(f"{arm} at N = {n:,}, {below} of {len(table.values(arm, n))} seeds")
    if not told:
        return "Every seed of every network scores above the best of these."
    return f"Below the best of these at the same size: {'; '.join(told)}."


def shuffled(source: Source) -> str:
    """Markdown: AUC of networks trained on permuted labels, which must be at chance; nothing if there are none."""
    arms = [arm for arm in source.arms if arm.endswith("-shuffled")]
    if not arms:
        return ""
    found = {(arm, n): source.score(arm, n, "auc") for arm in arms for n in source.sizes(arm)}
    seeing = [f"{arm} at N = {n:,}" for (arm, n), e in found.items() if not e.low <= 0.5 <= e.high]
    said = f"Not at chance: **{listed(seeing)}**." if seeing else "All intervals cover 0.5: nothing leaks."
    return f"{source.prefix}, trained on permuted labels:\n\n{score_table(source, arms, 'auc')}\n\n{said}"


def leakage(source: Source) -> str:
    """Markdown: what the leaky split does to the scores, where a run has both."""
    arms = [arm for arm in ("Z2", "Z2-leaky", "nearest", "nearest-leaky") if arm in source.arms]
    leaky = [arm for arm in arms if arm.endswith("-leaky")]
    if not leaky:
        return "This run has no arm on the leaky split."
    return score_table(source, arms, n_train=source.sizes(*leaky))


@styled
def control(source: Source) -> Picture:
    """Where orientation, or handedness, is the label: AUC of networks with an invariant head, with chance."""
    arms = [arm for arm in source.arms if arm.endswith("-invariant")]
    shared = source.sizes(*arms) if arms else []
    if not shared:
        raise NotYet(f"{source.label}: its networks with an invariant head share no training size yet")
    n = min(shared)
    found = {arm: source.score(arm, n) for arm in arms}
    what = source.task.title.removesuffix(" control")
    title = f"Synthetic control: where {what} is the label, {_chance(found)}"
    figure, axes = sheet(title, height=1.55 + 0.3 * len(arms), note=source.note)
    panel = axes[0, 0]
    for row, arm in enumerate(arms):
        _bar(panel, arm, row, found[arm])
    panel.axvline(0.5, color=GREY, linewidth=1.1, linestyle=(0, (5, 3)))
    panel.text(
        0.5, 1.02, "chance", fontsize=9, color=GREY, va="bottom", ha="center", transform=panel.get_xaxis_transform()
    )
    panel.set_yticks(range(len(arms)), [look(arm).label for arm in arms])
    panel.set_ylim(len(arms) - 0.4, -0.6)
    panel.set_xlim(min(0.38, *(e.low - 0.02 for e in found.values())), 1.02)
    panel.grid(False, axis="y")
    panel.set_xlabel(f"AUC, N = {n:,}")
    return Picture(figure, title, source.provenance | {"figure": f"{what} control", "n_train": n})


def _chance(found: dict[str, Estimate]) -> str:
    seeing = [arm for arm, e in found.items() if e.low > 0.5]
    blind = [arm for arm, e in found.items() if 0.35 <= e.low <= 0.5 <= e.high <= 0.65]
    unclear = [arm for arm, e in found.items() if e.low <= 0.5 <= e.high and arm not in blind]
    told = ((seeing, "above chance"), (blind, "at chance"), (unclear, "open, as the seeds differ"))
    parts = [f"{listed([look(arm).label for arm in some])}: {words}" for some, words in told if some]
    return "; ".join(parts) if parts else "all networks below chance"


def leakage_in_words(source: Source) -> str:
    """By how much the leaky split changes a score; the two test sets differ, so there is no interval."""
    pairs = [(arm, f"{arm}-leaky") for arm in ("Z2", "nearest") if f"{arm}-leaky" in source.arms]
    told = []
    for arm, leaky in pairs:
        for n in source.sizes(arm, leaky):
            change = source.score(leaky, n).value - source.score(arm, n).value
            told.append(f"{signed(change)} for {look(arm).label} at N = {n:,}")
    if not told:
        return ""
    return (
        f"On the leaky split the AUC changes by {listed(told)}. The two test sets are not the same, so part of this "
        "may be that one of them is easier."
    )


def blocks_in_words(source: Source, arm: str = "p4m", baseline: str = "Z2", n_train: int = 300) -> str:
    """Whether the interval of a gain hangs on the size of the blocks that stand in for scans."""
    if n_train not in source.sizes(arm, baseline):
        return ""
    rows = source.tables.predictions
    rows = rows[rows["arm"].isin([arm, baseline]) & (rows["n_train"] == n_train)]
    terms = {(arm, n_train): 1.0, (baseline, n_train): -1.0}
    told = []
    for together in (1, 2, 4):
        codes = {group: i // together for i, group in enumerate(sorted(rows["group"].astype(str).unique()))}
        merged = rows.assign(group=[f"{codes[group]:05d}" for group in rows["group"].astype(str)])
        found = rounded(Resampled(merged, n_bootstrap=source.tables.n_bootstrap).spread(terms).estimate(0.95))
        told.append(f"{interval(found, sign=True)} with {len(set(codes.values()))} blocks")
    return f"{arm} minus {baseline} at N = {n_train:,}, with neighbouring blocks joined: {'; '.join(told)}."
