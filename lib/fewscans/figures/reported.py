"""What the paper on regression from sums reports, with the intervals it left out and what such studies can tell.

Numbers come from claims.yaml, where they are graded; sizes of the test sets are those of the same table and text. The
intervals are F-based, over test scans alone: they hold for the networks that were trained, not for the next ones. What
the networks add is simulated (`stats.power`), from the one spread over trainings that the paper gives. Power hangs on
how much of their errors two networks share, which nobody knows, so it is always given with its range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from fewscans import claims
from fewscans.figures.arms import hollow, look
from fewscans.figures.picture import GREY, Picture, sheet, styled
from fewscans.figures.wording import interval, listed, markdown, number, signed
from fewscans.stats import Estimate
from fewscans.stats.icc import interval_of
from fewscans.stats.power import Method, Study, sd_interval, seed_noise, study

PAPER = "dubost-2019-hydranet"
SPREAD = "Table 1, spread"
WMH, PVS = "lesion volume (WMH)", "perivascular spaces (PVS)"
# table of claims.yaml → what is predicted, loss
TABLES = {"Text, perivascular spaces": (PVS, "MSE"), "Table 1": (WMH, "MSE"), "Table 1, MAE": (WMH, "MAE")}
TEST = {(PVS, 25): 1977, (WMH, 30): 30, (WMH, 40): 20}  # test scans by training scans, as the paper gives both
TRAININGS = {("MSE", 30): 3}  # the paper's "± 0.12" and "± 0.02": three initialisations on one split
ENOUGH = 0.8  # the power that one plans a study for
SHARED = 0.5  # of a network's error variance, common to both networks
LEAST, MOST = 0.0, 0.8  # of it: the range that power is given for


@dataclass(frozen=True)
class Reported:
    """One ICC.   arm: base or hydra-4.   networks: how many it is the mean of.   seed_sd: over them; None: not said."""

    what: str
    loss: str
    arm: str
    n_train: int
    n_test: int
    icc: float
    networks: int = 1
    seed_sd: float | None = None

    @property
    def interval(self) -> Estimate:
        """Over test scans, for a network with just this ICC (C,1); wider for A,1 if it is off by a constant."""
        return interval_of(self.icc, self.n_test)

    @property
    def row(self) -> str:
        return f"{self.what}, {self.n_train} to train, {self.n_test:,} to test, {self.loss}"


def all_of_it(loaded: claims.Claims | None = None) -> list[Reported]:
    """Every ICC that the paper's text and table give, in pairs: base, then sums of four."""
    loaded = loaded or claims.load()
    spread = loaded.table(PAPER, SPREAD)
    found = []
    for name, (what, loss) in TABLES.items():
        table = loaded.table(PAPER, name)
        for n in table.index:
            for column in table.columns:
                arm = column.removesuffix("-mae").removesuffix("-uniform")
                known = name == "Table 1" and n in spread.index
                sd = float(spread.loc[n, arm]) if known else None
                trainings = TRAININGS.get((loss, n), 1) if what == WMH else 1
                found.append(
                    Reported(what, loss, arm, int(n), TEST[what, int(n)], float(table.loc[n, column]), trainings, sd)
                )
    return found


def pairs(reported: Sequence[Reported]) -> list[tuple[Reported, Reported]]:
    """(base, sums), one for each row of the paper."""
    return [(one, other) for one in reported for other in reported if one.row == other.row and one.arm < other.arm]


@cache
def told(
    one: Reported,
    other: Reported,
    seed_sd: tuple[float, float] = (0.0, 0.0),
    networks: int = 1,
    shared: float = SHARED,
) -> Study:
    """A study of that size where the paper's two ICCs are the truth, seen many times.   seed_sd: base's, sums'.
    shared: as in `stats.power.observed`.
    """
    better, worse = sorted((one, other), key=lambda r: -r.icc)
    by_arm = {one.arm: seed_sd[0], other.arm: seed_sd[1]}
    methods = (Method(r.icc, by_arm[r.arm]) for r in (better, worse))
    return study(*methods, n_subjects=one.n_test, n_seeds=networks, shared=shared)


def powers(one: Reported, other: Reported, *of) -> tuple[float, float, float]:
    """With as much shared as is assumed, with nothing, and with much.   of: spreads and networks, as for `told`."""
    return tuple(told(one, other, *(of or ((0.0, 0.0), 1)), shared).power for shared in (SHARED, LEAST, MOST))


