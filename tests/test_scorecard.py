"""The scorecard is the same bytes for the same tables, prefers what is published, and refuses smoke."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from fewscans import scorecard
from fewscans.claims import Claim, Claims
from fewscans.claims import Test as ClaimTest
from fewscans.errors import ClaimsError
from fewscans.publish import publish

from .test_publish import RUN, finished, project  # noqa: F401  (a fixture)

TEST = ClaimTest(RUN, "p4m", 30, "auc", 0.0, "above", baseline="Z2")
CLAIM = Claim(
    "p4m-better", "them", "Table 1", "p4m is better | always.", "ordering", False, (TEST,), note="Wait.", headline=True
)
DIRECT = Claim(
    "d4h-better", "them", "Table 1", "D4h is better.", "ordering", True,
    (ClaimTest("gcnn-luna16", "D4h", 30, "froc", 0.0, "above", baseline="Z3"),), 0.13, "difference",
)  # fmt: skip
PAPERS = {"them": {"short": "Them 2019", "claim": "p4m is better.", "why": "few patches", "notebook": "01_gcnn"}}
CLAIMS = Claims((CLAIM, DIRECT), PAPERS)


def test_without_tables_nothing_is_tested(project):  # noqa: F811
    finished(project)
    rows = scorecard.scorecard(claims=CLAIMS)
    assert [row.verdict for row in rows] == ["not tested", "not tested"]
    assert rows[0].reason == f"no published tables of the run {RUN}. Wait."
    assert rows[1].paper_value == 0.13 and rows[1].real and rows[1].direct


def test_this_machines_run_counts_only_where_asked_for(project):  # noqa: F811
    finished(project)
    row = scorecard.scorecard(local=True, claims=CLAIMS)[0]
    assert row.source == "this machine, twin, quick" and row.verdict != "not tested"
    assert (row.experiment, row.dataset, row.real, row.seeds) == ("gcnn", "luna16-patches-twin", False, 3)
    assert row.low <= row.value <= row.high


def test_published_tables_come_first(project):  # noqa: F811
    finished(project)
    publish(RUN, minimum_seeds=3)
    table = project / "runs" / f"{RUN}.parquet"
    other = pd.read_parquet(table)
    other.assign(prediction=1 - other["prediction"]).to_parquet(table, index=False)
    kept, local = (scorecard.scorecard(local=local, claims=CLAIMS)[0] for local in (False, True))
    assert kept.source == "published, twin, quick" and kept == local


def test_rows_that_git_keeps_are_taken_over_and_the_others_computed(project):  # noqa: F811
    finished(project)
    none_kept = scorecard.scorecard(claims=CLAIMS)
    whole = scorecard.scorecard(local=True, claims=CLAIMS)
    assert none_kept != whole == scorecard.scorecard(local=True, claims=CLAIMS, kept=none_kept)
    publish(RUN, minimum_seeds=3)
    kept = scorecard.scorecard(claims=CLAIMS)
    taken = [row for row in kept if row.source]
    computed = scorecard.scorecard(local=True, claims=CLAIMS, kept=kept)
    assert taken and [row for row in computed if any(row is one for one in taken)] == taken


def test_smoke_is_refused(project):  # noqa: F811
    finished(project, profile="smoke", seeds=2, sizes=(("Z2", 30), ("p4m", 30)))
    row = scorecard.scorecard(local=True, claims=CLAIMS)[0]
    assert row.verdict == "not tested" and row.value is None
    assert "smoke profile" in row.reason


def test_files_are_the_same_bytes_and_hold_the_agreed_keys(project):  # noqa: F811
    finished(project)
    publish(RUN, minimum_seeds=3)
    folder = project / "reports"
    first, again = (
        [path.read_bytes() for path in scorecard.write_scorecard(scorecard.scorecard(claims=CLAIMS), folder, CLAIMS)]
        for _ in range(2)
    )
    assert first == again
    rows = json.loads(first[0])
    agreed = "id experiment dataset real direct headline value low high seeds verdict paper_value"
    assert set(agreed.split()) < set(rows[0])
    assert len({(r["id"], r["experiment"], r["dataset"]) for r in rows}) == len(rows)
    page = first[1].decode()
    assert "p4m is better \\| always." in page and "| d4h-better | D4h is better." in page
    assert str(project) not in page + first[0].decode()


def test_the_readme_table_stands_between_its_markers(project):  # noqa: F811
    finished(project)
    publish(RUN, minimum_seeds=3)
    readme = project / "README.md"
    readme.write_text(f"# Title\n\n{scorecard.BEGIN}\nold\n{scorecard.END}\n\nEnd.\n")
    rows = scorecard.scorecard(claims=CLAIMS)
    scorecard.update_readme(readme, rows, CLAIMS)
    text = readme.read_text()
    assert text.startswith("# Title\n") and text.endswith("\n\nEnd.\n") and "old" not in text
    assert scorecard.readme_table(rows, CLAIMS) in text
    columns, _, row = (line for line in text.splitlines() if line.startswith("|"))
    names = [cell.strip() for cell in columns.split("|")[3:7]]
    assert names == ["verdicts on real data", "verdicts on the twin", "why", "more"]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    verdicts = ["no claim", f"1 {rows[0].verdict}"]
    assert cells == ["Them 2019", "p4m is better.", *verdicts, "few patches", "[01](notebooks/01_gcnn.ipynb)"]
    unsaid = Claims((CLAIM, DIRECT), {"them": {name: PAPERS["them"][name] for name in ("short", "claim", "notebook")}})
    assert "few patches" not in scorecard.readme_table(rows, unsaid)
    stamp = readme.stat().st_mtime_ns
    scorecard.update_readme(readme, rows, CLAIMS)
    assert readme.read_text() == text and readme.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "text", ["no markers", scorecard.BEGIN, f"{scorecard.END}{scorecard.BEGIN}", scorecard.BEGIN * 2]
)
def test_a_readme_without_its_markers_is_an_error_and_untouched(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(ClaimsError, match="README.md must hold"):
        scorecard.update_readme(tmp_path / "README.md", [], CLAIMS)
    assert (tmp_path / "README.md").read_text() == text


def test_a_claim_whose_test_cases_others_had_seen_says_so(project):  # noqa: F811
    seen = Claims((replace(CLAIM, named="before", seen=True), DIRECT), PAPERS)
    rows = scorecard.scorecard(claims=seen)
    page, marked = scorecard.markdown(rows, seen), "| before, test set seen |"
    assert [row.seen for row in rows] == [True, False] and marked in page
    assert marked not in scorecard.markdown([replace(row, seen=False) for row in rows], seen)


def test_its_first_screen_is_a_line_a_paper_and_the_rest_is_folded(project):  # noqa: F811
    finished(project)
    rows = scorecard.scorecard(local=True, claims=CLAIMS)
    first, *folds = scorecard.markdown(rows, CLAIMS).split("<details>")
    assert len(first.splitlines()) <= 16 and "](../notebooks/01_gcnn.ipynb)" in first
    assert [fold.count("</details>") for fold in folds] == [1, 1, 1]
    assert f"Them 2019: headline claims (1 {rows[0].verdict})" in folds[0] and "p4m is better" in folds[0]
    assert "not tested (1 not tested)" in folds[1] and "D4h is better." in folds[1]


@pytest.mark.parametrize(
    ("metric", "value", "low", "high", "line", "said"),
    [
        ("auc", 0.0214, 0.0003, 0.0432, 0.0, "0.0214 (0.0003 to 0.0432)"),
        ("auc", 0.0214, 0.0, 0.0432, 0.0, "0.021 (0.000 to 0.043)"),
        ("data_efficiency:auc", 9.97, 5.2, 12.0, 10.0, "9.97 (5.20 to 12.00)"),
        ("positives_in_top@50", 1.6, -1.36, 4.52, 0.0, "1.6 (-1.4 to 4.5)"),
    ],
)
def test_what_is_not_on_the_line_is_not_rounded_onto_it(project, metric, value, low, high, line, said):  # noqa: F811
    row = scorecard.scorecard(claims=CLAIMS)[0]
    assert replace(row, metric=metric, value=value, low=low, high=high, line=line).ours() == said


def test_verdicts_in_git_are_taken_over_until_something_that_decides_them_changes(project, monkeypatch):  # noqa: F811
    finished(project)
    publish(RUN, minimum_seeds=3)
    monkeypatch.setattr(scorecard.claims_files, "load", lambda: CLAIMS)
    rows = scorecard.scorecard(kept=())
    marked = [replace(row, statement="as kept") for row in rows]
    scorecard.write_scorecard(marked, project / "reports")
    assert scorecard.scorecard()[0] == marked[0] and scorecard.scorecard(experiment="gcnn")[0] == marked[0]
    assert scorecard.scorecard(experiment="hydranet") == [] and scorecard.write_all()[0] == rows

    scorecard.write_scorecard(marked, project / "reports")
    monkeypatch.setattr(scorecard.claims_files, "load", lambda: Claims((replace(CLAIM, statement="x"), DIRECT), PAPERS))
    assert scorecard.scorecard()[0].statement == "x", "claims changed"
    monkeypatch.setattr(scorecard.claims_files, "load", lambda: CLAIMS)
    with monkeypatch.context() as patch:
        patch.setattr(scorecard.provenance.closure, "fingerprint", lambda modules: "other code")
        assert scorecard.scorecard() == rows, "the code that judges changed"
    (sums,) = (project / "reports/published").glob("*/*/SHA256SUMS")
    sums.write_text("".join(reversed(sums.read_text().splitlines(keepends=True))))
    assert scorecard.scorecard() == rows, "tables changed"


def test_counts_keep_real_data_and_twins_apart(project):  # noqa: F811
    finished(project)
    rows = scorecard.scorecard(local=True, claims=CLAIMS)
    found = scorecard.counts(rows)
    assert found.index.tolist() == [
        ("gcnn, luna16", "real", "claims of the paper"), ("gcnn, luna16-patches-twin", "twin", "claims of the paper")
    ]  # fmt: skip
    assert found["not tested"].tolist() == [1, 0] and found[rows[0].verdict].tolist() == [0, 1]
