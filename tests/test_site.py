"""The site: every page is linked, stands in the file system alone, and reads well at a desk and on a phone."""

import base64
import io
import json
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from fewscans import page, site

from .browser import DESK, PHONE, chromium, faults

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The site of this project in a copy, its notebooks as if run: each shows a wide table and a picture at its end."""
    root = tmp_path_factory.mktemp("a project")
    for name in ("claims", "notebooks", "reports/figures", "reports/svg", "reports/results"):
        shutil.copytree(ROOT / name, root / name)
    (root / "reports/published").mkdir()
    for name in ("params.yaml", "dvc.yaml", "reports/scorecard.json", "reports/scorecard.md"):
        shutil.copy(ROOT / name, root / name)
    (root / "reports/notebooks").mkdir()
    for path in (root / "notebooks").glob("*.ipynb"):
        executed = nbformat.read(path, as_version=4)
        executed.metadata["fewscans"] = {"profile": "quick"}
        executed.cells.append(nbformat.v4.new_code_cell("shown", outputs=_shown()))
        nbformat.write(executed, root / "reports/notebooks" / path.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSCANS_ROOT", str(root))
        site.build()
    return root / "reports"


def _shown() -> list:
    link = nbformat.v4.new_output("display_data", data={"text/markdown": "[next](01_gcnn_data_efficiency.ipynb)"})
    stream = io.BytesIO()
    Image.fromarray(np.zeros((500, 1600), np.uint8)).save(stream, "png")
    heads = "".join(f"<th>a column {i}</th>" for i in range(14))
    rows = "".join(f"<tr>{''.join(f'<td>{(7 * i + j) % 5}</td>' for j in range(14))}</tr>" for i in range(4))
    table = f'<table border="1" class="dataframe"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    picture = {"image/png": base64.b64encode(stream.getvalue()).decode()}
    about = {"image/png": {"alt": "a black picture"}}
    return [
        link,
        nbformat.v4.new_output("display_data", data={"text/html": table}),
        nbformat.v4.new_output("display_data", data=picture, metadata=about),
    ]


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def test_in_a_browser_nothing_is_missing_too_wide_or_fetched_from_elsewhere(browser, reports):
    assert faults(browser, reports / "index.html") == []


def test_without_a_browser_tests_are_skipped_but_on_ci_they_fail(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    for ci, outcome in (("", pytest.skip.Exception), ("true", pytest.fail.Exception)):
        monkeypatch.setenv("CI", ci)
        with pytest.raises(outcome, match="no Chromium"), chromium():
            pass


def test_a_browser_notices_what_is_wrong(browser, tmp_path):
    (tmp_path / "index.html").write_text(
        '<meta charset="utf-8"><img src="no.png"><a href="no.html">a</a><a href="#no">b</a>'
        '<div style="width: 2000px">c</div><script>console.log("d"); throw new Error("e")</script>'
    )
    words = "\n".join(faults(browser, tmp_path / "index.html"))
    said = ["no.png does not load", "has no text", "leads to no.html", "no part no", "2008 pixels"]
    said += ["console: d", "error: e"]
    assert [what for what in said if what not in words] == []


def test_the_first_figure_is_on_the_first_screen_and_the_index_is_short(browser, reports):
    view = browser.new_page(viewport=DESK)
    view.goto((reports / "index.html").as_uri())
    first = view.locator("main img").first.bounding_box()
    assert first["y"] + first["height"] <= DESK["height"] and first["width"] > 400
    assert view.evaluate("document.documentElement.scrollHeight") <= 12 * DESK["height"]
    view.close()


def test_a_click_on_a_heading_sorts_a_table_by_its_numbers_and_a_figure_is_enlarged(browser, reports):
    view = browser.new_page(viewport=PHONE)
    view.goto((reports / "pages/00_start_here.html").as_uri())
    column = "() => [...document.querySelectorAll('main table')].at(-1).tBodies[0].rows"
    heading = view.locator("main table").last.locator("th").first
    before = view.evaluate(f"[...({column})()].map(row => row.cells[0].textContent)")
    heading.click()
    assert view.evaluate(f"[...({column})()].map(row => row.cells[0].textContent)") == sorted(before) != before
    heading.click()
    assert view.evaluate(f"[...({column})()].map(row => row.cells[0].textContent)") == sorted(before, reverse=True)
    view.locator("main img").last.click()
    assert view.locator("dialog[open] img").evaluate("image => image.width") > 2 * PHONE["width"]
    view.keyboard.press("Escape")
    assert view.locator("dialog[open]").count() == 0
    view.close()


def test_pages_follow_one_another_from_the_index_to_the_last(reports):
    names = [f"{path.stem.replace('_', '-')}" for path in sorted((ROOT / "reports/results").glob("*.md"))]
    leaves = [*(f"pages/{name}.html" for name in names), "pages/scorecard.html"]
    notebooks = [f"pages/{path.stem}.html" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    order = ["index.html", *leaves, *notebooks]
    assert {str(path.relative_to(reports)) for path in reports.glob("pages/*.html")} == {*leaves, *notebooks}
    for place, name in enumerate(order):
        text = (reports / name).read_text(encoding="utf-8").partition('<nav class="turn"')[2]
        wanted = [order[i] for i in (place - 1, place + 1) if 0 <= i < len(order)]
        assert [Path(target).name for target in hrefs(text)] == [Path(target).name for target in wanted], name


def hrefs(text: str) -> list[str]:
    return [part.partition('"')[0] for part in text.split('href="')[1:]]


def test_a_notebook_s_page_begins_with_it_in_short(reports):
    rows = json.loads((reports / "scorecard.json").read_text(encoding="utf-8"))
    for path in (reports / "pages").glob("[0-9][0-9]_*.html"):
        text = path.read_text(encoding="utf-8")
        assert -1 < text.find('class="short"') - text.find("</h1>") < 100, path.name
    mine = [row for row in rows if row["paper"] == "winkels-cohen-2019" and row["headline"] and row["real"]]
    held = sum(row["verdict"] == "reproduced" for row in mine)
    short = (reports / "pages/01_gcnn_data_efficiency.html").read_text(encoding="utf-8")
    assert f'<span class="verdict reproduced">{held} reproduced</span>' in short.partition("<h2")[0]


def test_verdicts_are_words_in_colour_and_claims_have_room():
    table = "<table><tr><th>verdict</th><th>claim</th></tr><tr><td>✗ contradicted</td><td>a b</td></tr></table>"
    assert site.dressed(table) == (
        '<div class="table stacked"><table><tr><th>verdict</th><th>claim</th></tr>'
        '<tr><td class="verdict contradicted" data-name="verdict">✗ contradicted</td>'
        '<td class="wide" data-name="claim">a b</td></tr></table></div>'
    )
    counts = site.dressed("<table><tr><th>a</th></tr><tr><td>3 reproduced, 1 not tested</td></tr></table>")
    assert '<span class="verdict reproduced">3 reproduced</span> <span class="verdict not-tested">' in counts


def test_it_is_the_same_bytes_each_time_and_what_was_not_run_is_said(reports, monkeypatch):
    monkeypatch.setenv("FEWSCANS_ROOT", str(reports.parent))
    built = [reports / "index.html", *sorted((reports / "pages").iterdir())]
    before = [path.read_bytes() for path in built]
    site.build()
    assert [path.read_bytes() for path in built] == before
    run = reports / "notebooks/01_gcnn_data_efficiency.ipynb"
    kept = run.read_bytes()
    run.unlink()
    site.build()
    index = (reports / "index.html").read_text(encoding="utf-8")
    assert "01_gcnn_data_efficiency</a>: not run here" in index
    assert not (reports / "pages/01_gcnn_data_efficiency.html").exists()
    first = reports / "pages/00_start_here.html"
    assert 'href="../../notebooks/01_gcnn_data_efficiency.ipynb"' in first.read_text(encoding="utf-8")
    run.write_bytes(kept)
    site.build()
    assert [path.read_bytes() for path in built] == before


def test_a_page_to_send_needs_no_other_file(reports):
    text = page.render(nbformat.read(reports / "notebooks/00_start_here.ipynb", as_version=4))
    assert "<script" not in text and "site.css" not in text