def _able(pair: tuple[Reported, Reported]) -> bool:
    """Whether so many test scans tell that difference, however much the networks share."""
    return min(powers(*pair)) >= ENOUGH


@styled
def table_drawn(reported: Sequence[Reported]) -> Picture:
    """The paper's ICCs in pairs, with intervals over their test scans."""
    rows = pairs(reported)
    able = [pair for pair in rows if _able(pair)]
    reverse = [pair for pair in rows if pair[1].icc < pair[0].icc]
    title = (
        f"Of the paper's {len(rows)} comparisons, {len(able)} {'has' if len(able) == 1 else 'have'} the test scans to "
        f"tell its difference; in {len(reverse)} the base network is ahead"
    )
    note = "Real scans. Bars: F-based 95 % intervals over test scans, for the networks that were trained. The paper "
    note += (
        f"prints none. Power: simulated, for two networks that have nothing to {_percent(MOST)} of their error "
        f"variance in common; to tell: {_percent(ENOUGH)} or more throughout. "
    )
    note += "Thin: the paper's standard deviation over three trainings."
    figure, axes = sheet(title, height=1.75 + 0.42 * len(rows), note=note)
    panel = axes[0, 0]
    for row, pair in enumerate(rows):
        for shift, r in zip((-0.14, 0.14), pair, strict=True):
            e = r.interval
            style = hollow(r.arm) | {
                "linestyle": "none",
                "elinewidth": 1.6,
                "label": look(r.arm).label if not row else None,
            }
            if r.seed_sd is not None:
                panel.plot(
                    [r.icc - r.seed_sd, r.icc + r.seed_sd],
                    [row + 2.1 * shift] * 2,
                    color=look(r.arm).colour,
                    linewidth=0.9,
                )
            panel.errorbar(e.value, row + shift, xerr=[[e.value - e.low], [e.high - e.value]], **style)
        low, high = (f"{100 * power:.0f}" for power in powers(*pair)[1:])
        panel.text(1.01, row, f"{low}–{high} %" if low != high else f"{low} %", fontsize=9, va="center", color=GREY,
                   transform=panel.get_yaxis_transform())  # fmt: skip
    panel.text(1.01, -0.75, "power", fontsize=9, va="center", color=GREY, transform=panel.get_yaxis_transform())
    panel.set_yticks(range(len(rows)), [_short(one) for one, _ in rows], fontsize=9)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlim(0.5, 1)
    panel.grid(False, axis="y")
    panel.set_xlabel("ICC")
    panel.legend(loc="upper left", fontsize=8.5, borderaxespad=0.1)
    return Picture(figure, title, {"figure": "the paper's ICCs with intervals", "paper": PAPER})


def _short(r: Reported) -> str:
    return f"{r.what.partition('(')[2][:-1]}, {r.n_train} + {r.n_test:,} scans, {r.loss}"


