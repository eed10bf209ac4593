"""All verdicts at a glance: what a paper says, what we asked besides, and how often it held, failed or stayed open."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from fewscans.figures.wording import markdown

# what each of the paper's tables asks, by the beginning of a claim's `where`
QUESTIONS = {
    "Table 2": "Groups beat the plain network; ten times fewer samples; gains shrink; groups alike (Table 2)",
    "Table 3": "Also at equal compute (Table 3)",
    "Table 4": "Better than turned copies at test time (Table 4)",
    "Table 5": "In fewer epochs (Table 5)",
    "Table 6": "More malignant nodules found first (Table 6)",
    "control": "Our controls: where the idea must fail, and rival explanations",
}
# what is asked of regression from sums, by the claim's id; the first that fits
SUMS = {
    "At equal forward passes (ours)": r".*equal-compute.*|compute-alone-.*",
    "On sites that were not trained on (ours)": r".*unseen.*",
    "New combinations matter; permuted sums teach nothing (ours)": r"new-sets.*|fixed-sets.*|permuted-.*",
    "Better than what needs no network (ours)": r".*-(histogram|crop|mean)-n\d+",
    "Better than mixup and C-Mixup (ours)": r".*mixup.*",
    "Two inferences agree in squared error (ours, added after results)": r"inferences-agree-mse-.*",
    "Black images, replacement, sets of eight (ours)": r".*black-.*|replacement-.*|sets-of-eight.*",
    "Labels centred; training scans picked evenly (ours)": r"centring-.*|uniform-.*",
    "A label that does not add up gains nothing (ours)": r"fraction-.*",
    "25 scans do what took 1,000; a modest twofold (text; ours)": r"sums-(forty|two)fold.*",
    "Gains shrink and turn with more scans (Table 1)": r"sums-gain-shrinks.*|.*reversed.*",
    "Less spread over trainings (Table 1)": r".*spread.*",
    "Four beat two; dropout hurts; two inferences agree (text)": r".*four-beat-two.*|dropout-.*|inferences-.*",
    "Better than single scans on 12 to 25 (Fig. 3, Table 1)": (
        r"hydra-(wmh|pvs)-.*|sums-(beat-base|mse|mae|small-val)-.*"
    ),
}
SIGNS = {"reproduced": "✓", "inconclusive": "?", "contradicted": "✗"}


def by_question(rows: Sequence) -> str:
    """Markdown: verdicts counted by question and data set; rows of `scorecard.scorecard` that were tested."""
    return _table(rows, QUESTIONS, lambda row, where: row.where.startswith(where))


def of_sums(row_id: str) -> str | None:
    """Which question of SUMS a claim belongs to; None for a claim of another paper."""
    return next((question for question, pattern in SUMS.items() if re.fullmatch(pattern, row_id)), None)


def about_sums(rows: Sequence) -> str:
    """As `by_question`, for regression from sums."""
    return _table(rows, {name: name for name in reversed(SUMS)}, lambda row, name: of_sums(row.id) == name)


def _table(rows: Sequence, questions: Mapping[str, str], belongs: Callable) -> str:
    tested = [row for row in rows if row.verdict in SIGNS]
    datasets = list(dict.fromkeys(row.dataset for row in tested))
    lines = []
    for key, question in questions.items():
        asked = [row for row in tested if belongs(row, key)]
        if asked:
            lines.append([question, *(_counted([r for r in asked if r.dataset == dataset]) for dataset in datasets)])
    heads = [f"{dataset} ({'real' if any(r.real for r in tested if r.dataset == dataset) else 'twin'})"
             for dataset in datasets]  # fmt: skip
    return f"{markdown(['', *heads], lines)}\n\n✓ reproduced, ? inconclusive, ✗ contradicted."


def _counted(rows: Sequence) -> str:
    counts = {sign: sum(row.verdict == verdict for row in rows) for verdict, sign in SIGNS.items()}
    return "  ".join(f"{count} {sign}" for sign, count in counts.items() if count)
