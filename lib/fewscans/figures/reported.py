"""What the paper on regression from sums reports, with the intervals it left out and what such studies can tell.

Numbers come from claims.yaml, where they are graded; sizes of the test sets are those of the same table and text. The
intervals are F-based, over test scans alone: they hold for the networks that were trained, not for the next ones. What
the networks add is simulated (`stats.power`), from the one spread over trainings that the paper gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from fewscans import claims
from fewscans.figures.arms import hollow, look
from fewscans.figures.picture import GREY, Picture, sheet, styled
from fewscans.figures.wording import interval, listed, markdown, number, signed
from fewscans.stats import Estimate
from fewscans.stats.icc import interval_of
from fewscans.stats.power import Method, Study, study

PAPER = "dubost-2019-hydranet"
SPREAD = "Table 1, spread"
WMH, PVS = "lesion volume (WMH)", "perivascular spaces (PVS)"
# table of claims.yaml → what is predicted, loss
TABLES = {"Text, perivascular spaces": (PVS, "MSE"), "Table 1": (WMH, "MSE"), "Table 1, MAE": (WMH, "MAE")}
TEST = {(PVS, 25): 1977, (WMH, 30): 30, (WMH, 40): 20}  # test scans by training scans, as the paper gives both
TRAININGS = {("MSE", 30): 3}  # the paper's "± 0.12" and "± 0.02": three initialisations on one split
ENOUGH = 0.8  # the power that one plans a study for


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
def told(one: Reported, other: Reported, seed_sd: tuple[float, float] = (0.0, 0.0), networks: int = 1) -> Study:
    """A study of that size where the paper's two ICCs are the truth, seen many times.   seed_sd: base's, sums'."""
    better, worse = sorted((one, other), key=lambda r: -r.icc)
    by_arm = {one.arm: seed_sd[0], other.arm: seed_sd[1]}
    methods = (Method(r.icc, by_arm[r.arm]) for r in (better, worse))
    return study(*methods, n_subjects=one.n_test, n_seeds=networks)


@styled
def table_drawn(reported: Sequence[Reported]) -> Picture:
    """The paper's ICCs in pairs, with intervals over their test scans."""
    rows = pairs(reported)
    able = [pair for pair in rows if told(*pair).power >= ENOUGH]
    reverse = [pair for pair in rows if pair[1].icc < pair[0].icc]
    title = (
        f"Of the paper's {len(rows)} comparisons, {len(able)} {'has' if len(able) == 1 else 'have'} the test scans to "
        f"tell its difference; in {len(reverse)} the base network is ahead"
    )
    note = "Real scans. Bars: F-based 95 % intervals over test scans, for the networks that were trained. The paper "
    note += (
        f"prints none. Power: simulated, two networks that err half on the same scans; to tell: {ENOUGH:.0%} or more. "
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
        panel.text(1.01, row, f"{told(*pair).power:.0%}", fontsize=9, va="center", color=GREY,
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
                     f"{number(study_.low, 2)} to {number(study_.high, 2)}", f"{study_.power:.0%}"])  # fmt: skip
    head = ["", "base (95 % interval)", "sums of 4 (95 % interval)", "difference",
            "better − worse in 95 % of such studies", "power"]  # fmt: skip
    return markdown(head, rows)


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
    one, other = next(pair for pair in pairs(reported) if pair[0].seed_sd is not None)
    rows = []
    for label, sd in (
        ("none", (0.0, 0.0)),
        (f"{one.seed_sd:g} and {other.seed_sd:g}, as printed", (one.seed_sd, other.seed_sd)),
    ):
        for n in networks if sd[0] else networks[:1]:
            s = told(one, other, sd, n)
            rows.append([label, n if sd[0] else "any", f"{s.right_sign:.0%}", f"{s.power:.0%}", f"{s.seed_share:.0%}"])
    ahead = f"sums of 4 come out ahead on {one.n_test} scans"
    head = ["spread over trainings (base and sums)", "trainings of each", ahead, "power", "variance due to trainings"]
    return markdown(head, rows)


def in_words(reported: Sequence[Reported]) -> str:
    """Which of the comparisons could tell what they report, and which could not."""
    power: Callable[[tuple], float] = lambda pair: told(*pair).power  # noqa: E731
    able = [pair for pair in pairs(reported) if power(pair) >= ENOUGH]
    not_able = [pair for pair in pairs(reported) if power(pair) < ENOUGH]
    parts = []
    if able:
        parts.append(
            f"{listed([_short(one) for one, _ in able])}: so many test scans tell the difference, **for those two "
            "networks**"
        )
    if not_able:
        worst = max(power(pair) for pair in not_able)
        parts.append(f"{listed([_short(one) for one, _ in not_able])}: power of at most {worst:.0%}; a difference in "
                     "either direction may be luck")  # fmt: skip
    return "; ".join(parts) + "."