def table(reported: Sequence[Reported]) -> str:
    """Markdown: each pair with its intervals, and what a study of that size would tell if these were the truth."""
    rows = []
    for one, other in pairs(reported):
        study_ = told(one, other)
        both = (f"{interval(r.interval, 2)}{_spread(r)}" for r in (one, other))
        rows.append([one.row, *both, signed(other.icc - one.icc, 2),
                     f"{number(study_.low, 2)} to {number(study_.high, 2)}", _ranged(powers(one, other))])  # fmt: skip
    head = ["", "base (95 % interval)", "sums of 4 (95 % interval)", "difference",
            "better − worse in 95 % of such studies", f"power{_RANGE}"]  # fmt: skip
    return markdown(head, rows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


_RANGE = f" with {_percent(SHARED)} of the errors shared (none to {_percent(MOST)})"


def _ranged(shares: tuple[float, float, float]) -> str:
    """ "13 % (9 to 22 %)"."""
    middle, *ends = shares
    low, high = sorted(ends)
    return f"{_percent(middle)} ({100 * low:.0f} to {_percent(high)})"


def _spread(r: Reported) -> str:
    return "" if r.seed_sd is None else f"; sd {number(r.seed_sd, 2)} over {r.networks} trainings"


def counted_trainings(reported: Sequence[Reported]) -> str:
    """How many networks the table speaks of, which the paper's text counts otherwise."""
    trainings = sum(r.networks for r in reported if r.what == WMH)
    rows = sum(r.what == WMH for r in reported)
    return (
        f"Table 1 has {rows} rows, of which two are means of three trainings: {trainings} networks; the text next to "
        "it speaks of five."
    )


def seeds_table(reported: Sequence[Reported], networks: Sequence[int] = (1, 3, 5, 10)) -> str:
    """Markdown: what the spread over trainings does to the comparison that gives it, by number of trainings."""
    one, other = _spread_over_trainings(reported)
    rows = []
    for label, sd in (
        ("none", (0.0, 0.0)),
        (f"{one.seed_sd:g} and {other.seed_sd:g}, as printed", (one.seed_sd, other.seed_sd)),
    ):
        for n in networks:
            studies = [told(one, other, sd, n, shared) for shared in (SHARED, LEAST, MOST)]
            rows.append([label, n, *(_ranged([getattr(s, key) for s in studies]) for key in ("right_sign", "power"))])
    ahead = f"sums of 4 come out ahead on {one.n_test} scans"
    return markdown(["spread over trainings (base and sums)", "trainings of each", ahead, f"power{_RANGE}"], rows)


def _spread_over_trainings(reported: Sequence[Reported]) -> tuple[Reported, Reported]:
    return next(pair for pair in pairs(reported) if pair[0].seed_sd is not None)


def seeds_in_words(reported: Sequence[Reported], networks: int = 10) -> str:
    """How the table of `seeds_table` is to be read."""
    one, other = _spread_over_trainings(reported)
    sd = one.seed_sd, other.seed_sd
    of = ((0.0, 0.0), 1), ((0.0, 0.0), networks), (sd, networks)
    alone, steady, unsteady = (_ranged(powers(one, other, *each)) for each in of)
    return (
        f"If every training of a method were equally good, {networks} trainings would raise the power from {alone} to "
        f"{steady}, as each network's own errors average out. With the printed spread it is {unsteady}: then it is "
        f"the trainings that decide, and {one.n_test} scans are not the bottleneck."
    )


def assumptions(reported: Sequence[Reported]) -> str:
    """What the simulated power rests on, and why it is the best case."""
    one, other = _spread_over_trainings(reported)
    wider = max((one, other), key=lambda r: r.seed_sd)
    low, high = sd_interval(1.0, wider.networks)
    noise = seed_noise(wider.icc, wider.n_test, SHARED)
    return (
        "**What the power rests on.** Two networks err in part on the same scans; how much they share, the paper does "
        f"not say. The first number is for {_percent(SHARED)} of the error variance, the range in brackets for none to "
        f"{_percent(MOST)}. All else is the best case. Labels are taken to be normal; volumes of lesions are skewed, "
        "and a few large ones decide: with log-normal labels whose standard deviation is their mean, ICCs near 0.8 on "
        "30 scans vary twice as much, and the difference of two a quarter more. Networks of one method share more of "
        "their errors than networks of two methods do, so trainings beyond ten or so help less than here. And the "
        f"printed spread of {wider.seed_sd:g} comes from {wider.networks} trainings: in truth it may be {low:.1f} to "
        f"{high:.0f} times as large (95 %, if normal). Even if all networks were equally good, {wider.n_test} scans "
        f"would show a spread of {number(noise, 2)}."
    )


def _named(r: Reported) -> str:
    kind, _, which = _short(r).partition(", ")
    return f"{kind} ({which})"


def in_words(reported: Sequence[Reported]) -> str:
    """Which of the comparisons could tell what they report, and which could not."""
    able = [pair for pair in pairs(reported) if _able(pair)]
    not_able = [pair for pair in pairs(reported) if not _able(pair)]
    parts = []
    if able:
        parts.append(
            f"{listed([_named(one) for one, _ in able])}: so many test scans tell the difference, **for those two "
            "networks**"
        )
    if not_able:
        worst = max(max(powers(*pair)) for pair in not_able)
        parts.append(
            f"{listed([_named(one) for one, _ in not_able])}: power of at most {_percent(worst)}, even if networks "
            f"share {_percent(MOST)} of their error variance; a difference in either direction may be luck"
        )
    return "; ".join(parts) + "."
