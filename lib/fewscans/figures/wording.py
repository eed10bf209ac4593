"""Words that follow from intervals, so that no sentence can outlive the numbers it was written for."""

from __future__ import annotations

from collections.abc import Sequence

from fewscans.stats import Estimate


def side(estimate: Estimate, line: float = 0.0) -> int:
    """1 if the interval lies wholly above the line, -1 if wholly below, 0 if it covers the line."""
    return int(estimate.low > line) - int(estimate.high < line)


def comparison(estimate: Estimate, better: str = "better than", worse: str = "worse than") -> str:
    """How a difference (ours minus the other, higher is better) is to be read."""
    return {1: better, -1: worse, 0: "not surely different from"}[side(estimate)]


def number(value: float, digits: int = 3) -> str:
    """With a true minus sign, and no minus before zero."""
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")


def interval(estimate: Estimate, digits: int = 3, sign: bool = False) -> str:
    """ "0.912 (0.900 to 0.923)"; sign: with a plus where the value is positive; an open end is "∞"."""
    ends = [number(end, digits) if abs(end) != float("inf") else "∞" for end in (estimate.low, estimate.high)]
    bound = {None: "", "low": "< ", "high": "> "}[estimate.censored]
    plus = "+" if sign and estimate.value > 0 else ""
    return f"{bound}{plus}{number(estimate.value, digits)} ({ends[0]} to {ends[1]})"


def signed(value: float, digits: int = 3) -> str:
    """A difference: "+0.012", "−0.168"."""
    return f"{'+' if value > 0 else ''}{number(value, digits)}"


def factor(estimate: Estimate) -> str:
    """ "11 (6.2 to 17)", "> 19 (9.3 or more)", "0.8 (0.3 or less to 1.4)": two digits are enough for a factor."""

    def short(x: float) -> str:
        return f"{x:.1f}" if x < 9.95 else f"{x:.0f}"

    bound = {None: "", "low": "< ", "high": "> "}[estimate.censored]
    value = f"{bound}{short(estimate.value)}"
    if estimate.low > 0 and estimate.high < float("inf"):
        return f"{value} ({short(estimate.low)} to {short(estimate.high)})"
    if estimate.low > 0:
        return f"{value} (at least {short(estimate.low)})"
    if estimate.high < float("inf"):
        return f"{value} (at most {short(estimate.high)})"
    return f"{value} (no bound either way)"


def listed(names: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"; "none" for nothing."""
    names = list(names)
    if not names:
        return "none"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def sizes(numbers: Sequence[int]) -> str:
    return listed([f"{n:,}" for n in numbers])


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def folded(summary: str, text: str) -> str:
    """Markdown that opens on a click, for tables that few readers want whole."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"
