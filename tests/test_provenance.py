"""What made a file stands in the file, and it is noticed when this no longer holds."""

import dataclasses
import json
import shutil
from pathlib import Path

import nbformat
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

from fewscans import cards, claims, cli, provenance, results, scorecard
from fewscans.errors import RunError
from fewscans.figures import curves

ROOT = Path(__file__).parents[1]
PATCHES = ROOT / "reports/published/gcnn/luna16-patches"
KEPT = sorted((ROOT / "reports").glob("figures/*.png")) + sorted((ROOT / "reports").glob("svg/*.svg"))
PAGES = sorted((ROOT / "reports/results").glob("*.md"))
PAGES += [ROOT / "reports/scorecard.md", ROOT / "reports/scorecard.json"]


@pytest.mark.parametrize("path", KEPT + PAGES, ids=lambda path: path.name)
def test_every_figure_and_page_in_git_says_what_made_it_and_is_current(path):
    said = provenance.explain(path)
    assert said.endswith("current: yes"), "redraw it: make figures, or fewscans scorecard"
    assert "made by: python -m fewscans.figures.kept" in said or "made by: fewscans scorecard" in said
    assert "from: " in said and "profile " in said and "code " in said


def test_every_figure_is_there_as_png_and_as_svg():
    png, svg = ({path.stem for path in KEPT if path.suffix == ending} for ending in (".png", ".svg"))
    assert png == svg


@pytest.fixture(scope="module")
def picture():
    run = results.published("gcnn", "orientation-twin", 100)
    return curves.over_n([curves.scores(run, run.arms)], "Scores")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_figure_of_other_tables_is_not_current(picture, ending, tmp_path):
    assert provenance.explain(picture.save(tmp_path / f"now.{ending}")).endswith("current: yes")
    (source,) = picture.provenance["sources"]
    faults = [({"code": "0" * 16}, "others now"), ({"seeds": [0]}, "others now"), ({"run": "gcnn-x"}, "no tables")]
    for what, word in faults:
        old = dataclasses.replace(picture, provenance={"figure": "Scores", "sources": [source | what]})
        last = provenance.explain(old.save(tmp_path / f"{word[:2]}.{ending}")).splitlines()[-1]
        assert last.startswith("current: no; ") and word in last


def test_a_figure_names_the_command_and_the_run_that_it_came_from(picture, tmp_path):
    lines = provenance.explain(picture.save(tmp_path / "a.png")).splitlines()
    assert lines[0] == "a.png: Scores"
    assert "  trained by: fewscans train gcnn-orientation-twin --profile paper" in lines


def test_a_page_is_old_once_a_claim_that_it_shows_changes(tmp_path, monkeypatch):
    rows, known = scorecard.load(local=False), claims.load()
    assert {path.name for path in cards.write(rows, known, tmp_path)} == {path.name for path in PAGES[:-2]}
    changed = [dataclasses.replace(one, statement="x") if one.paper == "liu-2017" else one for one in known]
    monkeypatch.setattr(claims, "load", lambda: dataclasses.replace(known, claims=tuple(changed)))
    states = {path.name: provenance.explain(path).splitlines()[-1] for path in tmp_path.glob("*.md")}
    old = {name for name, state in states.items() if state == "current: no; claims were added or changed since"}
    assert old == {"03-camelyon16-froc.md"} and set(states.values()) == {"current: yes", states[old.pop()]}


def test_a_table_says_how_it_was_trained_and_an_altered_one_is_noticed(tmp_path):
    said = provenance.explain(PATCHES / "p4m.parquet")
    assert "made by: fewscans train gcnn-luna16-patches --profile long, then fewscans publish" in said
    assert "from: gcnn-luna16-patches" in provenance.explain(PATCHES / "history.parquet")
    for name in ("p4m.parquet", "SHA256SUMS"):
        shutil.copy(PATCHES / name, tmp_path)
    altered = tmp_path / "p4m.parquet"
    assert "bytes" not in provenance.explain(altered)
    pq.write_table(pq.read_table(altered).slice(1), altered)
    assert "its bytes are not those that were published" in provenance.explain(altered)


def test_a_run_s_table_is_old_once_its_code_changes(monkeypatch):
    pilot = ROOT / "reports/pilots/hydranet-msd-hippocampus.parquet"
    code = json.loads(pilot.with_name("hydranet-msd-hippocampus.about.json").read_text(encoding="utf-8"))["code"]
    monkeypatch.setattr(provenance.closure, "fingerprint", lambda modules: code)
    assert provenance.explain(pilot).endswith("current: yes")
    monkeypatch.setattr(provenance.closure, "fingerprint", lambda modules: "another")
    assert "the code that decides this run has changed: another today" in provenance.explain(pilot)


def test_an_executed_notebook_is_old_once_its_source_is_edited(tmp_path):
    executed = nbformat.read(ROOT / "notebooks/07_scorecard.ipynb", as_version=4)
    executed.metadata["fewscans"] = {"profile": "quick", "parameters": {}}
    place = tmp_path / "07_scorecard.ipynb"
    nbformat.write(executed, place)
    said = provenance.explain(place).splitlines()
    assert said[1:] == ["made by: fewscans notebook 07", "profile: quick", "current: yes"]
    executed.cells[-1].source += "\n1"
    nbformat.write(executed, place)
    assert provenance.explain(place).endswith("current: no; the notebook was edited since")


def test_a_file_that_says_nothing_is_one_sentence(tmp_path):
    bare = PngImagePlugin.PngInfo()
    Image.new("L", (2, 2)).save(tmp_path / "bare.png", pnginfo=bare)
    for name, text in {"torn.png": "x", "torn.svg": "<svg", "page.md": "# A", "a.txt": "a", "a.parquet": "x"}.items():
        (tmp_path / name).write_text(text)
    shutil.copy(ROOT / "notebooks/07_scorecard.ipynb", tmp_path)
    for path in [*tmp_path.iterdir(), tmp_path / "none.png"]:
        with pytest.raises(RunError, match=path.name):
            provenance.explain(path)


def test_the_command_prints_it():
    said = CliRunner().invoke(cli.app, ["explain", str(ROOT / "reports/figures/gcnn_gains.png")])
    assert said.exit_code == 0 and said.output.rstrip().endswith("current: yes")
