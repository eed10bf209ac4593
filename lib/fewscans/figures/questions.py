"""All verdicts at a glance: what the paper says, table by table, and how often it held, failed or stayed open."""

from __future__ import annotations

from collections.abc import Sequence

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
SIGNS = {"reproduced": "✓", "inconclusive": "?", "contradicted": "✗"}


def by_question(rows: Sequence) -> str:
    """Markdown: verdicts counted by question and data set; rows of `scorecard.scorecard` that were tested."""
    tested = [row for row in rows if row.verdict in SIGNS]
    datasets = list(dict.fromkeys(row.dataset for row in tested))
    lines = []
    for where, question in QUESTIONS.items():
        asked = [row for row in tested if row.where.startswith(where)]
        if asked:
            lines.append([question, *(_counted([r for r in asked if r.dataset == dataset]) for dataset in datasets)])
    heads = [f"{dataset} ({'real' if any(r.real for r in tested if r.dataset == dataset) else 'twin'})"
             for dataset in datasets]  # fmt: skip
    return f"{markdown(['', *heads], lines)}\n\n✓ reproduced, ? inconclusive, ✗ contradicted."


def _counted(rows: Sequence) -> str:
    counts = {sign: sum(row.verdict == verdict for row in rows) for verdict, sign in SIGNS.items()}
    return "  ".join(f"{count} {sign}" for sign, count in counts.items() if count)
