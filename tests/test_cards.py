"""A page a result: what git keeps decides it, links and pictures are there, and it is as new as the scorecard."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fewscans import cards, claims, scorecard

ROOT = Path(__file__).parents[1]
ROWS = [scorecard.Row(**row) for row in json.loads((ROOT / "reports/scorecard.json").read_text(encoding="utf-8"))]
CLAIMS = claims.load()
PAGES = sorted((ROOT / "reports" / "results").glob("*.md"))


def test_every_notebook_of_a_paper_has_its_page():
    assert {path.name[:2] for path in PAGES} == {
        entry["notebook"][:2] for entry in CLAIMS.papers.values() if entry.get("notebook") and entry.get("card")
    }
    assert {"winkels-cohen-2019", "park-2019", "liu-2017", "dubost-2019"} <= {
        paper for paper, entry in CLAIMS.papers.items() if entry.get("card")
    }


def test_the_pages_in_git_are_those_of_the_scorecard_in_git(tmp_path):
    written = cards.write(ROWS, CLAIMS, tmp_path)
    stale = [path.name for path in written if path.read_bytes() != (ROOT / "reports/results" / path.name).read_bytes()]
    assert stale == [] and len(written) == len(PAGES), "run `fewscans scorecard`"
    stamps = [path.stat().st_mtime_ns for path in written]
    assert [path.stat().st_mtime_ns for path in cards.write(ROWS, CLAIMS, tmp_path)] == stamps


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_and_pictures_of_a_page_are_there(path):
    targets = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    assert targets and [target for target in targets if not (path.parent / target).exists()] == []


def test_a_verdict_that_changes_changes_its_page_alone(tmp_path):
    before = {path.name: path.read_bytes() for path in cards.write(ROWS, CLAIMS, tmp_path)}
    turned = [replace(row, verdict="reproduced") if row.id == "planar-tenfold-n30" else row for row in ROWS]
    after = {path.name: path.read_bytes() for path in cards.write(turned, CLAIMS, tmp_path)}
    assert {name for name in before if before[name] != after[name]} == {"01-gcnn-data-efficiency.md"}


def test_a_page_whose_paper_is_gone_is_removed(tmp_path):
    (tmp_path / "99-old.md").write_text("old")
    cards.write(ROWS, CLAIMS, tmp_path)
    assert not (tmp_path / "99-old.md").exists()
